//! Profiles of devices: the library, and how a profile is read.
//!
//! A profile is a TOML file like those in `simulator/profiles/`, which are built in and named without their
//! extension; or the JSON that `potluck bench --profile --json` writes for the device that it runs on. Each
//! states the source of its numbers.

mod defaults;
mod library;
mod measured;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::Deserialize;

pub use library::{library, load};

use crate::quantisation::Format;
use crate::units::{ByteCount, Span, Speed};

/// A device's hardware, before heat, wear and its owner's wishes.
#[derive(Debug, Clone, PartialEq)]
pub struct Hardware {
    /// What it is called in the library, or the file's name.
    pub name: String,
    /// What it is.
    pub words: String,
    /// Where the numbers are from.
    pub source: String,
    /// What an app may have.
    pub memory: ByteCount,
    /// Bytes of weights read a second in decode, for each format.
    pub decode: BTreeMap<Format, Speed>,
    /// Bytes of KV cache read a second.
    pub kv_read: Speed,
    /// Query heads for each head of keys with which that was measured, where attention is bound by
    /// what it computes for each of them and not by memory.
    pub kv_queries: Option<f64>,
    /// Multiply-adds a second in prefill.
    pub prefill: Speed,
    /// What a stage costs beyond its arithmetic.
    pub stage_overhead: Span,
    /// What sending or receiving a message costs its processor.
    pub message_overhead: Span,
    /// What handing a step's rows to the node and its result back costs the program that asks.
    pub requester_overhead: Span,
    /// Opening a model's file when a stage is loaded, beside reading it.
    pub opening: Span,
    /// Bytes a second that are read of storage when a stage is loaded.
    pub load: Speed,
    /// How it heats up; `None` if it never does.
    pub heat: Option<HeatSpec>,
    /// What it takes.
    pub power: PowerSpec,
    /// Watt-hours; `None` on mains.
    pub battery_watt_hours: Option<f64>,
}

/// How a device heats up: two thermal nodes, chip and case, and how its speed depends on the chip.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeatSpec {
    /// What heats the chip, and what is close to it, by a kelvin.
    pub chip_joules_per_kelvin: f64,
    /// From chip to case.
    pub chip_kelvin_per_watt: f64,
    /// What heats the case by a kelvin.
    pub case_joules_per_kelvin: f64,
    /// From case to air.
    pub case_kelvin_per_watt: f64,
    /// Up to this temperature of the chip, in °C, it has its full speed.
    pub slows_from: f64,
    /// From this one on it has its least, and between the two what is on the straight line.
    pub slowest_at: f64,
    /// That least speed, as a share of the full one.
    pub slowest: f64,
    /// From this one on its system stops it.
    pub critical_at: f64,
}

/// What a device takes.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PowerSpec {
    /// Awake, with nothing to do.
    pub idle_watts: f64,
    /// More than that while it computes at full speed.
    pub compute_watts: f64,
    /// More than that for each byte that it sends.
    pub microjoules_per_byte_sent: f64,
    /// More than that for each byte that it receives.
    pub microjoules_per_byte_received: f64,
}

impl Default for PowerSpec {
    /// Nothing is known, and nothing counted.
    fn default() -> Self {
        Self {
            idle_watts: 0.0,
            compute_watts: 0.0,
            microjoules_per_byte_sent: 0.0,
            microjoules_per_byte_received: 0.0,
        }
    }
}

/// What is wrong with a profile.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// No profile is called so.
    #[error(
        "no profile is called {name:?}: name one of {}, or the path of a .toml or .json file",
        library().map(|(name, _)| name).collect::<Vec<_>>().join(", ")
    )]
    Unknown {
        /// The name.
        name: String,
    },
    /// Its file cannot be read.
    #[error("the profile {path:?} cannot be read: {why}")]
    File {
        /// Its path.
        path: String,
        /// Why.
        why: std::io::Error,
    },
    /// Its text is no profile.
    #[error("{name:?} is not a profile: {words}")]
    Unreadable {
        /// Its name.
        name: String,
        /// What is wrong.
        words: String,
    },
}
