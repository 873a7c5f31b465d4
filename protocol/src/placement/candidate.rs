//! Candidates: devices that may hold layers, with the cost of each layer there; and why the others may not.

use super::cost::{self, Step};
use super::devices::{Devices, Unused, UnusedReason};
use super::error::PlacementError;
use super::options::{Objective, PlacementOptions};
use super::shape::ModelShape;
use crate::PeerId;
use crate::profile::{Energy, Profile};

/// A device and what the model's layers cost on it.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) peer: PeerId,
    /// Bytes of layers with their KV caches that it has room for, headroom taken off.
    pub(super) room_bytes: u64,
    /// Nanoseconds of a stage beyond its layers.
    pub(super) overhead: u64,
    /// `[layers + 1]`, nanoseconds of the layers before each.
    pub(super) time_before: Vec<u64>,
    /// `[layers + 1]`, picojoules of the layers before each; of no use if `energy` is unknown.
    pub(super) energy_before: Vec<u64>,
    pub(super) energy: Option<Energy>,
    /// `[layers + 1]`: a stage that ends before layer `l` has room from `earliest[l]` on; at `l`,
    /// where not even one layer has. Never falls.
    pub(super) earliest: Vec<usize>,
}

impl Candidate {
    /// Of a device that holds `besides` bytes besides layers; `None` if not even those fit.
    pub(super) fn new(
        peer: PeerId,
        profile: &Profile,
        model: &ModelShape,
        options: &PlacementOptions,
        besides: u64,
    ) -> Option<Self> {
        let step = Step::from(options);
        let usable = without_headroom(profile.memory_budget_bytes.value, options.headroom_percent);
        let room_bytes = usable.checked_sub(besides)?;
        let energy = profile.energy.map(|energy| energy.value);
        let (mut time_before, mut energy_before) = (vec![0], vec![0]);
        let (mut time, mut joules) = (0, 0);
        // The window of layers that fit, and its bytes: wide enough for what peers may claim.
        let (mut earliest, mut first, mut held) = (vec![0], 0, 0_u128);
        let bytes = |layer: usize| u128::from(model.layers[layer].memory_bytes(options.context));
        for (number, layer) in model.layers.iter().enumerate() {
            let end = number + 1;
            held += bytes(number);
            match cost::layer_time(profile, layer, step) {
                Some(nanoseconds) => time += nanoseconds,
                None => (first, held) = (end, 0),
            }
            while held > u128::from(room_bytes) {
                held -= bytes(first);
                first += 1;
            }
            if let Some(energy) = &energy {
                joules += cost::layer_energy(energy, layer, step);
            }
            time_before.push(time);
            energy_before.push(joules);
            earliest.push(first);
        }
        Some(Self {
            peer,
            room_bytes,
            overhead: cost::stage_overhead(profile),
            time_before,
            energy_before,
            energy,
            earliest,
        })
    }

    /// The first of its longest ranges, as `(first, end)`; empty if not one layer fits.
    pub(super) fn longest(&self) -> (usize, usize) {
        let mut longest = (0, 0);
        for (end, &first) in self.earliest.iter().enumerate() {
            if end - first > longest.1 - longest.0 {
                longest = (first, end);
            }
        }
        longest
    }
}

/// The devices that may hold layers, and why others may not.
#[derive(Debug)]
pub(super) struct Selection {
    /// The requester first, the others by their ids.
    pub(super) candidates: Vec<Candidate>,
    pub(super) unused: Vec<Unused>,
    /// Nanoseconds of embedding and head.
    pub(super) ends_time: u64,
}

impl Selection {
    /// Sorts the devices out, whatever their links. The requester stays if it holds embedding and
    /// head, with or without room for layers.
    pub(super) fn new(
        model: &ModelShape,
        devices: &Devices,
        options: &PlacementOptions,
    ) -> Result<Self, PlacementError> {
        let (requester, ends_time) = requester(model, devices, options)?;
        let mut selection = Self {
            candidates: vec![requester],
            unused: Vec::new(),
            ends_time,
        };
        for (&peer, profile) in &devices.profiles {
            if peer == devices.requester {
                continue;
            }
            if let Some(unwilling) = devices.unwilling(peer) {
                let reason = unwilling.into();
                selection.unused.push(Unused { peer, reason });
                continue;
            }
            match helper(peer, profile, model, options) {
                Ok(candidate) => selection.candidates.push(candidate),
                Err(reason) => selection.unused.push(Unused { peer, reason }),
            }
        }
        Ok(selection)
    }

    /// Drops helpers that no link leads to: they are in no ring.
    pub(super) fn drop_unreachable(&mut self, devices: &Devices) {
        let peers: Vec<PeerId> = self.candidates.iter().map(|device| device.peer).collect();
        let unused = &mut self.unused;
        self.candidates.retain(|candidate| {
            let peer = candidate.peer;
            let mut others = peers.iter().filter(|&&other| other != peer);
            let linked = peer == devices.requester
                || others.any(|&other| devices.link(peer, other).is_some());
            if !linked {
                let reason = UnusedReason::LinkUnknown;
                unused.push(Unused { peer, reason });
            }
            linked
        });
    }
}

fn requester(
    model: &ModelShape,
    devices: &Devices,
    options: &PlacementOptions,
) -> Result<(Candidate, u64), PlacementError> {
    let peer = devices.requester;
    let profile = devices.profiles.get(&peer);
    let profile = profile.ok_or(PlacementError::NoProfile)?;
    let ends_time = cost::ends_time(profile, model, Step::from(options))
        .ok_or(PlacementError::HeadUnmeasured)?;
    if options.objective == Objective::Energy && profile.energy.is_none() {
        return Err(PlacementError::EnergyUnknown);
    }
    let ends = model.ends_bytes();
    let candidate = Candidate::new(peer, profile, model, options, ends);
    let candidate = candidate.ok_or_else(|| PlacementError::EndsDoNotFit {
        offers_bytes: profile.memory_budget_bytes.value,
        needs_bytes: cost::with_headroom(ends, options.headroom_percent),
    })?;
    Ok((candidate, ends_time))
}

/// A willing helper that may hold layers.
fn helper(
    peer: PeerId,
    profile: &Profile,
    model: &ModelShape,
    options: &PlacementOptions,
) -> Result<Candidate, UnusedReason> {
    if options.objective == Objective::Energy && profile.energy.is_none() {
        return Err(UnusedReason::EnergyUnknown);
    }
    let candidate = Candidate::new(peer, profile, model, options, 0)
        .expect("every device has room for nothing");
    match no_layer(&candidate, profile, model, options) {
        Some(reason) => Err(reason),
        None => Ok(candidate),
    }
}

/// Why a candidate can hold no layer; `None` if it can hold one.
pub(super) fn no_layer(
    candidate: &Candidate,
    profile: &Profile,
    model: &ModelShape,
    options: &PlacementOptions,
) -> Option<UnusedReason> {
    if candidate.longest() != (0, 0) {
        return None;
    }
    let step = Step::from(options);
    let known = model
        .layers
        .iter()
        .filter(|layer| cost::layer_time(profile, layer, step).is_some());
    let smallest = known.map(|layer| layer.memory_bytes(options.context)).min();
    Some(match smallest {
        Some(bytes) => UnusedReason::NoRoom {
            offers_bytes: cost::with_headroom(candidate.room_bytes, options.headroom_percent),
            needs_bytes: cost::with_headroom(bytes, options.headroom_percent),
        },
        None => UnusedReason::Unmeasured,
    })
}

/// The most bytes that fit into a budget with their headroom.
pub(super) fn without_headroom(budget_bytes: u64, headroom_percent: u32) -> u64 {
    let usable = u128::from(budget_bytes) * 100 / (100 + u128::from(headroom_percent));
    u64::try_from(usable).expect("no more than the budget")
}
