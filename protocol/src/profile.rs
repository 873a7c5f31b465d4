//! What a device measured of itself, and the limits that its owner set.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::time::Duration;

use crate::Arithmetic;

/// A value and when it was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measured<T> {
    /// What was measured.
    pub value: T,
    /// When, in microseconds of the clock of whoever drives the protocol.
    pub at_us: u64,
}

/// Units a second, never none: bytes, multiply-adds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rate(NonZeroU64);

impl Rate {
    /// A rate of this many units a second; `None` if that is none.
    pub fn per_second(units: u64) -> Option<Self> {
        NonZeroU64::new(units).map(Self)
    }

    /// Units a second.
    pub fn units_per_second(self) -> u64 {
        self.0.get()
    }

    /// How long so many units take, rounded up to a nanosecond.
    pub fn time_for(self, units: u64) -> Duration {
        Duration::from_nanos(self.nanoseconds_for(u128::from(units)))
    }

    /// As [`time_for`](Self::time_for), in nanoseconds; at most `u64::MAX`.
    pub(crate) fn nanoseconds_for(self, units: u128) -> u64 {
        let nanoseconds = units
            .saturating_mul(1_000_000_000)
            .div_ceil(u128::from(self.0.get()));
        u64::try_from(nanoseconds).unwrap_or(u64::MAX)
    }
}

/// A format of weights, by its tensor type number in GGUF files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Quantisation(pub u32);

/// A device as its node describes it to the circle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// Resident bytes its owner allows for weights and KV caches.
    pub memory_budget_bytes: Measured<u64>,
    /// Bytes of weights a second, read by decode steps of one row, for each format that it can
    /// compute with.
    pub decode: BTreeMap<Quantisation, Measured<Rate>>,
    /// Bytes of KV cache a second, read by attention.
    pub kv_read: Measured<Rate>,
    /// Multiply-adds a second in steps of many rows, beside the unpacking of weights; `None` until it
    /// is measured.
    pub prefill: Option<Measured<Rate>>,
    /// What a stage costs beyond its arithmetic: waking threads, copying hidden states.
    pub stage_overhead: Measured<Duration>,
    /// What computing takes from the battery; `None` where the system does not tell.
    pub energy: Option<Measured<Energy>>,
    /// Where its power comes from.
    pub power: Measured<Power>,
    /// How hot it is.
    pub thermal: Measured<Thermal>,
    /// When its owner lets it help.
    pub limits: OwnerLimits,
    /// It opens no stages for others for now: it is about to stop, or its owner needs it. Of a device's
    /// own profile false: its machine knows, and tells others.
    pub leaving: bool,
    /// How it computes.
    pub arithmetic: Arithmetic,
    /// Its program would compute some models wrongly, as whoever hears of it tells by the version that
    /// it greeted with. Not sent.
    pub outdated: bool,
}

/// A rate of a profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RateKind {
    /// Weights of a format, as [`Profile::decode`] has it.
    Decode(Quantisation),
    /// [`Profile::kv_read`].
    KvRead,
    /// [`Profile::prefill`].
    Prefill,
}

/// Energy by what is done, in picojoules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Energy {
    /// For a byte of weights or of KV cache read.
    pub picojoules_per_byte_read: u64,
    /// For a multiply-add.
    pub picojoules_per_multiply_add: u64,
    /// For a byte sent to a peer.
    pub picojoules_per_byte_sent: u64,
    /// For a byte received from a peer.
    pub picojoules_per_byte_received: u64,
}

/// Where a device's power comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Power {
    /// It has no battery.
    Mains,
    /// It has one.
    Battery {
        /// Charge, 0 to 100.
        percent: u8,
        /// Whether it is plugged in.
        charging: bool,
    },
    /// The system does not tell.
    Unknown,
}

/// How hot a device is, in the four steps that phones' systems distinguish.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Thermal {
    /// Cool.
    Nominal,
    /// Warm, not slowed.
    Fair,
    /// Slowed; its measured rates say by how much.
    Serious,
    /// About to be stopped by its system: it gets no stage.
    Critical,
}

/// When an owner lets a device help others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OwnerLimits {
    /// Only on mains or a charger.
    pub only_when_charging: bool,
    /// Not with less charge than this, 0 to 100, be it charging or not.
    pub min_battery_percent: u8,
}

/// Why a device does not help now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unwilling {
    /// Its owner wants it on a charger.
    #[error("not charging, and its owner lets it help only then")]
    NotCharging,
    /// Its battery is under its owner's limit.
    #[error("its battery is at {percent} %, below its owner's limit of {minimum} %")]
    BatteryLow {
        /// Charge.
        percent: u8,
        /// The limit.
        minimum: u8,
    },
    /// Its owner set a limit that cannot be checked.
    #[error("its owner set a battery limit, and its system does not tell the charge")]
    PowerUnknown,
    /// [`Thermal::Critical`].
    #[error("too hot")]
    TooHot,
    /// It is about to stop, or its owner needs it.
    #[error("about to stop helping")]
    Leaving,
    /// Its program passes over parts of newer models, and would compute them wrongly.
    #[error("its Potluck is too old to compute layers for this device: update it there")]
    Outdated,
    /// It computes by another arithmetic than the requester. Which, its profile says.
    #[error(
        "its Potluck computes in another way than this device's, with other answers: update both"
    )]
    OtherArithmetic,
}

impl Profile {
    /// Why its owner or its heat keep it from helping anybody now; `None` if it may. Whether it can help
    /// a device, [`Devices::unwilling`](crate::placement::Devices::unwilling) says.
    pub fn unwilling(&self) -> Option<Unwilling> {
        let OwnerLimits {
            only_when_charging,
            min_battery_percent: minimum,
        } = self.limits;
        if self.outdated {
            return Some(Unwilling::Outdated);
        }
        if self.thermal.value == Thermal::Critical {
            return Some(Unwilling::TooHot);
        }
        if self.leaving {
            return Some(Unwilling::Leaving);
        }
        match self.power.value {
            Power::Battery { charging, .. } if only_when_charging && !charging => {
                Some(Unwilling::NotCharging)
            }
            Power::Battery { percent, .. } if percent < minimum => {
                Some(Unwilling::BatteryLow { percent, minimum })
            }
            Power::Unknown if only_when_charging || minimum > 0 => Some(Unwilling::PowerUnknown),
            Power::Mains | Power::Battery { .. } | Power::Unknown => None,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Measured at time 0.
    pub(crate) fn measured<T>(value: T) -> Measured<T> {
        Measured { value, at_us: 0 }
    }

    /// A rate that is not none.
    pub(crate) fn rate(units: u64) -> Rate {
        Rate::per_second(units).expect("tests name rates above 0")
    }

    /// A device on mains that reads formats 0 to 2 at `bytes_per_s`.
    pub(crate) fn profile(memory_budget_bytes: u64, bytes_per_s: u64) -> Profile {
        let decode = (0..3).map(|number| (Quantisation(number), measured(rate(bytes_per_s))));
        Profile {
            memory_budget_bytes: measured(memory_budget_bytes),
            decode: decode.collect(),
            kv_read: measured(rate(bytes_per_s)),
            prefill: Some(measured(rate(20 * bytes_per_s))),
            stage_overhead: measured(Duration::ZERO),
            energy: None,
            power: measured(Power::Mains),
            thermal: measured(Thermal::Nominal),
            limits: OwnerLimits::default(),
            leaving: false,
            arithmetic: Arithmetic::CANONICAL_1,
            outdated: false,
        }
    }

    #[test]
    fn a_rate_rounds_time_up_and_never_overflows() {
        assert_eq!(Rate::per_second(0), None);
        assert_eq!(rate(3).time_for(1), Duration::from_nanos(333_333_334));
        assert_eq!(rate(1_000).time_for(0), Duration::ZERO);
        assert_eq!(rate(1).nanoseconds_for(u128::MAX), u64::MAX);
    }

    #[test]
    fn owners_limits_and_heat_keep_a_device_from_helping() {
        let battery = |percent, charging| Power::Battery { percent, charging };
        let at_limit = |power, only_when_charging, min_battery_percent| {
            let mut profile = profile(1, 1);
            profile.power = measured(power);
            profile.limits = OwnerLimits {
                only_when_charging,
                min_battery_percent,
            };
            profile.unwilling()
        };
        assert_eq!(at_limit(Power::Mains, true, 90), None);
        assert_eq!(at_limit(Power::Unknown, false, 0), None);
        let unknown = Some(Unwilling::PowerUnknown);
        assert_eq!(at_limit(Power::Unknown, true, 0), unknown);
        assert_eq!(at_limit(Power::Unknown, false, 1), unknown);
        assert_eq!(at_limit(battery(50, false), false, 50), None);
        let low = at_limit(battery(49, true), true, 50).expect("below its limit");
        assert!(low.to_string().contains("49 %") && low.to_string().contains("50 %"));
        let idle = at_limit(battery(100, false), true, 0);
        assert_eq!(idle, Some(Unwilling::NotCharging));

        let mut hot = profile(1, 1);
        hot.thermal.value = Thermal::Serious;
        assert_eq!(hot.unwilling(), None);
        hot.thermal.value = Thermal::Critical;
        assert_eq!(hot.unwilling(), Some(Unwilling::TooHot));
    }
}
