//! Figures of several groups of runs side by side, with their spread.

use plotters::prelude::*;

use super::super::words;
use super::canvas::{Axes, INK, colour, font};
use super::{Plot, PlotError};

/// A kind of runs.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Bar {
    /// What it is called.
    pub(crate) name: String,
    /// Its mean, least and largest value; `None` if no run of it has one.
    pub(crate) value: Option<(f64, f64, f64)>,
}

/// A bar for each kind, with a line from its least to its largest value.
pub(crate) fn bars(title: &str, unit: &str, bars: &[Bar]) -> Result<Plot, PlotError> {
    const ROW: u32 = 38;
    let rows = bars.len().max(1) as u32;
    let values = bars.iter().filter_map(|bar| bar.value);
    let most = values.map(|(.., most)| most).fold(1e-9, f64::max);
    let axes = Axes::rows(title, (rows, ROW), 0.0..most * 1.15, unit);
    let svg = axes.draw(|_, chart| {
        for (row, bar) in bars.iter().enumerate() {
            let top = f64::from(rows) - row as f64;
            let (mean, least, largest) = bar.value.unwrap_or_default();
            let corners = [(0.0, top - 0.5), (mean, top - 0.92)];
            chart.draw_series([Rectangle::new(corners, colour(0).mix(0.75).filled())])?;
            if largest > least {
                let line = [(least, top - 0.71), (largest, top - 0.71)];
                chart.draw_series([PathElement::new(line, INK.stroke_width(2))])?;
            }
            let value = words::or_none(bar.value, |(mean, ..)| words::figure(mean));
            let text = format!("{}: {value}", bar.name);
            chart.draw_series([Text::new(text, (0.0, top - 0.05), font(15, &INK))])?;
        }
        Ok(())
    })?;
    Ok(Plot {
        title: title.to_owned(),
        svg,
        legend: Vec::new(),
        note: Some("Means; lines go from the least to the largest of all seeds.".to_owned()),
    })
}
