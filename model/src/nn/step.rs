//! Data passed through the blocks of a step.

use std::ops::Range;

use burn::tensor::Tensor;

use crate::compute::Compute;
use crate::config::RopePairs;
use crate::kv_cache::LayerCache;

/// Hidden states between blocks, `[positions, d_model]`. The last addition is deferred to the next
/// block, because its norm reads every element anyway.
pub(crate) struct Stream {
    pub(super) hidden: Tensor<2>,
    pub(super) added: Option<Tensor<2>>,
}

impl Stream {
    pub(crate) fn new(hidden: Tensor<2>) -> Self {
        Self {
            hidden,
            added: None,
        }
    }

    /// Performs the deferred addition and returns the hidden states.
    pub(crate) fn sum(self) -> Tensor<2> {
        match self.added {
            Some(added) => self.hidden + added,
            None => self.hidden,
        }
    }
}

/// The step's inputs for one layer.
pub(crate) struct LayerStep<'a, 'c> {
    pub(crate) compute: &'a Compute,
    /// Cosines and sines of all rows for this layer's rotary embedding.
    pub(crate) angles: &'a [Tensor<2>; 2],
    pub(crate) rope_pairs: RopePairs,
    pub(crate) window: Option<usize>,
    pub(crate) scale: f32,
    pub(crate) sequences: Vec<SequenceRows<'c>>,
}

/// One sequence's part of a step, with this layer's cache.
pub(crate) struct SequenceRows<'c> {
    pub(crate) rows: Range<usize>,
    pub(crate) start: usize,
    pub(crate) cache: &'c mut LayerCache,
}
