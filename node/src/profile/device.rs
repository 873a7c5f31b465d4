//! The profile that peers see.

use std::time::Duration;

use potluck_model::TensorType;
use potluck_protocol::profile::{Measured, OwnerLimits, Power, Profile, Rate, Thermal};
use potluck_protocol::wire::limits::MAX_BYTES;

use super::{Caveats, Measurements, SystemSensors};
use crate::shape::quantisation;

/// The budget where neither owner nor system says anything: so little that no device that computes at
/// all lacks it. [`Caveats`] say that it is one.
const UNKNOWN_MEMORY: u64 = 512 << 20;

/// What the owner of this device has set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OwnerSettings {
    /// Bytes for weights and KV caches; if `None`, half of what is available.
    pub memory_bytes: Option<u64>,
    /// When it may help.
    pub limits: OwnerLimits,
}

/// This device's profile, at any time.
pub struct DeviceProfile {
    measurements: Measurements,
    sensors: Box<dyn SystemSensors>,
    limits: OwnerLimits,
    memory_budget_bytes: u64,
    memory_is_known: bool,
}

impl DeviceProfile {
    /// The memory budget is settled now and stays: what is available later depends on what was
    /// taken of it.
    pub fn new(
        measurements: Measurements,
        sensors: Box<dyn SystemSensors>,
        settings: &OwnerSettings,
    ) -> Self {
        let half = || sensors.available_memory().map(|available| available / 2);
        let memory = settings.memory_bytes.or_else(half);
        Self {
            memory_budget_bytes: memory.unwrap_or(UNKNOWN_MEMORY).min(MAX_BYTES),
            memory_is_known: memory.is_some(),
            measurements,
            sensors,
            limits: settings.limits,
        }
    }

    /// What was measured.
    pub fn measurements(&self) -> &Measurements {
        &self.measurements
    }

    /// Bytes that weights and KV caches may take.
    pub fn memory_budget_bytes(&self) -> u64 {
        self.memory_budget_bytes
    }

    /// What its owner should know of these figures now.
    pub fn caveats(&self) -> Caveats {
        Caveats {
            memory_not_known: (!self.memory_is_known).then_some(self.memory_budget_bytes),
            battery_not_known: self.sensors.power() == Power::Unknown,
            heat_not_known: self.sensors.thermal().is_none(),
            measured_while_busy: self.measurements.measured_while_busy,
        }
    }

    /// How hot it is; `None` if the system does not tell.
    pub fn thermal(&self) -> Option<Thermal> {
        self.sensors.thermal()
    }

    /// The profile now, when the clock by which its times are to be shows `now_us`. Measurements
    /// older than that clock are of its time 0, so it should count from long ago.
    pub fn profile(&self, now_us: u64) -> Profile {
        let age = u64::try_from(self.measurements.age().as_micros()).unwrap_or(u64::MAX);
        let measured_us = now_us.saturating_sub(age);
        let Measurements {
            decode_bytes_per_s,
            kv_read_bytes_per_s,
            prefill_multiply_adds_per_s,
            stage_overhead_ns,
            ..
        } = &self.measurements;
        let decode = decode_bytes_per_s.iter().filter_map(|(name, &bytes)| {
            let tensor_type = TensorType::from_name(name)?;
            Some((quantisation(tensor_type), at(measured_us, rate(bytes))))
        });
        Profile {
            memory_budget_bytes: at(now_us, self.memory_budget_bytes),
            decode: decode.collect(),
            kv_read: at(measured_us, rate(*kv_read_bytes_per_s)),
            prefill: Some(at(measured_us, rate(*prefill_multiply_adds_per_s))),
            stage_overhead: at(measured_us, Duration::from_nanos(*stage_overhead_ns)),
            // No system here tells what computing takes.
            energy: None,
            power: at(now_us, self.sensors.power()),
            // Peers cannot be told that it is not known.
            thermal: at(now_us, self.sensors.thermal().unwrap_or(Thermal::Nominal)),
            limits: self.limits,
            leaving: false,
            outdated: false,
        }
    }
}

fn at<T>(at_us: u64, value: T) -> Measured<T> {
    Measured { value, at_us }
}

fn rate(units: u64) -> Rate {
    Rate::per_second(units.max(1)).expect("at least 1")
}
