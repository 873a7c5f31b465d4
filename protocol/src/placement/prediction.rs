//! Predicted cost of a placement.

use std::num::NonZeroU32;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::cost::{self, Step};
use super::devices::Devices;
use super::fetch::{Fetch, fetch};
use super::options::{Objective, PlacementOptions};
use super::shape::ModelShape;
use super::stage::{Stage, layer_indices};
use crate::PeerId;

/// A stage with what it costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PredictedStage {
    /// Who runs which layers.
    pub stage: Stage,
    /// Bytes of its weights and KV caches, without headroom.
    pub memory_bytes: u64,
    /// From hidden states in to hidden states out.
    pub time: Duration,
    /// Picojoules; `None` if the device does not know.
    pub picojoules: Option<u64>,
    /// What its device lacks of its weights, which is no part of `time`; `None` if that is not known.
    pub fetch: Option<Fetch>,
}

/// Hidden states on their way from one device to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PredictedHop {
    /// Who sends.
    pub from: PeerId,
    /// Who receives.
    pub to: PeerId,
    /// From sending to arrival.
    pub time: Duration,
    /// How long it keeps the next frame from going.
    pub occupied: Duration,
    /// Picojoules of both; `None` if one does not know.
    pub picojoules: Option<u64>,
}

/// A placement with what a step over it costs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prediction {
    /// In the order of their layers.
    pub stages: Vec<PredictedStage>,
    /// From the requester over the stages back to the requester; none between stages of the same
    /// device.
    pub hops: Vec<PredictedHop>,
    /// Bytes of embedding and head at the requester, without headroom.
    pub ends_memory_bytes: u64,
    /// What the requester spends on embedding and head.
    pub ends_time: Duration,
    /// Of a step: stages, hops, embedding and head.
    pub step_time: Duration,
    /// The time between steps of a pipeline that is kept full: of the slowest stage or hop, where
    /// embedding and head count to the requester's own stage.
    pub pace: Duration,
    /// Of a step; `None` if a device does not know its energy.
    pub picojoules: Option<u64>,
    /// Rows of the step.
    pub rows: NonZeroU32,
}

impl Prediction {
    /// Tokens a second of one step after the other, if each row becomes one.
    pub fn tokens_per_second(&self) -> f64 {
        self.rows_per(self.step_time)
    }

    /// Tokens a second of all sessions together that keep the pipeline full, if each row becomes
    /// one.
    pub fn tokens_per_second_together(&self) -> f64 {
        self.rows_per(self.pace)
    }

    /// Whether it is nothing but one stage on this device.
    pub fn is_alone(&self, peer: PeerId) -> bool {
        matches!(self.stages[..], [only] if only.stage.peer == peer)
    }

    /// What a search by this objective makes small, in nanoseconds or picojoules; `None` for an
    /// unknown energy.
    pub fn cost(&self, objective: Objective) -> Option<u128> {
        match objective {
            Objective::Latency => Some(self.step_time.as_nanos()),
            Objective::Throughput => Some(self.pace.as_nanos()),
            Objective::Energy => self.picojoules.map(u128::from),
        }
    }

    fn rows_per(&self, time: Duration) -> f64 {
        f64::from(self.rows.get()) / time.as_secs_f64().max(1e-9)
    }
}

/// Predicts a placement; `None` if a device has no measured speed for its layers or a link is
/// unknown. Room is not looked at.
pub(super) fn predict(
    model: &ModelShape,
    devices: &Devices,
    options: &PlacementOptions,
    stages: &[Stage],
) -> Option<Prediction> {
    let requester = devices.profiles.get(&devices.requester)?;
    let step = Step::from(options);
    let ends = cost::ends_time(requester, model, step)?;
    let (mut step_time, mut pace) = (ends, ends);
    let ends_energy = requester.energy;
    let mut picojoules = ends_energy.map(|energy| cost::ends_energy(&energy.value, model, step));
    let mut predicted = Prediction {
        stages: Vec::with_capacity(stages.len()),
        hops: Vec::with_capacity(stages.len() + 1),
        ends_memory_bytes: model.ends_bytes(),
        ends_time: Duration::from_nanos(ends),
        step_time: Duration::ZERO,
        pace: Duration::ZERO,
        picojoules: None,
        rows: options.rows_per_step,
    };
    let mut at = devices.requester;
    for &stage in stages {
        if let Some(hop) = predict_hop(model, devices, step, at, stage.peer)? {
            predicted.hops.push(hop);
        }
        let placed = predict_stage(model, devices, options, stage)?;
        let time = nanoseconds(placed.time);
        let own = if stage.peer == devices.requester {
            ends
        } else {
            0
        };
        step_time += time;
        pace = pace.max(time + own);
        picojoules = sum(picojoules, placed.picojoules);
        predicted.stages.push(placed);
        at = stage.peer;
    }
    if let Some(hop) = predict_hop(model, devices, step, at, devices.requester)? {
        predicted.hops.push(hop);
    }
    for hop in &predicted.hops {
        step_time += nanoseconds(hop.time);
        pace = pace.max(nanoseconds(hop.occupied));
        picojoules = sum(picojoules, hop.picojoules);
    }
    predicted.step_time = Duration::from_nanos(step_time);
    predicted.pace = Duration::from_nanos(pace);
    predicted.picojoules = picojoules;
    Some(predicted)
}

fn predict_stage(
    model: &ModelShape,
    devices: &Devices,
    options: &PlacementOptions,
    stage: Stage,
) -> Option<PredictedStage> {
    let profile = devices.profiles.get(&stage.peer)?;
    let step = Step::from(options);
    let energy = profile.energy.map(|energy| energy.value);
    let mut time = cost::stage_overhead(profile);
    let mut picojoules = energy.map(|_| 0);
    let mut memory_bytes = 0_u64;
    for layer in &model.layers[layer_indices(stage.layers)] {
        time += cost::layer_time(profile, layer, step)?;
        let of_layer = energy.map(|energy| cost::layer_energy(&energy, layer, step));
        picojoules = sum(picojoules, of_layer);
        memory_bytes = memory_bytes.saturating_add(layer.memory_bytes(options.context));
    }
    Some(PredictedStage {
        stage,
        memory_bytes,
        time: Duration::from_nanos(time),
        picojoules,
        fetch: fetch(model, devices, stage),
    })
}

/// The hop between two devices: no hop if they are one, `None` if the link is unknown.
fn predict_hop(
    model: &ModelShape,
    devices: &Devices,
    step: Step,
    from: PeerId,
    to: PeerId,
) -> Option<Option<PredictedHop>> {
    if from == to {
        return Some(None);
    }
    let bytes = cost::frame_bytes(model, step.rows);
    let time = cost::hop_time(devices, from, to, bytes)?;
    let energy = |peer: PeerId| {
        devices
            .profiles
            .get(&peer)?
            .energy
            .map(|energy| energy.value)
    };
    let both = energy(from).zip(energy(to));
    Some(Some(PredictedHop {
        from,
        to,
        time: Duration::from_nanos(time.nanoseconds),
        occupied: Duration::from_nanos(time.occupied),
        picojoules: both.map(|(from, to)| cost::hop_energy(&from, &to, bytes)),
    }))
}

fn sum(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    a.zip(b).map(|(a, b)| a + b)
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).expect("made of nanoseconds in 64 bits")
}
