//! A device's profile and links, as its node sends them.

use std::collections::BTreeMap;
use std::time::Duration;

use super::proto;
use crate::profile::{Energy, Measured, OwnerLimits, Power, Profile, Quantisation, Rate, Thermal};
use crate::wire::check::{
    Checked, Malformed, Problem, arithmetic, duration, length, memory_bytes, nanoseconds_of, peer,
    required, within,
};
use crate::wire::limits::{MAX_LINKS, MAX_QUANTISATIONS};
use crate::{Link, PeerId};

/// A device as it measured itself, and its links to others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProfileUpdate {
    /// Counts up; one that is older than another is dropped.
    pub revision: u64,
    /// The sender's clock, in microseconds, by which everything here was measured and not later.
    pub sent_at_us: u64,
    /// The device.
    pub profile: Profile,
    /// Its links, by their other ends.
    pub links: BTreeMap<PeerId, Link>,
}

impl ProfileUpdate {
    /// The same by the receiver's clock, which showed `now_us` when this came: ages count from when
    /// the sender wrote it, so that no clocks need agree.
    #[must_use]
    pub fn received_at(mut self, now_us: u64) -> Self {
        let sent_at_us = std::mem::replace(&mut self.sent_at_us, now_us);
        let shift = |at_us: &mut u64| {
            *at_us = now_us.saturating_sub(sent_at_us.saturating_sub(*at_us));
        };
        let profile = &mut self.profile;
        shift(&mut profile.memory_budget_bytes.at_us);
        let rates = profile.decode.values_mut().chain(&mut profile.prefill);
        rates.for_each(|rate| shift(&mut rate.at_us));
        shift(&mut profile.kv_read.at_us);
        shift(&mut profile.stage_overhead.at_us);
        if let Some(energy) = &mut profile.energy {
            shift(&mut energy.at_us);
        }
        shift(&mut profile.power.at_us);
        shift(&mut profile.thermal.at_us);
        for link in self.links.values_mut() {
            shift(&mut link.round_trip.at_us);
            shift(&mut link.bandwidth.at_us);
            shift(&mut link.overhead.at_us);
        }
        self
    }
}

impl From<&ProfileUpdate> for proto::ProfileUpdate {
    fn from(update: &ProfileUpdate) -> Self {
        let decode = update.profile.decode.iter();
        let links = update.links.iter();
        Self {
            revision: update.revision,
            sent_at_us: update.sent_at_us,
            profile: Some(profile_to_proto(&update.profile)),
            decode: decode
                .map(|(quantisation, rate)| proto::DecodeRate {
                    quantisation: quantisation.0,
                    bytes_per_s: Some(rate_to_proto(rate)),
                })
                .collect(),
            links: links
                .map(|(peer, link)| proto::Link {
                    peer: peer.public_key().to_vec(),
                    round_trip_ns: Some(duration_to_proto(&link.round_trip)),
                    bandwidth_per_s: Some(rate_to_proto(&link.bandwidth)),
                    overhead_ns: Some(duration_to_proto(&link.overhead)),
                })
                .collect(),
        }
    }
}

fn profile_to_proto(profile: &Profile) -> proto::Profile {
    let (source, percent, charging) = match profile.power.value {
        Power::Mains => (proto::PowerSource::Mains, 0, false),
        Power::Battery { percent, charging } => (proto::PowerSource::Battery, percent, charging),
        Power::Unknown => (proto::PowerSource::Unknown, 0, false),
    };
    let state = match profile.thermal.value {
        Thermal::Nominal => proto::ThermalState::Nominal,
        Thermal::Fair => proto::ThermalState::Fair,
        Thermal::Serious => proto::ThermalState::Serious,
        Thermal::Critical => proto::ThermalState::Critical,
    };
    proto::Profile {
        memory_budget_bytes: Some(amount(&profile.memory_budget_bytes, |&bytes| bytes)),
        kv_read_per_s: Some(rate_to_proto(&profile.kv_read)),
        prefill_per_s: profile.prefill.as_ref().map(rate_to_proto),
        stage_overhead_ns: Some(duration_to_proto(&profile.stage_overhead)),
        energy: profile.energy.as_ref().map(|energy| proto::Energy {
            picojoules_per_byte_read: energy.value.picojoules_per_byte_read,
            picojoules_per_multiply_add: energy.value.picojoules_per_multiply_add,
            picojoules_per_byte_sent: energy.value.picojoules_per_byte_sent,
            picojoules_per_byte_received: energy.value.picojoules_per_byte_received,
            at_us: energy.at_us,
        }),
        power: Some(proto::Power {
            source: source.into(),
            percent: percent.into(),
            charging,
            at_us: profile.power.at_us,
        }),
        thermal: Some(proto::Thermal {
            state: state.into(),
            at_us: profile.thermal.at_us,
        }),
        only_when_charging: profile.limits.only_when_charging,
        min_battery_percent: profile.limits.min_battery_percent.into(),
        leaving: profile.leaving,
        arithmetic: profile.arithmetic.name().to_owned(),
    }
}

fn amount<T>(measured: &Measured<T>, value: impl Fn(&T) -> u64) -> proto::Amount {
    proto::Amount {
        value: value(&measured.value),
        at_us: measured.at_us,
    }
}

fn rate_to_proto(rate: &Measured<Rate>) -> proto::Amount {
    amount(rate, |rate| rate.units_per_second())
}

fn duration_to_proto(measured: &Measured<Duration>) -> proto::Amount {
    amount(measured, |&duration| nanoseconds_of(duration))
}

impl TryFrom<proto::ProfileUpdate> for ProfileUpdate {
    type Error = Malformed;

    fn try_from(update: proto::ProfileUpdate) -> Checked<Self> {
        const DECODE: &str = "ProfileUpdate.decode";
        const LINKS: &str = "ProfileUpdate.links";
        let read = Reading {
            sent_at_us: update.sent_at_us,
        };
        length(DECODE, update.decode.len(), 0..=MAX_QUANTISATIONS)?;
        let mut decode = BTreeMap::new();
        for rate in update.decode {
            let bytes_per_s = read.rate("DecodeRate.bytes_per_s", rate.bytes_per_s)?;
            let before = decode.insert(Quantisation(rate.quantisation), bytes_per_s);
            if before.is_some() {
                return Err(Problem::Order.of(DECODE));
            }
        }
        length(LINKS, update.links.len(), 0..=MAX_LINKS)?;
        let mut links = BTreeMap::new();
        for link in update.links {
            let peer = peer("Link.peer", &link.peer)?;
            if links.insert(peer, read.link(link)?).is_some() {
                return Err(Problem::Order.of(LINKS));
            }
        }
        let profile = required("ProfileUpdate.profile", update.profile)?;
        Ok(Self {
            revision: update.revision,
            sent_at_us: update.sent_at_us,
            profile: read.profile(profile, decode)?,
            links,
        })
    }
}

/// Reads what was measured not later than this.
struct Reading {
    sent_at_us: u64,
}

impl Reading {
    fn measured<T>(&self, field: &'static str, value: T, at_us: u64) -> Checked<Measured<T>> {
        if at_us > self.sent_at_us {
            return Err(Problem::Contradiction.of(field));
        }
        Ok(Measured { value, at_us })
    }

    fn amount<T>(
        &self,
        field: &'static str,
        amount: Option<proto::Amount>,
        value: impl Fn(u64) -> Checked<T>,
    ) -> Checked<Measured<T>> {
        let amount = required(field, amount)?;
        self.measured(field, value(amount.value)?, amount.at_us)
    }

    fn rate(&self, field: &'static str, amount: Option<proto::Amount>) -> Checked<Measured<Rate>> {
        let rate = |units| required(field, Rate::per_second(units));
        self.amount(field, amount, rate)
    }

    fn duration(
        &self,
        field: &'static str,
        amount: Option<proto::Amount>,
    ) -> Checked<Measured<Duration>> {
        self.amount(field, amount, |value| duration(field, value))
    }

    fn link(&self, link: proto::Link) -> Checked<Link> {
        Ok(Link {
            round_trip: self.duration("Link.round_trip_ns", link.round_trip_ns)?,
            bandwidth: self.rate("Link.bandwidth_per_s", link.bandwidth_per_s)?,
            overhead: self.duration("Link.overhead_ns", link.overhead_ns)?,
        })
    }

    fn profile(
        &self,
        profile: proto::Profile,
        decode: BTreeMap<Quantisation, Measured<Rate>>,
    ) -> Checked<Profile> {
        const BUDGET: &str = "Profile.memory_budget_bytes";
        const PREFILL: &str = "Profile.prefill_per_s";
        let budget = profile.memory_budget_bytes;
        let prefill = profile.prefill_per_s;
        let prefill = prefill.map(|amount| self.rate(PREFILL, Some(amount)));
        let power = required("Profile.power", profile.power)?;
        let thermal = required("Profile.thermal", profile.thermal)?;
        let limit = profile.min_battery_percent;
        Ok(Profile {
            memory_budget_bytes: self
                .amount(BUDGET, budget, |bytes| memory_bytes(BUDGET, bytes))?,
            decode,
            kv_read: self.rate("Profile.kv_read_per_s", profile.kv_read_per_s)?,
            prefill: prefill.transpose()?,
            stage_overhead: self
                .duration("Profile.stage_overhead_ns", profile.stage_overhead_ns)?,
            energy: profile.energy.map(|e| self.energy(e)).transpose()?,
            power: self.measured("Power.at_us", power_of(&power)?, power.at_us)?,
            thermal: self.measured("Thermal.at_us", thermal_of(&thermal)?, thermal.at_us)?,
            limits: OwnerLimits {
                only_when_charging: profile.only_when_charging,
                min_battery_percent: percent("Profile.min_battery_percent", limit)?,
            },
            leaving: profile.leaving,
            arithmetic: arithmetic("Profile.arithmetic", profile.arithmetic)?,
            outdated: false,
        })
    }

    fn energy(&self, energy: proto::Energy) -> Checked<Measured<Energy>> {
        let value = Energy {
            picojoules_per_byte_read: energy.picojoules_per_byte_read,
            picojoules_per_multiply_add: energy.picojoules_per_multiply_add,
            picojoules_per_byte_sent: energy.picojoules_per_byte_sent,
            picojoules_per_byte_received: energy.picojoules_per_byte_received,
        };
        self.measured("Energy.at_us", value, energy.at_us)
    }
}

fn power_of(power: &proto::Power) -> Checked<Power> {
    const SOURCE: &str = "Power.source";
    let known = match proto::PowerSource::try_from(power.source) {
        Ok(proto::PowerSource::Mains) => Power::Mains,
        Ok(proto::PowerSource::Unknown) => Power::Unknown,
        Ok(proto::PowerSource::Battery) => {
            return Ok(Power::Battery {
                percent: percent("Power.percent", power.percent)?,
                charging: power.charging,
            });
        }
        Ok(proto::PowerSource::Unspecified) => return Err(Problem::Missing.of(SOURCE)),
        Err(_) => return Err(Problem::Unnamed(power.source).of(SOURCE)),
    };
    if power.percent != 0 || power.charging {
        return Err(Problem::Contradiction.of(SOURCE));
    }
    Ok(known)
}

fn thermal_of(thermal: &proto::Thermal) -> Checked<Thermal> {
    const STATE: &str = "Thermal.state";
    match proto::ThermalState::try_from(thermal.state) {
        Ok(proto::ThermalState::Nominal) => Ok(Thermal::Nominal),
        Ok(proto::ThermalState::Fair) => Ok(Thermal::Fair),
        Ok(proto::ThermalState::Serious) => Ok(Thermal::Serious),
        Ok(proto::ThermalState::Critical) => Ok(Thermal::Critical),
        Ok(proto::ThermalState::Unspecified) => Err(Problem::Missing.of(STATE)),
        Err(_) => Err(Problem::Unnamed(thermal.state).of(STATE)),
    }
}

fn percent(field: &'static str, value: u32) -> Checked<u8> {
    let value = within(field, value, 0..=100)?;
    Ok(u8::try_from(value).expect("at most 100"))
}
