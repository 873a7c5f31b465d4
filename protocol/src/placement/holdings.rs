//! Who has which weights, and what a placement has to fetch.

use std::collections::BTreeMap;
use std::time::Duration;

use super::devices::Devices;
use super::prediction::{Stage, layer_indices};
use super::shape::{ModelShape, bytes_of};
use crate::{LayerRange, PeerId};

/// Which layers of a model devices have, as far as they have said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Holdings(BTreeMap<PeerId, Vec<LayerRange>>);

/// What a stage's device has to fetch before it can compute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fetch {
    /// Bytes of layers that it lacks; 0 if it has all.
    pub bytes: u64,
    /// How long they are on their way, each layer over the quickest measured way from a device that
    /// has it; `None` if of some layer no such way is known. Less if several devices send at once.
    pub time: Option<Duration>,
}

impl Holdings {
    /// A device says which layers it has whole, and no others.
    pub fn insert(&mut self, peer: PeerId, layers: Vec<LayerRange>) {
        self.0.insert(peer, layers);
    }

    /// What a device has is not known any more.
    pub fn remove(&mut self, peer: PeerId) {
        self.0.remove(&peer);
    }

    /// Whether a device has said what it has.
    pub fn contains(&self, peer: PeerId) -> bool {
        self.0.contains_key(&peer)
    }

    /// Whether a device has said that it has a layer.
    pub fn has(&self, peer: PeerId, layer: u32) -> bool {
        let ranges = self.0.get(&peer).into_iter().flatten();
        let holds = |range: &LayerRange| (range.first()..range.end()).contains(&layer);
        ranges.into_iter().any(holds)
    }

    fn holders(&self, layer: u32) -> impl Iterator<Item = PeerId> {
        let peers = self.0.keys().copied();
        peers.filter(move |&peer| self.has(peer, layer))
    }

    /// Bytes of each layer that a device is not known to have; 0 of the others.
    pub(super) fn lacked_bytes(
        &self,
        model: &ModelShape,
        peer: PeerId,
        layers: LayerRange,
    ) -> impl Iterator<Item = u64> {
        let shapes = &model.layers[layer_indices(layers)];
        let layers = layers.first()..layers.end();
        layers.zip(shapes).map(move |(layer, shape)| {
            if self.has(peer, layer) {
                0
            } else {
                bytes_of(&shape.weights)
            }
        })
    }
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
