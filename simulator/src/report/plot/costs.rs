//! What answers cost: airtime, energy, recoveries.

use plotters::prelude::*;

use super::super::text::busiest_networks;
use super::super::words;
use super::canvas::{Axes, BAD, Clock, INK, colour, font, name, name_row, style};
use super::{LINES, POINTS, Plot, PlotError, thinned};
use crate::record::{DeviceRecord, Record};

/// Devices that have a bar of their own.
const BARS: usize = 16;
/// A bar and what is around it, in the units of the view box.
const BAR: u32 = 22;

/// How much of the time the air of each network is occupied; `None` if there is no series.
pub(crate) fn airtime(record: &Record) -> Result<Option<Plot>, PlotError> {
    let title = "Air occupied on each network, %";
    let mut networks = busiest_networks(record);
    let left_out = networks.len().saturating_sub(LINES);
    networks.truncate(LINES);
    networks.retain(|network| !network.series.is_empty());
    let share = |series: &[u64], airtime_us: u64| {
        let interval_us = record.duration_us as f64 / series.len() as f64;
        airtime_us as f64 / interval_us * 100.0
    };
    let all = networks
        .iter()
        .flat_map(|n| n.series.iter().map(|us| share(&n.series, *us)));
    let Some(most) = all.reduce(f64::max) else {
        return Ok(None);
    };
    let clock = Clock::until(record.duration_us);
    let axes = Axes::over_time(title, &clock, 0.0..(most * 1.08).max(1.0), "%");
    let svg = axes.draw(|_, chart| {
        for (line, network) in networks.iter().enumerate() {
            let ends: Vec<_> = (1..=network.series.len()).zip(&network.series).collect();
            let wide = clock.end / network.series.len() as f64;
            let points = thinned(&ends, POINTS)
                .map(|(index, us)| ((*index as f64 - 0.5) * wide, share(&network.series, **us)));
            chart.draw_series(LineSeries::new(points, colour(line).stroke_width(2)))?;
        }
        Ok(())
    })?;
    let names = networks.iter().map(|network| network.name.clone());
    Ok(Some(Plot {
        title: title.to_owned(),
        svg,
        legend: names.zip((0..).map(style)).collect(),
        note: (left_out > 0)
            .then(|| format!("The {LINES} busiest; {left_out} more are not shown.")),
    }))
}

/// What each device took for a token, of computing and of the radio; `None` if nothing is known of
/// it, or no token came.
pub(crate) fn energy(record: &Record) -> Result<Option<Plot>, PlotError> {
    let title = "Energy of each device for an answered token, J";
    let tokens: usize = record.sessions.iter().map(|s| s.tokens_at_us.len()).sum();
    let active = |device: &DeviceRecord| device.compute_joules + device.radio_joules;
    let mut devices: Vec<_> = record.devices.iter().filter(|d| active(d) > 0.0).collect();
    if tokens == 0 || devices.is_empty() {
        return Ok(None);
    }
    devices.sort_by(|a, b| active(b).total_cmp(&active(a)));
    let left_out = devices.len().saturating_sub(BARS);
    devices.truncate(BARS);
    let rows = devices.len() as u32;
    let of_token = |joules: f64| joules / tokens as f64;
    let most = devices
        .iter()
        .map(|d| of_token(active(d)))
        .fold(0.0, f64::max);
    let axes = Axes::rows(title, (rows, BAR), 0.0..most * 1.12, "J a token");
    let svg = axes.draw(|area, chart| {
        for (row, device) in devices.iter().enumerate() {
            let (top, compute) = (
                f64::from(rows) - row as f64,
                of_token(device.compute_joules),
            );
            let all = of_token(active(device));
            let parts = [(0.0, compute, colour(0)), (compute, all, colour(1))];
            for (from, until, colour) in parts {
                let corners = [(from, top - 0.15), (until, top - 0.85)];
                chart.draw_series([Rectangle::new(corners, colour.filled())])?;
            }
            let told = Text::new(
                format!(" {}", words::joules(all)),
                (all, top - 0.22),
                font(14, &INK),
            );
            chart.draw_series([told])?;
            name_row(area, row, BAR, &device.name)?;
        }
        Ok(())
    })?;
    let idle: f64 = record.devices.iter().map(|d| d.joules - active(d)).sum();
    let mut note = format!("Being awake took {} beside.", words::joules(idle.max(0.0)));
    if left_out > 0 {
        note.push_str(&format!(
            " {left_out} devices that took less are not shown."
        ));
    }
    Ok(Some(Plot {
        title: title.to_owned(),
        svg,
        legend: vec![
            ("computing".to_owned(), style(0)),
            ("radio".to_owned(), style(1)),
        ],
        note: Some(note),
    }))
}

/// Failures and moves, and how long each kept a person waiting; `None` if there are none.
pub(crate) fn recoveries(record: &Record) -> Result<Option<Plot>, PlotError> {
    let title = "Recoveries: how long the answer stood still, s";
    let all: Vec<_> = record.sessions.iter().flat_map(|s| &s.recoveries).collect();
    if all.is_empty() {
        return Ok(None);
    }
    let clock = Clock::until(record.duration_us);
    let seconds = |stall_us: u64| stall_us as f64 / 1e6;
    let stalls = all
        .iter()
        .filter_map(|recovery| recovery.stall_us.map(seconds));
    let most = stalls.fold(0.1, f64::max);
    let axes = Axes::over_time(title, &clock, 0.0..most * 1.08, "s");
    let svg = axes.draw(|_, chart| {
        for recovery in all.iter().take(500) {
            let x = clock.at(recovery.noticed_at_us);
            let colour = if recovery.left { colour(0) } else { BAD };
            let Some(y) = recovery.stall_us.map(seconds) else {
                let corners = [(x, 0.0), (x, most * 1.08)];
                chart.draw_series([PathElement::new(corners, BAD.stroke_width(1))])?;
                continue;
            };
            chart.draw_series([PathElement::new([(x, 0.0), (x, y)], colour.stroke_width(2))])?;
            chart.draw_series([Circle::new((x, y), 4, colour.filled())])?;
        }
        Ok(())
    })?;
    let unresumed = all
        .iter()
        .filter(|recovery| recovery.stall_us.is_none())
        .count();
    let mut legend = vec![
        ("a device failed or refused".to_owned(), name(BAD)),
        ("a device left in order".to_owned(), style(0)),
    ];
    if unresumed > 0 {
        legend.push((
            format!("no token followed: the {unresumed} lines without a dot"),
            name(BAD),
        ));
    }
    Ok(Some(Plot {
        title: title.to_owned(),
        svg,
        legend,
        note: None,
    }))
}
