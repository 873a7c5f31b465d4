//! Devices and their circles.

use serde::{Deserialize, Serialize};

use super::error::ScenarioError;
use crate::units::{ByteCount, Span};

/// Some devices of one kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DeviceSpec {
    /// A profile of the library, or the path of a file with one.
    pub profile: String,
    /// What it is called; the profile's name if nothing is said. Of several, the second is `name#2`.
    /// In the copies of a circle, the third copy's is `3/name`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// How many.
    pub count: u32,
    /// The circle that they are paired in.
    pub circle: String,
    /// The network that they are on; the first if nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// What its owner offers, instead of what the profile says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<ByteCount>,
    /// Charge in percent at the beginning, 100 if nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub battery: Option<f64>,
    /// Whether it is plugged in.
    pub charging: bool,
    /// Its owner's limit: below this charge, in percent, it does not help.
    pub min_battery: u8,
    /// Its owner's limit: it helps only on a charger.
    pub only_when_charging: bool,
    /// Whether it tells what computing takes. Real nodes do not yet, so that nothing can be planned
    /// by energy; if nothing is said, it does where a request is planned by energy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tells_energy: Option<bool>,
    /// Temperature at the beginning, in °C; that of the air if nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub celsius: Option<f64>,
    /// Times that it is slower than its profile.
    pub slow: f64,
    /// When it first comes into reach.
    pub joins_at: Span,
    /// The weights that it has.
    pub weights: Weights,
    /// What it keeps at most of weights that come from others.
    pub storage: ByteCount,
    /// How long after it went to the background its system suspends it.
    pub suspended_after: Span,
}

/// Weights that a device has from the beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Weights {
    /// The whole file.
    #[default]
    All,
    /// None: what a stage needs is fetched from others first, and stays. It cannot ask, as embedding
    /// and head stay with whoever does.
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
    /// Its name, without what tells several apart.
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
    /// What devices name it by.
    pub name: String,
    /// How many there are of it, each of devices and networks of its own.
    #[serde(default = "one")]
    pub copies: u32,
    /// Whether all its copies are on the same networks, and share their air.
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
