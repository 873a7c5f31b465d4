//! What is simulated: devices, networks, the model, requests and faults.
//!
//! A scenario is a TOML file. Everything but the devices' profiles has a default; a complete scenario is
//!
//! ```toml
//! model = { name = "smollm2:135m" }
//! device = [{ profile = "galaxy-s23", count = 3 }]
//! ```
//!
//! in which the first of three paired phones asks one question. Quantities are texts with a unit (see
//! [`units`](crate::units)); an unknown field is refused.

mod checks;
mod device;
mod error;
mod fault;
mod mobility;
mod model;
mod network;
mod request;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub use checks::Checks;
pub use device::{CircleSpec, DeviceSpec, Weights};
pub use error::ScenarioError;
pub use fault::{FaultKind, FaultSpec, RandomFaults};
pub use mobility::Mobility;
pub use model::ModelSpec;
pub use network::{NetworkKind, NetworkSpec};
pub use request::{ChoiceSpec, Goal, RequestSpec};

use crate::units::Span;

/// The most devices of a scenario, copies of circles included.
pub const MOST_DEVICES: usize = 100_000;

/// A scenario; see the module's page.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Scenario {
    /// Its name in reports.
    pub name: String,
    /// A description for people, in paragraphs divided by empty lines.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub about: String,
    /// The seed of all random numbers.
    pub seed: u64,
    /// Duration, in virtual time.
    pub duration: Span,
    /// How often each device's state is recorded; default: 120 times in all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub series_every: Option<Span>,
    /// Temperature of the air around all devices, in °C.
    pub ambient: f64,
    /// The model that all sessions use.
    pub model: ModelSpec,
    /// Mobility: devices that join and leave.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mobility: Option<Mobility>,
    /// Random faults.
    #[serde(rename = "faults", skip_serializing_if = "Option::is_none")]
    pub random_faults: Option<RandomFaults>,
    /// Bounds of the checkers.
    pub checks: Checks,
    /// The devices.
    #[serde(rename = "device")]
    pub devices: Vec<DeviceSpec>,
    /// Circles with properties beside their name.
    #[serde(rename = "circle", skip_serializing_if = "Vec::is_empty")]
    pub circles: Vec<CircleSpec>,
    /// The networks; default: that of one quiet home.
    #[serde(rename = "network", skip_serializing_if = "Vec::is_empty")]
    pub networks: Vec<NetworkSpec>,
    /// The questions; default: one by the first device.
    #[serde(rename = "request", skip_serializing_if = "Vec::is_empty")]
    pub requests: Vec<RequestSpec>,
    /// Faults at given times.
    #[serde(rename = "fault", skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<FaultSpec>,
}

impl Default for Scenario {
    fn default() -> Self {
        Self {
            name: "unnamed".to_owned(),
            about: String::new(),
            seed: 1,
            duration: Span::seconds(60),
            series_every: None,
            ambient: 25.0,
            model: ModelSpec::default(),
            mobility: None,
            random_faults: None,
            checks: Checks::default(),
            devices: Vec::new(),
            circles: Vec::new(),
            networks: Vec::new(),
            requests: Vec::new(),
            faults: Vec::new(),
        }
    }
}

impl Scenario {
    /// Reads a scenario and checks that it makes sense.
    ///
    /// # Errors
    /// [`ScenarioError`], which names the line and the field.
    pub fn from_toml(text: &str) -> Result<Self, ScenarioError> {
        let scenario: Self = toml::from_str(text).map_err(ScenarioError::from)?;
        scenario.check().map_err(|error| error.in_lines_of(text))?;
        Ok(scenario)
    }

    /// Reads a scenario from a table, in which a sweep has set fields.
    ///
    /// # Errors
    /// As [`from_toml`](Self::from_toml), without the line.
    pub fn from_table(table: toml::Table) -> Result<Self, ScenarioError> {
        let scenario: Self = table.try_into().map_err(ScenarioError::from)?;
        scenario.check()?;
        Ok(scenario)
    }

    /// The scenario as a file.
    ///
    /// # Errors
    /// [`ScenarioError`] if it cannot be written, as with a number that TOML does not have.
    pub fn to_toml(&self) -> Result<String, ScenarioError> {
        toml::to_string(self).map_err(|error| ScenarioError::Unwritable(error.to_string()))
    }

    /// How often each device's state is recorded.
    pub fn series_every(&self) -> Span {
        let even = Span((self.duration.0 / 120).max(1));
        self.series_every.unwrap_or(even)
    }

    /// The networks, at least one.
    pub fn networks(&self) -> Vec<NetworkSpec> {
        if self.networks.is_empty() {
            return vec![NetworkSpec::default()];
        }
        self.networks.clone()
    }

    /// The questions, at least one.
    pub fn requests(&self) -> Vec<RequestSpec> {
        if self.requests.is_empty() {
            return vec![RequestSpec::default()];
        }
        self.requests.clone()
    }

    /// Whether it makes sense by itself; profiles are looked up when it runs.
    ///
    /// # Errors
    /// [`ScenarioError::Senseless`].
    pub fn check(&self) -> Result<(), ScenarioError> {
        let wrong = |section, index, field, words: String| {
            Err(ScenarioError::senseless(section, index, field, words))
        };
        if self.devices.is_empty() {
            return wrong("device", 0, "profile", "name at least one device".into());
        }
        if !(-40.0..=80.0).contains(&self.ambient) {
            return wrong("", 0, "ambient", "give it in °C, from -40 to 80".into());
        }
        if self.duration.0 == 0 || self.series_every.is_some_and(|every| every.0 == 0) {
            return wrong("", 0, "duration", "time must pass".into());
        }
        self.model.check()?;
        for (at, device) in self.devices.iter().enumerate() {
            device.check(at)?;
            self.check_network(at, device)?;
        }
        for (at, network) in self.networks.iter().enumerate() {
            network.check(at)?;
        }
        for (at, request) in self.requests.iter().enumerate() {
            request.check(at)?;
            self.check_who("request", at, &request.who)?;
        }
        for (at, fault) in self.faults.iter().enumerate() {
            fault.check(at)?;
            self.check_who("fault", at, &fault.who)?;
            if let Some(other) = &fault.other {
                self.check_who("fault", at, other)?;
            }
        }
        if let Some(mobility) = &self.mobility {
            mobility.check()?;
        }
        let count = self.device_count();
        if count > MOST_DEVICES {
            let words = format!("{count} devices, at most {MOST_DEVICES}: name fewer");
            return wrong("device", 0, "count", words);
        }
        Ok(())
    }

    /// Devices, copies of circles included.
    pub fn device_count(&self) -> usize {
        let counts = self.devices.iter().map(|device| {
            let copies = self.circle(&device.circle).copies;
            (device.count as usize).saturating_mul(copies as usize)
        });
        counts.fold(0, usize::saturating_add)
    }

    /// The circle of this name.
    pub fn circle(&self, name: &str) -> CircleSpec {
        let named = self.circles.iter().find(|circle| circle.name == name);
        named.cloned().unwrap_or_else(|| CircleSpec::named(name))
    }

    fn check_network(&self, at: usize, device: &DeviceSpec) -> Result<(), ScenarioError> {
        let networks = self.networks();
        match &device.network {
            Some(name) if !networks.iter().any(|network| network.name == *name) => {
                let names: Vec<_> = networks.iter().map(|n| n.name.as_str()).collect();
                let words = format!("no network is called {name:?}: {}", names.join(", "));
                Err(ScenarioError::senseless("device", at, "network", words))
            }
            _ => Ok(()),
        }
    }

    /// Whether a device, or a circle's, is called so.
    fn check_who(&self, section: &'static str, at: usize, who: &str) -> Result<(), ScenarioError> {
        let base = who.split('/').next_back().unwrap_or(who);
        let base = base.split('#').next().unwrap_or(base);
        let known = ["first", "any", "each"].contains(&who)
            || self
                .devices
                .iter()
                .any(|device| device.base_name() == base || device.circle == who);
        if known {
            return Ok(());
        }
        let names: Vec<_> = self.devices.iter().map(DeviceSpec::base_name).collect();
        let names = names.join(", ");
        let words = format!("nobody is called {who:?}: first, any, each, a circle, or {names}");
        Err(ScenarioError::senseless(section, at, "who", words))
    }
}
