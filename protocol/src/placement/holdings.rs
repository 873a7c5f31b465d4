//! Which devices have which weights.

use std::collections::BTreeMap;

use super::shape::{ModelShape, bytes_of};
use super::stage::layer_indices;
use crate::{LayerRange, PeerId};

/// Which layers of a model devices have, as far as they have said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Holdings(BTreeMap<PeerId, Vec<LayerRange>>);

impl Holdings {
    /// Sets the layers that a device has whole, as it says.
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

    pub(super) fn holders(&self, layer: u32) -> impl Iterator<Item = PeerId> {
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
