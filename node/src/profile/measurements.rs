//! What was measured, and with what.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use potluck_model::{Compute, Isa, TensorType};
use potluck_protocol::Arithmetic;
use potluck_protocol::profile::{Measured, OwnerLimits, Power, Profile, Rate, Thermal};
use serde::{Deserialize, Serialize};

use super::{Corrections, SystemSensors};
use crate::shape::quantisation;

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
    /// What steps have said of these rates since.
    #[serde(default, skip_serializing_if = "Corrections::is_empty")]
    pub corrections: Corrections,
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
    /// Whether a battery was drained, with which many devices are slower.
    #[serde(default)]
    pub on_battery: bool,
}

impl MeasuredWith {
    /// This program on this device.
    pub fn now(compute: &Compute, sensors: &dyn SystemSensors) -> Self {
        Self::of(compute.threads(), compute.isa(), sensors)
    }

    /// As [`now`](Self::now), with so many threads and this instruction set.
    pub fn of(threads: usize, isa: Isa, sensors: &dyn SystemSensors) -> Self {
        Self {
            processor: sensors.processor(),
            threads,
            isa: isa.to_string(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            on_battery: drains_battery(sensors.power()),
        }
    }
}

/// Whether a device with this power drains its battery; not if it does not tell.
pub(super) fn drains_battery(power: Power) -> bool {
    matches!(
        power,
        Power::Battery {
            charging: false,
            ..
        }
    )
}

impl Measurements {
    /// Whether every rate is there, and none is 0.
    pub(super) fn is_whole(&self) -> bool {
        let decode = &self.decode_bytes_per_s;
        let all = TensorType::ALL
            .iter()
            .all(|t| decode.contains_key(t.name()));
        let others = [self.kv_read_bytes_per_s, self.prefill_multiply_adds_per_s];
        all && decode.values().chain(&others).all(|&rate| rate > 0)
    }

    /// How long ago they were made, by the system's clock; nothing if that went back.
    pub fn age(&self) -> Duration {
        let at = UNIX_EPOCH + Duration::from_millis(self.measured_at_unix_ms);
        SystemTime::now().duration_since(at).unwrap_or_default()
    }

    /// The rates as they were measured, at `at_us`, as the profile of a device of which nothing else is
    /// known.
    pub(super) fn as_profile(&self, at_us: u64) -> Profile {
        let decode = self.decode_bytes_per_s.iter().filter_map(|(name, &bytes)| {
            let tensor_type = TensorType::from_name(name)?;
            Some((quantisation(tensor_type), at(at_us, rate(bytes))))
        });
        Profile {
            memory_budget_bytes: at(at_us, 0),
            decode: decode.collect(),
            kv_read: at(at_us, rate(self.kv_read_bytes_per_s)),
            prefill: Some(at(at_us, rate(self.prefill_multiply_adds_per_s))),
            stage_overhead: at(at_us, Duration::from_nanos(self.stage_overhead_ns)),
            // No system here tells what computing takes.
            energy: None,
            power: at(at_us, Power::Unknown),
            thermal: at(at_us, Thermal::Nominal),
            limits: OwnerLimits::default(),
            leaving: false,
            arithmetic: arithmetic(),
            outdated: false,
        }
    }
}

/// How this program computes: with its kernels, for itself and for others.
fn arithmetic() -> Arithmetic {
    let kernels = potluck_model::Arithmetic::Canonical1;
    Arithmetic::new(kernels.name()).expect("the name of an arithmetic")
}

pub(super) fn at<T>(at_us: u64, value: T) -> Measured<T> {
    Measured { value, at_us }
}

fn rate(units: u64) -> Rate {
    Rate::per_second(units.max(1)).expect("at least 1")
}
