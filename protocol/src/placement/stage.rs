//! A layer range on a device.

use serde::{Deserialize, Serialize};

use crate::{LayerRange, PeerId};

/// A layer range on a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stage {
    /// The device.
    pub peer: PeerId,
    /// Its layers.
    pub layers: LayerRange,
}

/// A range as indices of [`ModelShape::layers`].
pub(super) fn layer_indices(layers: LayerRange) -> std::ops::Range<usize> {
    let index = |layer: u32| usize::try_from(layer).expect("usize has 32 bits at least");
    index(layers.first())..index(layers.end())
}
