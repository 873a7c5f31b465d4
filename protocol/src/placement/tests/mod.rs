//! Tests of whole plans.

mod arithmetic;
mod brute;
mod forced;
mod holdings;
mod optimal;
mod plans;
mod prefill;
mod random;
mod repair;

use std::num::NonZeroU32;
use std::time::Duration;

use super::*;
use crate::link::tests::link;
use crate::profile::Quantisation;
use crate::profile::tests::profile;
use crate::{Link, PeerId};

/// A device named by a number.
fn peer(number: u8) -> PeerId {
    PeerId::from_public_key([number; 32])
}

const MIB: u64 = 1 << 20;

/// Layers of 4 MiB of weights each, with 1 KiB of KV cache a position, and ends of 2 MiB.
fn model(layers: usize) -> ModelShape {
    let weights = |bytes| {
        vec![Weights {
            quantisation: Quantisation(2),
            bytes,
        }]
    };
    let layer = LayerShape {
        weights: weights(4 * MIB),
        multiply_adds: 8 * MIB,
        kv_bytes_per_position: 1_024,
        window: None,
        most_kv_positions: None,
    };
    ModelShape {
        layers: vec![layer; layers],
        d_model: 512,
        embedding_bytes: 2 * MIB,
        embedding_row_bytes: 256,
        head: weights(2 * MIB),
        head_multiply_adds: 4 * MIB,
        head_is_embedding: true,
    }
}

/// Devices 0 to n by budget in MiB and bandwidth in MiB/s, all linked alike; 0 asks.
fn devices(offers: &[(u64, u64)], way: Link) -> Devices {
    let mut devices = Devices {
        requester: peer(0),
        profiles: Default::default(),
        links: Default::default(),
        holdings: Default::default(),
    };
    for (number, &(budget, bandwidth)) in (0..).zip(offers) {
        let profile = profile(budget * MIB, bandwidth * MIB);
        devices.profiles.insert(peer(number), profile);
        for other in 0..number {
            devices.links.insert((peer(number), peer(other)), way);
        }
    }
    devices
}

/// 4 ms there and back, 12.5 MB/s.
fn wifi() -> Link {
    link(Duration::from_millis(4), 12_500_000)
}

/// One row at a context of 1,024 positions, none before it, by this objective.
fn options(objective: Objective) -> PlacementOptions {
    PlacementOptions {
        objective,
        headroom_percent: 20,
        context: 1_024,
        positions: 0,
        rows_per_step: NonZeroU32::MIN,
    }
}

/// Who runs which layers, as `0:0..6 1:6..12`.
fn shown(prediction: &Prediction) -> String {
    let stage = |placed: &PredictedStage| {
        let number = placed.stage.peer.public_key()[0];
        format!("{number}:{}", placed.stage.layers)
    };
    let stages: Vec<String> = prediction.stages.iter().map(stage).collect();
    stages.join(" ")
}

/// Why a device is not used.
fn reason(plan: &Plan, number: u8) -> Option<UnusedReason> {
    let mut unused = plan.unused.iter();
    let found = unused.find(|unused| unused.peer == peer(number))?;
    Some(found.reason)
}
