//! The bytes that a placement has to fetch, and how long that takes.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::devices::Devices;
use super::shape::ModelShape;
use super::stage::Stage;

/// What a stage's device has to fetch before it can compute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fetch {
    /// Bytes of layers that it lacks; 0 if it has all.
    pub bytes: u64,
    /// How long that takes, each layer over the fastest measured link from a device that has it; `None` if
    /// no such link is known for a layer. Less if several devices send at once.
    pub time: Option<Duration>,
}

/// What the device of a stage has to fetch; `None` if it has not said what it has.
pub(super) fn fetch(model: &ModelShape, devices: &Devices, stage: Stage) -> Option<Fetch> {
    let Stage { peer, layers } = stage;
    let holdings = &devices.holdings;
    if !holdings.contains(peer) {
        return None;
    }
    let lacked = holdings.lacked_bytes(model, peer, layers);
    let lacked = (layers.first()..layers.end()).zip(lacked);
    let mut fetch = Fetch {
        bytes: 0,
        time: Some(Duration::ZERO),
    };
    for (layer, bytes) in lacked.filter(|(_, bytes)| *bytes > 0) {
        let ways = holdings.holders(layer);
        let ways = ways.filter_map(|from| devices.link(from, peer));
        let quickest = ways.map(|way| way.bandwidth.value).max();
        let time = fetch.time.zip(quickest);
        fetch.bytes = fetch.bytes.saturating_add(bytes);
        fetch.time = time.map(|(time, rate)| time.saturating_add(rate.time_for(bytes)));
    }
    Some(fetch)
}
