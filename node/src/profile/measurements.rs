//! What was measured, remembered in the home.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use potluck_model::{Compute, TensorType};
use serde::{Deserialize, Serialize};

use super::SystemSensors;
use super::busy::Watch;
use super::measure::{MeasureError, measure};
use crate::home::Home;
use crate::{Cancel, private_file};

/// How fast this device computes. No rate is 0.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measurements {
    /// When, in milliseconds since 1970.
    pub measured_at_unix_ms: u64,
    /// With what; other things give other measurements.
    pub with: MeasuredWith,
    /// Bytes of weights read a second by decode steps of one row, for each format, by its name.
    pub decode_bytes_per_s: BTreeMap<String, u64>,
    /// Bytes of KV cache read a second by attention in decode.
    pub kv_read_bytes_per_s: u64,
    /// Multiply-adds a second in prefill steps.
    pub prefill_multiply_adds_per_s: u64,
    /// What a stage costs beyond its arithmetic, in nanoseconds.
    pub stage_overhead_ns: u64,
    /// Whether other programs took processors away meanwhile, so that rates may be too low; `None` if
    /// the system does not tell, or an earlier version of this program measured.
    #[serde(default)]
    pub measured_while_busy: Option<bool>,
}

/// What measurements depend on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeasuredWith {
    /// The processor's name.
    pub processor: String,
    /// Threads that computed.
    pub threads: usize,
    /// The instruction set that computed.
    pub isa: String,
    /// The version of this program.
    pub version: String,
}

impl MeasuredWith {
    /// This program on this device.
    pub fn now(compute: &Compute, sensors: &dyn SystemSensors) -> Self {
        Self {
            processor: sensors.processor(),
            threads: compute.threads(),
            isa: compute.isa().to_string(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}

impl Measurements {
    /// What this home remembers, if it was measured with the same; else, measures. `None` when
    /// cancelled. `on_progress` is told what is done of what.
    ///
    /// # Errors
    /// As [`measure`](Self::measure).
    pub fn get(
        home: &Home,
        compute: &Compute,
        sensors: &dyn SystemSensors,
        cancel: &Cancel,
        on_progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Option<Self>, MeasureError> {
        let with = MeasuredWith::now(compute, sensors);
        let remembered = Self::remembered(home);
        if let Some(same) = remembered.filter(|remembered| remembered.with == with) {
            return Ok(Some(same));
        }
        Self::measure(home, compute, sensors, cancel, on_progress)
    }

    /// Measures, some seconds with all of `compute`'s threads and up to 100 MB of memory, and
    /// remembers it. Other programs that run at the same time make it slower, as they do what is
    /// measured. `None` when cancelled.
    ///
    /// # Errors
    /// There is no memory or no thread to measure with. That the home cannot be written is none;
    /// measuring is then due again the next time.
    pub fn measure(
        home: &Home,
        compute: &Compute,
        sensors: &dyn SystemSensors,
        cancel: &Cancel,
        on_progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Option<Self>, MeasureError> {
        let with = MeasuredWith::now(compute, sensors);
        let watch = Watch::begin(sensors);
        let Some(mut measurements) = measure(compute, with, cancel, on_progress)? else {
            return Ok(None);
        };
        measurements.measured_while_busy = watch.was_busy(sensors);
        if let Ok(text) = serde_json::to_string_pretty(&measurements) {
            let _ = private_file::replace(&path(home), text.as_bytes());
        }
        Ok(Some(measurements))
    }

    /// What this home remembers, whatever it was measured with; `None` if nothing that can be
    /// understood.
    pub fn remembered(home: &Home) -> Option<Self> {
        let text = fs::read(path(home)).ok()?;
        let measurements: Self = serde_json::from_slice(&text).ok()?;
        let decode = &measurements.decode_bytes_per_s;
        let all = TensorType::ALL
            .iter()
            .all(|t| decode.contains_key(t.name()));
        let others = [
            measurements.kv_read_bytes_per_s,
            measurements.prefill_multiply_adds_per_s,
        ];
        let some = decode.values().chain(&others).all(|&rate| rate > 0);
        (all && some).then_some(measurements)
    }

    /// How long ago they were made, by the system's clock; nothing if that went back.
    pub fn age(&self) -> Duration {
        let at = UNIX_EPOCH + Duration::from_millis(self.measured_at_unix_ms);
        SystemTime::now().duration_since(at).unwrap_or_default()
    }
}

fn path(home: &Home) -> PathBuf {
    home.root().join("measurements.json")
}
