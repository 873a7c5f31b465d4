//! Devices and their circles.

use serde::{Deserialize, Serialize};

use super::error::ScenarioError;
use crate::units::{ByteCount, Span};

/// Devices of one kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DeviceSpec {
    /// A profile of the library, or the path of a file with one.
    pub profile: String,
    /// Its name; default: the profile's name. Of several devices, the second is `name#2`; in the third
    /// copy of a circle it is `3/name`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The number of devices.
    pub count: u32,
    /// The circle that they are paired in.
    pub circle: String,
    /// The network that they are on; default: the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// The memory that its owner offers, instead of the profile's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<ByteCount>,
    /// Charge at the beginning, in percent; default: 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub battery: Option<f64>,
    /// Whether it is plugged in.
    pub charging: bool,
    /// Its owner's limit: below this charge, in percent, it does not help.
    pub min_battery: u8,
    /// Its owner's limit: it helps only while it charges.
    pub only_when_charging: bool,
    /// Whether its profile has the energy of computing. Real nodes do not measure it yet, so they cannot
    /// plan by energy. Default: only if a request is planned by energy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tells_energy: Option<bool>,
    /// Temperature at the beginning, in °C; default: that of the air.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub celsius: Option<f64>,
    /// The factor by which it is slower than its profile.
    pub slow: f64,
    /// When it first joins.
    pub joins_at: Span,
    /// The weights that it has.
    pub weights: Weights,
    /// The most bytes of weights that it keeps of others.
    pub storage: ByteCount,
    /// The time from its app's going to the background until the system suspends it.
    pub suspended_after: Span,
}

/// Weights that a device has from the beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Weights {
    /// The whole file.
    #[default]
    All,
    /// None: what a stage needs is fetched from others first, and kept. Such a device cannot be a
    /// requester, as requesters need embedding and head.
    None,
}

impl Default for DeviceSpec {
    fn default() -> Self {
        Self {
            profile: String::new(),
            name: None,
            count: 1,
            circle: "home".to_owned(),
            network: None,
            memory: None,
            battery: None,
            charging: false,
            min_battery: 0,
            only_when_charging: false,
            tells_energy: None,
            celsius: None,
            slow: 1.0,
            joins_at: Span(0),
            weights: Weights::All,
            storage: ByteCount(20_000_000_000),
            suspended_after: Span::seconds(5),
        }
    }
}

impl DeviceSpec {
    /// Its name, without the suffix that tells several apart.
    pub fn base_name(&self) -> &str {
        let of_profile = || {
            let file = self.profile.rsplit(['/', '\\']).next().unwrap_or_default();
            file.split('.').next().unwrap_or_default()
        };
        self.name.as_deref().unwrap_or_else(of_profile)
    }

    pub(super) fn check(&self, at: usize) -> Result<(), ScenarioError> {
        let wrong = |field, words: &str| {
            Err(ScenarioError::senseless(
                "device",
                at,
                field,
                words.to_owned(),
            ))
        };
        if self.profile.is_empty() {
            let words = "name a profile: `potluck-sim profiles` lists them";
            return wrong("profile", words);
        }
        if self.count == 0 {
            return wrong("count", "at least 1");
        }
        let named = self.name.as_deref().unwrap_or("a");
        if named.is_empty() || named.contains(['#', '/']) {
            return wrong("name", "a name without # and /");
        }
        if self.battery.is_some_and(|b| !(0.0..=100.0).contains(&b)) || self.min_battery > 100 {
            return wrong("battery", "a charge is from 0 to 100 percent");
        }
        if self.celsius.is_some_and(|c| !(-40.0..=90.0).contains(&c)) {
            return wrong("celsius", "give it in °C, from -40 to 90");
        }
        if !(0.01..=1_000.0).contains(&self.slow) {
            return wrong("slow", "from 0.01 to 1000 times slower");
        }
        Ok(())
    }
}

/// A circle of paired devices.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CircleSpec {
    /// The name by which devices refer to it.
    pub name: String,
    /// The number of copies, each with devices and networks of its own.
    #[serde(default = "one")]
    pub copies: u32,
    /// Whether all copies are on the same networks and share their airtime.
    #[serde(default)]
    pub shared_networks: bool,
}

fn one() -> u32 {
    1
}

impl CircleSpec {
    /// One of this name.
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            copies: 1,
            shared_networks: false,
        }
    }
}
