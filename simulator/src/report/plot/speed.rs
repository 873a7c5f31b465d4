//! Tokens a second over time.

use std::collections::BTreeMap;

use plotters::prelude::*;

use super::canvas::{Axes, BAD, Clock, PALE, colour, name, style};
use super::{Plot, PlotError};
use crate::record::{Record, SessionRecord};

/// Requesters that have a line of their own.
const REQUESTERS: usize = 6;
/// Bins at most; none is shorter than a second.
const BINS: u64 = 120;

/// Tokens a second of all sessions, and of each requester if they are few; faults and failures as
/// vertical lines.
pub(crate) fn speed(record: &Record) -> Result<Plot, PlotError> {
    let title = "Tokens a second";
    let clock = Clock::until(record.duration_us);
    let bin_us = (record.duration_us.div_ceil(BINS)).max(1_000_000);
    let together = binned(record, record.sessions.iter(), bin_us);
    let mut by_requester: BTreeMap<usize, Vec<&SessionRecord>> = BTreeMap::new();
    for session in &record.sessions {
        by_requester
            .entry(session.requester)
            .or_default()
            .push(session);
    }
    if by_requester.len() > REQUESTERS || by_requester.len() == 1 {
        by_requester.clear();
    }
    let most = together.iter().copied().fold(1e-3, f64::max);
    let axes = Axes::over_time(title, &clock, 0.0..most * 1.08, "tokens/s");
    let stepped = |bins: &[f64]| steps(&clock, bins, bin_us, record.duration_us);
    let failures = record
        .sessions
        .iter()
        .flat_map(|session| &session.recoveries);
    let svg = axes.draw(|_, chart| {
        for fault in record.faults.iter().take(200) {
            let x = clock.at(fault.at_us);
            let line = PathElement::new([(x, 0.0), (x, most * 1.08)], PALE.mix(0.6));
            chart.draw_series([line])?;
        }
        let area = AreaSeries::new(stepped(&together), 0.0, colour(0).mix(0.25));
        chart.draw_series(area)?;
        chart.draw_series(LineSeries::new(
            stepped(&together),
            colour(0).stroke_width(2),
        ))?;
        for (line, sessions) in (1..).zip(by_requester.values()) {
            let bins = binned(record, sessions.iter().copied(), bin_us);
            chart.draw_series(LineSeries::new(
                stepped(&bins),
                colour(line).stroke_width(2),
            ))?;
        }
        for recovery in failures.clone().filter(|recovery| !recovery.left).take(200) {
            let x = clock.at(recovery.noticed_at_us);
            chart.draw_series([PathElement::new(
                [(x, 0.0), (x, most * 0.08)],
                BAD.stroke_width(3),
            )])?;
        }
        Ok(())
    })?;
    let mut legend = vec![("all together".to_owned(), style(0))];
    for (line, requester) in (1..).zip(by_requester.keys()) {
        legend.push((record.devices[*requester].name.clone(), style(line)));
    }
    if !record.faults.is_empty() {
        legend.push(("a fault strikes".to_owned(), name(PALE)));
    }
    if failures.clone().any(|recovery| !recovery.left) {
        legend.push(("a session notices a failure".to_owned(), name(BAD)));
    }
    Ok(Plot {
        title: title.to_owned(),
        svg,
        legend,
        note: None,
    })
}

/// Tokens a second in each bin.
fn binned<'a>(
    record: &Record,
    sessions: impl Iterator<Item = &'a SessionRecord>,
    bin_us: u64,
) -> Vec<f64> {
    let mut bins = vec![0.0; record.duration_us.div_ceil(bin_us).max(1) as usize];
    for session in sessions {
        for after in &session.tokens_at_us {
            let at = (session.asked_at_us + after) / bin_us;
            if let Some(bin) = bins.get_mut(at as usize) {
                *bin += 1e6 / bin_us as f64;
            }
        }
    }
    bins
}

/// Corners of a line that is level within each bin; corners on a level stretch are left out.
fn steps(clock: &Clock, bins: &[f64], bin_us: u64, end_us: u64) -> Vec<(f64, f64)> {
    let mut corners: Vec<(f64, f64)> = Vec::new();
    for (from, bin) in (0..).map(|at| at * bin_us).zip(bins) {
        let until = (from + bin_us).min(end_us);
        for at in [from, until] {
            let level = corners.len() >= 2 && corners.iter().rev().take(2).all(|(_, y)| y == bin);
            if level {
                corners.pop();
            }
            corners.push((clock.at(at), *bin));
        }
    }
    corners
}
