//! How a quantity grows with another, on two logarithmic axes.

use std::ops::Range;

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
    let (x, y) = (range(|point| point.0), range(|point| point.1));
    // Whole powers of ten, but where there are none.
    let power = |at: &f64, of: &Range<f64>| {
        let whole = (at - at.round()).abs() < 0.01;
        let label = whole || of.end - of.start < 1.2;
        if label {
            words::figure(libm::pow(10.0, *at))
        } else {
            String::new()
        }
    };
    let axes = Axes {
        title,
        height: HEIGHT,
        x: x.clone(),
        y: y.clone(),
        x_name,
        y_name,
        x_label: &|at| power(at, &x),
        y_label: &|at| power(at, &y),
        y_grid: true,
    };
    let svg = axes.draw(|_, chart| {
        let line = LineSeries::new(points.iter().copied(), colour(0).stroke_width(2));
        chart.draw_series(line)?;
        for (x, y) in &points {
            chart.draw_series([Circle::new((*x, *y), 4, colour(0).filled())])?;
            let told = Text::new(told(libm::pow(10.0, *y)), (-14, -20), font(14, &INK));
            chart.draw_series([EmptyElement::at((*x, *y)) + told])?;
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
