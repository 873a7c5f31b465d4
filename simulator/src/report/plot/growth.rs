//! How a quantity grows with another, on two logarithmic axes.

use plotters::prelude::*;

use super::super::words;
use super::canvas::{Axes, HEIGHT, INK, colour, font};
use super::{Plot, PlotError};

/// Points of a quantity by another, both above 0, with the points' values written beside them.
pub(crate) fn growth(
    title: &str,
    x_name: &str,
    y_name: &str,
    points: &[(f64, f64)],
    told: impl Fn(f64) -> String,
) -> Result<Option<Plot>, PlotError> {
    let log = |value: f64| libm::log10(value.max(1e-9));
    let points = points.iter().filter(|(x, y)| *x > 0.0 && *y > 0.0);
    let points: Vec<_> = points.map(|(x, y)| (log(*x), log(*y))).collect();
    let Some(first) = points.first().copied() else {
        return Ok(None);
    };
    let range = |of: fn(&(f64, f64)) -> f64| {
        let all = || points.iter().map(of);
        let (least, most) = (
            all().fold(of(&first), f64::min),
            all().fold(of(&first), f64::max),
        );
        least - 0.15..most + 0.35
    };
    let power = |at: &f64| words::figure(libm::pow(10.0, *at));
    let axes = Axes {
        title,
        height: HEIGHT,
        x: range(|point| point.0),
        y: range(|point| point.1),
        x_name,
        y_name,
        x_label: &power,
        y_label: &power,
        y_grid: true,
    };
    let svg = axes.draw(|_, chart| {
        let line = LineSeries::new(points.iter().copied(), colour(0).stroke_width(2));
        chart.draw_series(line)?;
        for (x, y) in &points {
            chart.draw_series([Circle::new((*x, *y), 4, colour(0).filled())])?;
            let told = format!(" {}", told(libm::pow(10.0, *y)));
            chart.draw_series([Text::new(told, (*x, *y + 0.02), font(14, &INK))])?;
        }
        Ok(())
    })?;
    Ok(Some(Plot {
        title: title.to_owned(),
        svg,
        legend: Vec::new(),
        note: Some("Both axes are logarithmic.".to_owned()),
    }))
}
