//! Profiles sent by devices, and the inputs of plans.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Machine;
use super::links::links_differ;
use super::peer::Told;
use super::{PeerStatus, differ, microseconds};
use crate::circle::Member;
use crate::placement::{
    Devices, Holdings, ModelShape, PlacementError, PlacementOptions, Plan, Unused, UnusedReason,
    plan,
};
use crate::profile::{Measured, Profile, Rate, Unwilling};
use crate::wire::{COMPUTES_SINCE, ContentHash, HandOverReason, ProfileUpdate};
use crate::{Arithmetic, Link, PeerId};

/// Minimum interval between updates to other devices.
const ANNOUNCE_EVERY: Duration = Duration::from_secs(1);

/// How long a device that should stop helping continues to compute.
const LEAVES_WITHIN: Duration = Duration::from_secs(30);

/// The hand-over reason for an unwilling device.
fn reason_of(why: Unwilling) -> HandOverReason {
    match why {
        Unwilling::TooHot => HandOverReason::Heat,
        Unwilling::Leaving | Unwilling::Outdated | Unwilling::OtherArithmetic => {
            HandOverReason::Owner
        }
        Unwilling::NotCharging | Unwilling::BatteryLow { .. } | Unwilling::PowerUnknown => {
            HandOverReason::Battery
        }
    }
}

/// This device's profile, and the version that other devices have.
#[derive(Debug, Default)]
pub(super) struct Announced {
    pub(super) own: Option<Profile>,
    /// The revision of the last update sent.
    revision: u64,
    /// The profile last sent, and when.
    told: Option<Profile>,
    told_at: Option<Duration>,
    /// Whether the profile differs enough from it to be sent.
    changed: bool,
}

impl Machine {
    /// This device and the peers that greeted and sent their profile, with all known links. For a
    /// model's weights use [`devices_for`](Self::devices_for).
    pub fn devices(&self) -> Devices {
        let mut profiles = BTreeMap::new();
        let mut links = BTreeMap::new();
        if let Some(own) = &self.announced.own {
            profiles.insert(self.me, own.clone());
        }
        // If this program is outdated, known members may have been revoked.
        let others = self.peers.iter().filter(|_| !self.outdated);
        for (&peer, connected) in others {
            if let Some(told) = &connected.told {
                profiles.insert(peer, told.profile.clone());
                links.extend(told.links.iter().map(|(&to, link)| ((peer, to), *link)));
            }
            if let Some(link) = connected.link() {
                links.insert((self.me, peer), link);
            }
        }
        links.retain(|(from, to), _| profiles.contains_key(from) && profiles.contains_key(to));
        Devices {
            requester: self.me,
            profiles,
            links,
            holdings: Holdings::default(),
        }
    }

    /// All members but this device, by ascending PeerIds.
    pub fn peers(&self) -> impl Iterator<Item = PeerStatus> {
        let others = self.circle.members().map(|member| member.peer);
        others.filter(|peer| *peer != self.me).map(|peer| {
            let connected = self.peers.get(&peer);
            let greeted = connected.and_then(|connected| connected.greeted.as_ref());
            let told = connected.and_then(|connected| connected.told.as_ref());
            PeerStatus {
                peer,
                connected_since: greeted.map(|greeted| greeted.at),
                software: greeted.map(|greeted| greeted.software.clone()),
                link: connected.and_then(super::peer::Peer::link),
                profile: told.map(|told| told.profile.clone()),
            }
        })
    }

    /// The names of unreachable members.
    pub fn away(&self) -> Vec<String> {
        let names = self.absent().map(|member| member.name.as_str().to_owned());
        names.collect()
    }

    fn absent(&self) -> impl Iterator<Item = &Member> {
        self.circle.members().filter(|member| {
            let connected = self.peers.get(&member.peer);
            member.peer != self.me && connected.is_none_or(|peer| peer.greeted.is_none())
        })
    }

    /// The best placement of a model's layers now. Unreachable members are listed among the unused
    /// devices.
    ///
    /// # Errors
    /// [`PlacementError`] if there is no placement.
    pub fn plan(
        &self,
        manifest: ContentHash,
        model: &ModelShape,
        options: &PlacementOptions,
    ) -> Result<Plan, PlacementError> {
        let mut plan = plan(model, &self.devices_for(manifest), options)?;
        let absent = self.absent().map(|member| Unused {
            peer: member.peer,
            reason: UnusedReason::Away,
        });
        plan.unused.extend(absent);
        Ok(plan)
    }

    /// The arithmetic of this device.
    pub(super) fn arithmetic(&self) -> Arithmetic {
        let own = self.announced.own.as_ref();
        own.map_or_else(Arithmetic::default, |own| own.arithmetic.clone())
    }

    /// Updates this device's profile.
    pub(super) fn own_profile(&mut self, now: Duration, mut profile: Profile) {
        not_later_than(&mut profile, microseconds(now));
        match profile.unwilling() {
            None => self.hands_over = false,
            Some(why) => {
                let before = self.announced.own.as_ref();
                // A device that stays unwilling has announced it before.
                if before.is_none_or(|before| before.unwilling().is_none()) {
                    self.stages.hand_over(reason_of(why), LEAVES_WITHIN);
                }
            }
        }
        let seen = self.announced.own.as_ref();
        if seen.is_none_or(|seen| profiles_differ(seen, &profile)) {
            self.view_changed = true;
            self.sessions
                .values_mut()
                .for_each(|placing| placing.profile_changed(self.me));
        }
        self.announced.own = Some(profile);
        let changed = match (&self.announced.told, self.telling()) {
            (Some(told), Some(telling)) => profiles_differ(told, &telling),
            _ => true,
        };
        self.announced.changed |= changed;
    }

    /// The profile to send to other devices.
    fn telling(&self) -> Option<Profile> {
        let own = self.announced.own.clone()?;
        Some(Profile {
            leaving: self.hands_over,
            ..own
        })
    }

    /// Announces to requesters and all peers that this device is about to stop helping.
    pub(super) fn hand_over(&mut self, reason: HandOverReason, within: Duration) {
        self.hands_over = true;
        self.announced.changed = true;
        self.stages.hand_over(reason, within);
    }

    /// Handles a peer's profile.
    pub(super) fn profile_told(&mut self, now: Duration, from: PeerId, update: ProfileUpdate) {
        let Some(peer) = self.peers.get_mut(&from) else {
            return;
        };
        let before = peer.told.as_ref();
        if before.is_some_and(|before| update.revision <= before.revision) {
            return;
        }
        let mut update = update.received_at(microseconds(now));
        let minor = peer.greeted.as_ref().map_or(0, |greeted| greeted.minor);
        update.profile.outdated = minor < COMPUTES_SINCE;
        let changed = before.is_none_or(|before| profiles_differ(&before.profile, &update.profile));
        self.view_changed |= changed || before.is_none_or(|before| maps_differ(before, &update));
        let willing = update.profile.unwilling().is_none();
        peer.told = Some(Told {
            revision: update.revision,
            profile: update.profile,
            links: update.links,
        });
        // An unwilling device is not asked again.
        if changed && willing {
            self.sessions
                .values_mut()
                .for_each(|placing| placing.profile_changed(from));
        }
    }

    /// Notes that the link to a peer may have been measured again.
    pub(super) fn link_measured(&mut self, peer: PeerId) {
        if let Some(connected) = self.peers.get_mut(&peer) {
            let link = connected.link();
            if links_differ(connected.noted_link.as_ref(), link.as_ref()) {
                connected.noted_link = link;
                self.announced.changed = true;
                self.view_changed = true;
            }
        }
    }

    /// Notes that the link to a peer is gone, if there was one.
    pub(super) fn link_lost(&mut self) {
        self.announced.changed = true;
        self.view_changed = true;
    }

    /// Sends the profile to a peer that has just greeted, or to all peers.
    pub(super) fn announce(&mut self, now: Duration, to: Option<PeerId>) {
        let Some(profile) = self.telling() else {
            return;
        };
        let links = self.peers.iter().filter_map(|(&peer, connected)| {
            let link = connected.link()?;
            Some((peer, link))
        });
        let links: BTreeMap<PeerId, Link> = links.collect();
        self.announced.revision += 1;
        let update = ProfileUpdate {
            revision: self.announced.revision,
            sent_at_us: microseconds(now),
            profile,
            links,
        };
        match to {
            Some(to) => self.send(to, update),
            None => {
                self.announced.told = Some(update.profile.clone());
                self.announced.told_at = Some(now);
                self.announced.changed = false;
                self.send_to_all(None, &update.into());
            }
        }
    }

    /// When the next update to other devices is due.
    pub(super) fn announcement_due(&self) -> Option<Duration> {
        let announced = &self.announced;
        let tells = announced.changed && announced.own.is_some();
        let last = announced.told_at;
        tells.then(|| last.map_or(Duration::ZERO, |last| last + ANNOUNCE_EVERY))
    }
}

/// Whether the links that a peer sent differ enough to change a plan.
fn maps_differ(before: &Told, after: &ProfileUpdate) -> bool {
    let differ = |peer| links_differ(before.links.get(peer), after.links.get(peer));
    before.links.keys().chain(after.links.keys()).any(differ)
}

/// Whether other devices should receive the second profile after the first.
fn profiles_differ(before: &Profile, after: &Profile) -> bool {
    let decode = |profile: &Profile| -> Vec<_> {
        let rates = profile.decode.iter();
        rates.map(|(format, rate)| (*format, rate.value)).collect()
    };
    let (was, is) = (decode(before), decode(after));
    let formats = was.len() != is.len()
        || was
            .iter()
            .zip(&is)
            .any(|(was, is)| was.0 != is.0 || rates_differ(was.1, is.1));
    let state = |profile: &Profile| {
        let budget = profile.memory_budget_bytes.value;
        let (power, thermal) = (profile.power.value, profile.thermal.value);
        let choices = (profile.limits, profile.leaving, profile.arithmetic.clone());
        (budget, power, thermal, choices)
    };
    let overhead = |profile: &Profile| {
        u64::try_from(profile.stage_overhead.value.as_nanos()).unwrap_or(u64::MAX)
    };
    let prefill = match (&before.prefill, &after.prefill) {
        (Some(before), Some(after)) => rates_differ(before.value, after.value),
        (None, None) => false,
        _ => true,
    };
    let energy = |profile: &Profile| profile.energy.map(|energy| energy.value);
    formats
        || prefill
        || state(before) != state(after)
        || rates_differ(before.kv_read.value, after.kv_read.value)
        || differ(overhead(before), overhead(after))
        || energies_differ(energy(before), energy(after))
}

fn rates_differ(before: Rate, after: Rate) -> bool {
    differ(before.units_per_second(), after.units_per_second())
}

fn energies_differ(
    before: Option<crate::profile::Energy>,
    after: Option<crate::profile::Energy>,
) -> bool {
    let (Some(before), Some(after)) = (before, after) else {
        return before.is_some() != after.is_some();
    };
    let all = |energy: crate::profile::Energy| {
        [
            energy.picojoules_per_byte_read,
            energy.picojoules_per_multiply_add,
            energy.picojoules_per_byte_sent,
            energy.picojoules_per_byte_received,
        ]
    };
    all(before)
        .into_iter()
        .zip(all(after))
        .any(|(was, is)| differ(was, is))
}

/// Limits measurement times to the time of the message, or peers would refuse it.
fn not_later_than(profile: &mut Profile, now_us: u64) {
    fn clamp<T>(measured: &mut Measured<T>, now_us: u64) {
        measured.at_us = measured.at_us.min(now_us);
    }
    clamp(&mut profile.memory_budget_bytes, now_us);
    clamp(&mut profile.kv_read, now_us);
    clamp(&mut profile.stage_overhead, now_us);
    clamp(&mut profile.power, now_us);
    clamp(&mut profile.thermal, now_us);
    let rates = profile.decode.values_mut().chain(&mut profile.prefill);
    rates.for_each(|rate| clamp(rate, now_us));
    if let Some(energy) = &mut profile.energy {
        clamp(energy, now_us);
    }
}
