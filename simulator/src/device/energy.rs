//! A device's temperature and battery, and how they change its speed.

use std::rc::Rc;

use potluck_protocol::profile::{Power, Thermal};

use super::heat::Heat;
use crate::profiles::Hardware;

/// What a charger gives, in watts.
const CHARGER_WATTS: f64 = 15.0;
/// Suspended or with its program ended, a device takes this share of its idle power.
const ASLEEP: f64 = 0.3;
/// So much slower is a device whose owner talks on it.
const CALL_SPEED: f64 = 0.5;
/// Kelvins below where it slows at which a device says that it is warm.
const FAIR_BELOW: f64 = 6.0;

/// What a busy radio heats with at most, in watts: an assumption. Joules a byte are published as an
/// upper bound, of slow transfers; of fast ones that would be 12 W at 20 Mbit/s.
const MOST_RADIO_WATTS: f64 = 1.5;

/// What computing at a share of the full speed takes, as a share of what the full one does: less
/// than in proportion, as a slower clock needs less voltage.
pub(super) fn share_of_power(speed: f64) -> f64 {
    speed * (0.5 + 0.5 * speed)
}

/// Circumstances of a device that it does not make itself.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Setting {
    /// Temperature of the air, in °C.
    pub(crate) ambient: f64,
    /// Times that it is slower.
    pub(crate) slow: f64,
    /// Whether something outside heats it.
    pub(crate) heated: bool,
    /// Whether its owner talks on it.
    pub(crate) in_call: bool,
    /// Whether it is plugged in.
    pub(crate) charging: bool,
    /// Whether its program runs.
    pub(crate) awake: bool,
    /// Whether it has any power.
    pub(crate) powered: bool,
}

/// A device's temperature, battery and energy; times are microseconds.
#[derive(Debug)]
pub(crate) struct Body {
    pub(crate) hardware: Rc<Hardware>,
    pub(crate) setting: Setting,
    heat: Option<Heat>,
    /// Up to when all is accounted for.
    at: u64,
    /// Joules that became heat since then, beside the idle power.
    pending: f64,
    /// Of the radio, those that did not yet.
    pending_radio: f64,
    idle_joules: f64,
    pub(crate) compute_joules: f64,
    pub(crate) radio_joules: f64,
    charged_joules: f64,
    /// Of the battery, in joules: at the beginning, and when full.
    battery: Option<(f64, f64)>,
}

impl Body {
    pub(crate) fn new(
        hardware: Rc<Hardware>,
        setting: Setting,
        celsius: f64,
        charge_percent: f64,
    ) -> Self {
        let heat = hardware
            .heat
            .map(|spec| Heat::new(spec, celsius - setting.ambient));
        let full = hardware.battery_watt_hours.map(|hours| hours * 3_600.0);
        Self {
            heat,
            battery: full.map(|full| (full * charge_percent / 100.0, full)),
            hardware,
            setting,
            at: 0,
            pending: 0.0,
            pending_radio: 0.0,
            idle_joules: 0.0,
            compute_joules: 0.0,
            radio_joules: 0.0,
            charged_joules: 0.0,
        }
    }

    /// Time passes until now.
    pub(crate) fn pass(&mut self, now: u64) {
        let seconds = now.saturating_sub(self.at) as f64 / 1e6;
        if seconds <= 0.0 {
            return;
        }
        self.at = now;
        let idle = self.hardware.power.idle_watts;
        let watts = match self.setting {
            Setting { powered: false, .. } => 0.0,
            Setting { awake: false, .. } => idle * ASLEEP,
            Setting { .. } => idle,
        };
        self.idle_joules += watts * seconds;
        if let Some(heat) = &mut self.heat {
            let radio = self.pending_radio.min(MOST_RADIO_WATTS * seconds);
            heat.pass(seconds, watts + (self.pending + radio) / seconds);
            // What is more within a second is of the bound, and of no radio.
            self.pending_radio = (self.pending_radio - radio).min(MOST_RADIO_WATTS);
        }
        self.pending = 0.0;
        if let Some((_, full)) = self.battery
            && self.setting.charging
        {
            let room = full - self.charge_joules();
            self.charged_joules += room.clamp(0.0, CHARGER_WATTS * seconds);
        }
    }

    /// It computed for so long at this speed.
    pub(crate) fn computed(&mut self, micros: u64, speed: f64) {
        let watts = self.hardware.power.compute_watts * share_of_power(speed.min(1.0));
        let joules = watts * micros as f64 / 1e6;
        self.compute_joules += joules;
        self.pending += joules;
    }

    pub(crate) fn sent(&mut self, bytes: u64) {
        self.radio(bytes, self.hardware.power.microjoules_per_byte_sent);
    }

    pub(crate) fn received(&mut self, bytes: u64) {
        self.radio(bytes, self.hardware.power.microjoules_per_byte_received);
    }

    fn radio(&mut self, bytes: u64, microjoules: f64) {
        let joules = bytes as f64 * microjoules / 1e6;
        self.radio_joules += joules;
        self.pending_radio += joules;
    }

    /// Its speed as a share of that when it is cool and at rest.
    pub(crate) fn speed(&self) -> f64 {
        let ambient = self.setting.ambient;
        let by_heat = self.heat.as_ref().map_or(1.0, |heat| {
            let own = heat.speed(ambient);
            if self.setting.heated {
                own.min(heat.spec().slowest)
            } else {
                own
            }
        });
        let owner = if self.setting.in_call {
            CALL_SPEED
        } else {
            1.0
        };
        by_heat * owner / self.setting.slow
    }

    /// Chip and case, in °C.
    pub(crate) fn celsius(&self) -> (f64, f64) {
        let ambient = self.setting.ambient;
        let above = self
            .heat
            .as_ref()
            .map_or((0.0, 0.0), |h| (h.chip(), h.case()));
        (above.0 + ambient, above.1 + ambient)
    }

    /// All joules taken.
    pub(crate) fn joules(&self) -> f64 {
        self.idle_joules + self.compute_joules + self.radio_joules
    }

    /// Of them, those that it would have taken without anything to do.
    pub(crate) fn idle_joules(&self) -> f64 {
        self.idle_joules
    }

    fn charge_joules(&self) -> f64 {
        let initial = self.battery.map_or(0.0, |(initial, _)| initial);
        initial + self.charged_joules - self.joules()
    }

    /// Charge, 0 to 1; `None` without a battery.
    pub(crate) fn charge(&self) -> Option<f64> {
        let (_, full) = self.battery?;
        Some((self.charge_joules() / full).clamp(0.0, 1.0))
    }

    /// Whether its battery is empty.
    pub(crate) fn is_empty(&self) -> bool {
        self.battery.is_some() && self.charge_joules() <= 0.0
    }

    /// Its power state, as it reports it.
    pub(crate) fn power(&self) -> Power {
        match self.charge() {
            None => Power::Mains,
            Some(charge) => Power::Battery {
                percent: (charge * 100.0) as u8,
                charging: self.setting.charging,
            },
        }
    }

    /// Its thermal state, as it reports it.
    pub(crate) fn thermal(&self) -> Thermal {
        let Some(heat) = &self.heat else {
            return Thermal::Nominal;
        };
        let (chip, spec) = (heat.chip() + self.setting.ambient, heat.spec());
        if chip >= spec.critical_at {
            Thermal::Critical
        } else if chip >= spec.slows_from || self.setting.heated {
            Thermal::Serious
        } else if chip >= spec.slows_from - FAIR_BELOW {
            Thermal::Fair
        } else {
            Thermal::Nominal
        }
    }
}
