//! Each device over time: temperature, battery, layers.

use plotters::prelude::*;

use super::canvas::{
    Axes, BAD, Clock, INK, LEFT, PALE, WIDTH, colour, font, name, name_row, style,
};
use super::{LINES, POINTS, Plot, PlotError, chosen, thinned};
use crate::record::{DeviceRecord, Life, Record, Sample};

/// Devices that have a row of their own in the plot of layers.
const ROWS: usize = 16;
/// Stretches of such a row at most.
const STRETCHES: usize = 120;
/// A row, in the units of the view box.
const ROW: u32 = 22;

/// Temperature of the chips; `None` if none ever changes.
pub(crate) fn temperatures(record: &Record) -> Result<Option<Plot>, PlotError> {
    let title = "Temperature of each chip, °C";
    let plot = lines(record, title, "°C", |sample| Some(sample.chip_celsius))?;
    let first = |device: &DeviceRecord| device.series.first().map(|s| s.chip_celsius);
    let changes = |device: &DeviceRecord| {
        let begins = first(device);
        device.series.iter().any(|s| Some(s.chip_celsius) != begins)
    };
    Ok(plot.filter(|_| record.devices.iter().any(changes)))
}

/// Charge of the batteries; `None` if no device has one.
pub(crate) fn batteries(record: &Record) -> Result<Option<Plot>, PlotError> {
    let charge = |sample: &Sample| sample.battery.map(|charge| charge * 100.0);
    lines(record, "Charge of each battery, %", "%", charge)
}

/// A line for each of the busiest devices, and a band that all others are within.
fn lines(
    record: &Record,
    title: &str,
    unit: &str,
    value: impl Fn(&Sample) -> Option<f64>,
) -> Result<Option<Plot>, PlotError> {
    let values = record.devices.iter().flat_map(|device| &device.series);
    let values: Vec<_> = values.filter_map(&value).collect();
    let least = values.iter().copied().reduce(f64::min);
    let most = values.iter().copied().reduce(f64::max);
    let Some((least, most)) = least.zip(most) else {
        return Ok(None);
    };
    let room = ((most - least) * 0.05).max(0.5);
    let clock = Clock::until(record.duration_us);
    let (own, others) = chosen(record, LINES);
    let axes = Axes::over_time(title, &clock, least - room..most + room, unit);
    let svg = axes.draw(|_, chart| {
        let around = band(&clock, &others, &value);
        if !around.is_empty() {
            chart.draw_series([Polygon::new(around, PALE.mix(0.35))])?;
        }
        for (line, device) in own.iter().enumerate() {
            let points = thinned(&device.series, POINTS);
            let points = points.filter_map(|s| Some((clock.at(s.at_us), value(s)?)));
            chart.draw_series(LineSeries::new(points, colour(line).stroke_width(2)))?;
        }
        Ok(())
    })?;
    let mut legend: Vec<_> = own
        .iter()
        .map(|device| device.name.clone())
        .zip((0..).map(style))
        .collect();
    if !others.is_empty() {
        legend.push((
            format!("the {} others are within", others.len()),
            name(PALE),
        ));
    }
    Ok(Some(Plot {
        title: title.to_owned(),
        svg,
        legend,
        note: None,
    }))
}

/// What all these devices are within: along the largest values, and back along the least.
fn band(
    clock: &Clock,
    devices: &[&DeviceRecord],
    value: impl Fn(&Sample) -> Option<f64>,
) -> Vec<(f64, f64)> {
    let length = devices
        .iter()
        .map(|device| device.series.len())
        .max()
        .unwrap_or(0);
    let indices: Vec<_> = (0..length).collect();
    let (mut above, mut below) = (Vec::new(), Vec::new());
    for index in thinned(&indices, POINTS) {
        let samples = devices
            .iter()
            .filter_map(|device| device.series.get(*index));
        let mut range: Option<(f64, f64, f64)> = None;
        for sample in samples {
            let Some(value) = value(sample) else { continue };
            let at = clock.at(sample.at_us);
            let (_, least, most) = range.unwrap_or((at, value, value));
            range = Some((at, least.min(value), most.max(value)));
        }
        if let Some((at, least, most)) = range {
            above.push((at, most));
            below.push((at, least));
        }
    }
    above.extend(below.into_iter().rev());
    above
}

/// A stretch of time in which a device was the same.
struct Stretch {
    from_us: u64,
    until_us: u64,
    layers: u32,
    life: Life,
}

/// Layers that each device holds, a row a device; when it does not run, too.
pub(crate) fn layers(record: &Record) -> Result<Plot, PlotError> {
    let title = "Layers that each device holds";
    let clock = Clock::until(record.duration_us);
    let (own, others) = chosen(record, ROWS);
    let rows = own.len().max(1) as u32;
    let samples = own.iter().flat_map(|device| &device.series);
    let most = samples
        .map(|sample| sample.layers)
        .max()
        .unwrap_or(0)
        .max(1);
    let axes = Axes::rows(title, (rows, ROW), 0.0..clock.end, clock.name);
    let svg = axes.draw(|area, chart| {
        for (row, device) in own.iter().enumerate() {
            let top = f64::from(rows) - row as f64;
            for stretch in stretches(&device.series, record.duration_us) {
                let (from, until) = (clock.at(stretch.from_us), clock.at(stretch.until_us));
                let corners = [(from, top - 0.08), (until, top - 0.92)];
                let share = f64::from(stretch.layers) / f64::from(most);
                let fill = match stretch.life {
                    Life::Running if stretch.layers == 0 => PALE.mix(0.12),
                    Life::Running => colour(row).mix(0.25 + 0.75 * share),
                    Life::Frozen => INK.mix(0.35),
                    Life::Dead => BAD.mix(0.8),
                    Life::Away => PALE.mix(0.6),
                };
                chart.draw_series([Rectangle::new(corners, fill.filled())])?;
                let wide = (until - from) / clock.end * f64::from(WIDTH - LEFT) > 24.0;
                if wide && stretch.life == Life::Running && stretch.layers > 0 {
                    let at = ((from + until) / 2.0, top - 0.22);
                    let text = Text::new(stretch.layers.to_string(), at, font(14, &INK));
                    chart.draw_series([text])?;
                }
            }
            name_row(area, row, ROW, &device.name)?;
        }
        Ok(())
    })?;
    let note = (!others.is_empty()).then(|| {
        let all = record.devices.len();
        format!("The {} that computed longest of {all}.", own.len())
    });
    Ok(Plot {
        title: title.to_owned(),
        svg,
        legend: lives(&own),
        note,
    })
}

/// What colours mean that are not a device's.
fn lives(devices: &[&DeviceRecord]) -> Vec<(String, String)> {
    let meanings = [
        (Life::Frozen, "suspended", INK),
        (Life::Dead, "does not run", BAD),
        (Life::Away, "out of reach", PALE),
    ];
    let met = |life: Life| {
        let mut samples = devices.iter().flat_map(|device| &device.series);
        samples.any(|sample| sample.life == life)
    };
    let met = meanings.into_iter().filter(|(life, ..)| met(*life));
    met.map(|(_, words, colour)| (words.to_owned(), name(colour)))
        .collect()
}

fn stretches(series: &[Sample], end_us: u64) -> Vec<Stretch> {
    let mut stretches: Vec<Stretch> = Vec::new();
    for sample in thinned(series, STRETCHES) {
        if let Some(last) = stretches.last_mut() {
            last.until_us = sample.at_us;
            if (last.layers, last.life) == (sample.layers, sample.life) {
                continue;
            }
        }
        stretches.push(Stretch {
            from_us: sample.at_us,
            until_us: end_us,
            layers: sample.layers,
            life: sample.life,
        });
    }
    if let Some(last) = stretches.last_mut() {
        last.until_us = end_us;
    }
    stretches
}
