//! How long people wait for answers.

use plotters::prelude::*;

use super::super::times::Times;
use super::super::words;
use super::canvas::{Axes, BAD, HEIGHT, INK, colour, font, plain};
use super::{Plot, PlotError};
use crate::record::{Record, SessionRecord};

/// Bars of a histogram.
const BINS: usize = 36;
/// From this ratio of the longest time to the shortest on the axis is logarithmic.
const WIDE: f64 = 20.0;

/// Times between tokens; `None` if there are none.
pub(crate) fn tokens(record: &Record) -> Result<Option<Plot>, PlotError> {
    let gaps = record
        .sessions
        .iter()
        .flat_map(SessionRecord::token_gaps_us);
    histogram("Time for each token", "tokens", gaps.collect())
}

/// Times to the first token; `None` if there are fewer than five, which a table tells better.
pub(crate) fn first_tokens(record: &Record) -> Result<Option<Plot>, PlotError> {
    let first = record
        .sessions
        .iter()
        .filter_map(SessionRecord::time_to_first_token_us);
    let first: Vec<_> = first.collect();
    if first.len() < 5 {
        return Ok(None);
    }
    histogram("Time to first token", "answers", first)
}

/// Where a time is on the axis, and back.
#[derive(Clone, Copy)]
struct Scale {
    logarithmic: bool,
}

impl Scale {
    fn at(self, ms: f64) -> f64 {
        if self.logarithmic {
            libm::log10(ms.max(1e-3))
        } else {
            ms
        }
    }

    fn ms(self, at: f64) -> f64 {
        if self.logarithmic {
            libm::pow(10.0, at)
        } else {
            at
        }
    }

    /// From where to where the axis goes, with some room at both ends.
    fn range(self, times: &Times) -> (f64, f64) {
        let (from, until) = (self.at(times.least), self.at(times.most));
        let (least_room, lowest) = if self.logarithmic {
            (0.02, -3.0)
        } else {
            (0.05 * until, 0.0)
        };
        let room = ((until - from) * 0.04).max(least_room);
        ((from - room).max(lowest), until + room)
    }
}

fn histogram(title: &str, things: &str, times_us: Vec<u64>) -> Result<Option<Plot>, PlotError> {
    let Some(times) = Times::of_us(times_us.iter().copied()) else {
        return Ok(None);
    };
    let scale = Scale {
        logarithmic: times.most > WIDE * times.least.max(1e-3),
    };
    let (from, until) = scale.range(&times);
    let wide = (until - from) / BINS as f64;
    let mut bins = [0.0_f64; BINS];
    for us in &times_us {
        let at = (scale.at(*us as f64 / 1e3) - from) / wide;
        bins[(at.max(0.0) as usize).min(BINS - 1)] += 1.0;
    }
    let most = bins.iter().copied().fold(1.0, f64::max);
    let axes = Axes {
        title,
        height: HEIGHT,
        x: from..until,
        y: 0.0..most * 1.2,
        x_name: if scale.logarithmic { "logarithmic" } else { "" },
        y_name: things,
        x_label: &|at| words::time_ms(scale.ms(*at)),
        y_label: &plain,
        y_grid: true,
    };
    let svg = axes.draw(|_, chart| {
        for (index, bin) in bins.iter().enumerate().filter(|(_, bin)| **bin > 0.0) {
            let left = from + wide * index as f64;
            let corners = [(left, *bin), (left + wide * 0.92, 0.0)];
            chart.draw_series([Rectangle::new(corners, colour(0).mix(0.75).filled())])?;
        }
        let marks = [
            (times.p50, "p50", 1.19),
            (times.p90, "p90", 1.12),
            (times.p99, "p99", 1.05),
        ];
        for (ms, name, top) in marks {
            let x = scale.at(ms);
            let line = PathElement::new([(x, 0.0), (x, most * top)], BAD.stroke_width(1));
            chart.draw_series([line])?;
            chart.draw_series([Text::new(
                format!(" {name}"),
                (x, most * top),
                font(14, &INK),
            )])?;
        }
        Ok(())
    })?;
    let figures = [times.p50, times.p90, times.p99, times.most].map(words::time_ms);
    let [p50, p90, p99, longest] = figures;
    let note = format!(
        "{} {things}: p50 {p50}, p90 {p90}, p99 {p99}, the longest {longest}.",
        times.count
    );
    Ok(Some(Plot {
        title: title.to_owned(),
        svg,
        legend: Vec::new(),
        note: Some(note),
    }))
}
