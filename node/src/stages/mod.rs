//! Pipeline stages: the layers that this node computes for itself and for others.
//!
//! [`StageExecutor`] is a thread that owns weights and KV caches. It executes the orders in
//! [`StageOutput`](potluck_protocol::stage::StageOutput), in sequence, and reports results to
//! [`Stages`](potluck_protocol::stage::Stages) through a callback. [`Ends`] is the requester's part
//! around the layers: tokens to hidden states, hidden states to logits. Both take their memory from
//! one [`MemoryBudget`].
//!
//! # Invariants
//! - Results do not depend on which sessions share a step or on how layers are split: they equal
//!   those of the whole model in one [`Shard`], bit for bit.
//! - Sessions with the same layers of the same model share one shard, and their rows of a step go
//!   through it together. Layers held by several shards of a model count once, because the file's
//!   mapping is shared.
//! - Rows that are sent again, as after the failure of another stage, are not computed again:
//!   outputs are kept where there is spare memory, and reused when the inputs are the same.
//! - A layer with a sliding window keeps only the last positions. Rows that start so far back that it
//!   has overwritten what they see are not computed: the stage says so, holds nothing any more, and its
//!   requester sends all rows again. A requester knows before how far back it can go
//!   ([`Reach`](potluck_model::Reach)).
//! - Reservations never exceed the budget. The whole KV cache is reserved when a stage is loaded.

mod drafter;
mod ends;
mod executor;
mod heads;
mod holdings;
mod memory;
mod recall;
mod sequence;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use potluck_model::Shard;
use potluck_model::gguf::Gguf;
use potluck_protocol::correction::TimedRows;
use potluck_protocol::wire::{ContentHash, StageRefusedCode};
use potluck_protocol::{LayerRange, PlanEpoch, StageId};

use crate::manifest::KnownFiles;
use crate::packed_store::Packing;
pub use drafter::{UseDrafterError, WithMemory, drafter_of_text};
pub use ends::{Ends, EndsError};
pub use executor::{StageExecutor, Stopped};
pub use memory::{MemoryBudget, NoRoom, Reservation};

/// Finds model files.
pub trait ModelFiles: Send {
    /// The mapped file with this manifest, if it is here: the whole file, or at least these layers
    /// and the parts that every device needs.
    ///
    /// The executor holds the file while a session uses it. An implementation should not hold it
    /// longer, because pages of a mapping that were read count as memory of this process.
    fn find(&self, manifest: ContentHash, layers: LayerRange) -> Option<Arc<Gguf>>;

    /// Begins to pack the weights of a shard of this model, which is kept as long as the result.
    /// Packs nothing unless implemented.
    fn pack(&self, _shard: &Arc<Shard>, _manifest: ContentHash) -> Option<Packing> {
        None
    }
}

impl ModelFiles for KnownFiles {
    /// Files have all layers.
    fn find(&self, manifest: ContentHash, _layers: LayerRange) -> Option<Arc<Gguf>> {
        self.mapped(manifest)
    }
}

/// A report of the executor's thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Done {
    /// A stage is loaded or refused; for
    /// [`Stages::loaded`](potluck_protocol::stage::Stages::loaded).
    Loaded {
        /// The stage from the order.
        stage: StageId,
        /// The epoch from the order.
        epoch: PlanEpoch,
        /// Bytes of the stage's weights and KV cache, including shared ones.
        result: Result<u64, LoadError>,
    },
    /// A step was computed; for [`Stages::computed`](potluck_protocol::stage::Stages::computed).
    Computed {
        /// The number from the order.
        number: u64,
        /// For each part of the step, in order: the hidden states after the stage's layers, as many
        /// rows as the input, `f32` little-endian. Empty if the part could not be computed: its
        /// session is not here, it starts beyond what the cache holds, it ends beyond the reserved
        /// positions, or its bytes do not match its rows. A correct caller sends no such part, and
        /// the other parts are computed regardless. Also empty if the step was aborted because its
        /// sessions were freed.
        hidden: Vec<Vec<u8>>,
        /// Times of the parts that went through their layers alone.
        times: Vec<TimedRows>,
        /// Stages whose part was not computed because a layer with a sliding window no longer holds
        /// what it sees. They hold nothing now; for
        /// [`Stages::overwritten`](potluck_protocol::stage::Stages::overwritten), before the results.
        overwritten: Vec<StageId>,
    },
    /// The thread ended because of a bug in this program. Orders since its last report are not
    /// done, later orders will not be, and all its stages are lost.
    Failed,
}

/// Why a stage cannot be loaded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{words}")]
pub struct LoadError {
    /// The reason, for programs.
    pub code: StageRefusedCode,
    /// The reason, for people; valid for sending to a peer.
    pub words: String,
    /// Bytes available for a stage now, capped to what can be sent.
    pub available_bytes: u64,
}
