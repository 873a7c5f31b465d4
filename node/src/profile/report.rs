//! A profile for people and programs.

use potluck_protocol::profile::{Power, Thermal};
use serde::Serialize;

use super::{Caveats, DeviceProfile, Measurements};

/// What this device tells its peers; `bench --profile --json` prints it.
#[derive(Debug, Clone, Serialize)]
pub struct ProfileReport {
    /// How fast it computes.
    #[serde(flatten)]
    pub measurements: Measurements,
    /// Bytes that weights and KV caches may take.
    pub memory_budget_bytes: u64,
    /// `mains`, `battery` or `unknown`.
    pub power: &'static str,
    /// A battery's charge, 0 to 100.
    pub battery_percent: Option<u8>,
    /// Whether the battery is plugged in.
    pub charging: Option<bool>,
    /// `nominal`, `fair`, `serious`, `critical` or `unknown`.
    pub thermal: &'static str,
    /// What is not known of these figures, or may be wrong.
    pub caveats: Caveats,
}

impl ProfileReport {
    /// The profile of a device, now.
    pub fn of(device: &DeviceProfile) -> Self {
        let profile = device.profile(0);
        let (power, battery) = match profile.power.value {
            Power::Mains => ("mains", None),
            Power::Battery { percent, charging } => ("battery", Some((percent, charging))),
            Power::Unknown => ("unknown", None),
        };
        let thermal = match device.thermal() {
            None => "unknown",
            Some(Thermal::Nominal) => "nominal",
            Some(Thermal::Fair) => "fair",
            Some(Thermal::Serious) => "serious",
            Some(Thermal::Critical) => "critical",
        };
        Self {
            measurements: device.measurements().clone(),
            memory_budget_bytes: device.memory_budget_bytes(),
            power,
            battery_percent: battery.map(|(percent, _)| percent),
            charging: battery.map(|(_, charging)| charging),
            thermal,
            caveats: device.caveats(),
        }
    }
}
