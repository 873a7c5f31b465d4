//! The profile that peers see.

use potluck_protocol::correction::{Correction, TimedRows};
use potluck_protocol::profile::{OwnerLimits, Power, Profile, Thermal};
use potluck_protocol::wire::limits::MAX_BYTES;

use super::measurements::{at, drains_battery};
use super::{Caveats, Corrections, Measurements, SystemSensors};
use crate::home::Home;

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

/// Between two times that a node adds what its steps said to what the home remembers.
const KEPT_EVERY_US: u64 = 60_000_000;
/// Steps that wait for that; later ones say the same.
const MOST_STEPS: usize = 4_096;

/// This device's profile, at any time.
pub struct DeviceProfile {
    measurements: Measurements,
    /// What steps say of the measurements: those that are kept, and those of `steps`.
    correction: Correction,
    /// Steps of this process that the home does not know of yet.
    steps: Vec<TimedRows>,
    /// Of them, so many are in the correction.
    looked_at: usize,
    home: Option<Home>,
    kept_at_us: u64,
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
            correction: measurements.corrections.to_correction(),
            steps: Vec::new(),
            looked_at: 0,
            home: None,
            kept_at_us: 0,
            measurements,
            sensors,
            limits: settings.limits,
        }
    }

    /// Has corrections kept in this home, and those of other processes that compute there taken up.
    pub fn kept_in(mut self, home: &Home) -> Self {
        self.home = Some(home.clone());
        self
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
            corrected_by_steps: self.correction.steps(),
        }
    }

    /// How hot it is; `None` if the system does not tell.
    pub fn thermal(&self) -> Option<Thermal> {
        self.sensors.thermal()
    }

    /// This device computed something. [`correct`](Self::correct) looks at it.
    pub fn computed(&mut self, step: TimedRows) {
        if self.steps.len() < MOST_STEPS {
            self.steps.push(step);
        }
    }

    /// Corrects the profile by what was computed since the last time; whether that changed it.
    pub fn correct(&mut self) -> bool {
        let measured = self.measurements.as_profile(0);
        let mut corrected = false;
        for step in self.steps.iter().skip(self.looked_at) {
            corrected |= self.correction.add(&measured, step);
        }
        self.looked_at = self.steps.len();
        corrected
    }

    /// Takes up what has changed: which power supply it has, and what other processes of its home
    /// computed. Now and then also keeps what was computed here.
    pub fn look_after(&mut self, now_us: u64) {
        let Some(home) = self.home.clone() else {
            return;
        };
        let on_battery = drains_battery(self.sensors.power());
        if on_battery != self.measurements.with.on_battery {
            self.keep(now_us);
            self.supplied_anew(&home, on_battery);
        } else if now_us.saturating_sub(self.kept_at_us) >= KEPT_EVERY_US {
            self.keep(now_us);
        } else if let Some(kept) = Measurements::remembered_of(&home, &self.measurements.with)
            && kept != self.measurements
        {
            self.take(kept);
        }
    }

    /// Keeps what was computed, after what others have kept meanwhile.
    pub fn keep(&mut self, now_us: u64) {
        self.correct();
        let steps = std::mem::take(&mut self.steps);
        self.looked_at = 0;
        self.kept_at_us = now_us;
        let with = &self.measurements.with;
        let home = self.home.as_ref();
        if let Some(kept) = home.and_then(|home| Measurements::learn(home, with, steps)) {
            self.take(kept);
        }
    }

    /// Goes on from what is kept in the home.
    fn take(&mut self, kept: Measurements) {
        self.correction = kept.corrections.to_correction();
        self.measurements = kept;
        self.looked_at = 0;
        self.correct();
    }

    /// The rates may be others with this supply of power: those that were measured with it, or until
    /// then those there are, which steps correct from now on.
    fn supplied_anew(&mut self, home: &Home, on_battery: bool) {
        let mut others = self.measurements.clone();
        others.with.on_battery = on_battery;
        others.corrections = Corrections::default();
        let known = Measurements::remembered_of(home, &others.with);
        self.take(known.unwrap_or(others));
    }

    /// The profile now, when the clock by which its times are to be shows `now_us`. Measurements
    /// older than that clock are of its time 0, so it should count from long ago.
    pub fn profile(&self, now_us: u64) -> Profile {
        let age = u64::try_from(self.measurements.age().as_micros()).unwrap_or(u64::MAX);
        let measured = self.measurements.as_profile(now_us.saturating_sub(age));
        Profile {
            memory_budget_bytes: at(now_us, self.memory_budget_bytes),
            power: at(now_us, self.sensors.power()),
            // Peers cannot be told that it is not known.
            thermal: at(now_us, self.sensors.thermal().unwrap_or(Thermal::Nominal)),
            limits: self.limits,
            ..self.correction.corrected(&measured)
        }
    }
}
