//! Plots, as SVG inside a page.
//!
//! Colours are variables of the page's style (`var(--ink)`), so that a plot follows its light or dark scheme.
//! Legends are part of the page, as they may be long.

mod canvas;
mod costs;
mod devices;
mod growth;
mod latency;
mod speed;
mod spread;
#[cfg(test)]
mod tests;

use crate::record::{DeviceRecord, Record};

pub(crate) use costs::{airtime, energy, recoveries};
pub(crate) use devices::{batteries, layers, temperatures};
pub(crate) use growth::growth;
pub(crate) use latency::{first_tokens, tokens};
pub(crate) use speed::speed;
pub(crate) use spread::{Bar, bars};

/// A plot could not be drawn.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a plot of the report cannot be drawn: {0}")]
pub struct PlotError(String);

/// A plot, and what stands around it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plot {
    /// What it shows, unit included.
    pub(crate) title: String,
    /// An `svg` element.
    pub(crate) svg: String,
    /// What its colours mean: a name and a colour of the page's style each.
    pub(crate) legend: Vec<(String, String)>,
    /// What is left out, or how it is to be read.
    pub(crate) note: Option<String>,
}

/// Devices that have a line of their own.
const LINES: usize = 10;
/// Points of a line; more are not seen at the width of a plot.
const POINTS: usize = 240;

/// Every `n`th, so that there are at most `most` and one more; the last is always among them.
fn thinned<T>(all: &[T], most: usize) -> impl Iterator<Item = &T> {
    let step = all.len().div_ceil(most).max(1);
    let last = all.len().checked_sub(1);
    let last = last.filter(|last| !last.is_multiple_of(step));
    all.iter().step_by(step).chain(last.map(|last| &all[last]))
}

/// The devices that have a line of their own, in their order, and the others.
fn chosen(record: &Record, lines: usize) -> (Vec<&DeviceRecord>, Vec<&DeviceRecord>) {
    let mut own = super::text::busiest(record);
    own.truncate(lines);
    own.sort_unstable();
    let mut devices = (Vec::new(), Vec::new());
    for (index, device) in record.devices.iter().enumerate() {
        match own.binary_search(&index) {
            Ok(_) => devices.0.push(device),
            Err(_) => devices.1.push(device),
        }
    }
    devices
}
