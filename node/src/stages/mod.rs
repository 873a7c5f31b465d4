//! Computing stages: the layers that this node runs for itself and for others.
//!
//! [`StageExecutor`] is a thread that owns weights and KV caches. It is told what
//! [`StageOutput`](potluck_protocol::stage::StageOutput) says, in that order, and calls back with
//! what [`Stages`](potluck_protocol::stage::Stages) wants to hear. [`Ends`] is the requester's part
//! around the layers: tokens to hidden states, hidden states to logits. Both take their memory from
//! one [`MemoryBudget`].
//!
//! # Invariants
//! - What is computed does not depend on who shares a step or on how layers are split: it is what
//!   the whole model in one [`Shard`](potluck_model::Shard) computes, to the bit.
//! - Sessions that have the same layers of the same model share one shard, and their rows of a step
//!   go through it together. Layers of a model that several shards have count once: a file's mapping
//!   is shared.
//! - Rows that come again, as after the failure of another stage, are not computed again: what came
//!   out the first time is kept where there is spare room, and used if the same went in.
//! - Nothing is reserved beyond the budget, and KV caches are reserved whole when a stage is loaded.

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

use potluck_model::gguf::Gguf;
use potluck_protocol::correction::TimedRows;
use potluck_protocol::wire::{ContentHash, StageRefusedCode};
use potluck_protocol::{LayerRange, PlanEpoch, StageId};

pub use ends::{Ends, EndsError};
pub use executor::{StageExecutor, Stopped};
pub use memory::{MemoryBudget, NoRoom, Reservation};

/// Where model files are found.
pub trait ModelFiles: Send {
    /// The file of this manifest, mapped, if it is here: whole, or at least with these layers and what
    /// every device needs.
    ///
    /// The executor keeps what it is given while a session uses it. Whoever implements this should
    /// not keep it longer, as pages of a mapping that were read count as this program's memory.
    fn find(&self, manifest: ContentHash, layers: LayerRange) -> Option<Arc<Gguf>>;
}

/// What the executor's thread has done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Done {
    /// A stage is ready, or cannot be: for [`Stages::loaded`](potluck_protocol::stage::Stages::loaded).
    Loaded {
        /// The stage of the order.
        stage: StageId,
        /// Its epoch.
        epoch: PlanEpoch,
        /// Bytes of weights and KV cache that the stage has, shared ones too.
        result: Result<u64, LoadError>,
    },
    /// A step was computed: for [`Stages::computed`](potluck_protocol::stage::Stages::computed).
    Computed {
        /// The number of the order.
        number: u64,
        /// For each part of the step, in its order, the hidden states behind the stage's layers:
        /// as many rows as went in, `f32` little-endian. Empty for a part that could not be
        /// computed, because its session is not here, begins beyond what its caches hold or ends
        /// beyond what was reserved, or its bytes are not its rows: nothing that a correct caller
        /// sends, and no reason not to compute the other parts.
        hidden: Vec<Vec<u8>>,
        /// How long it took, for each part that went through its layers by itself.
        times: Vec<TimedRows>,
    },
    /// The thread ended by a fault of this program. What it was told since its last answer is not
    /// done, and nothing it is told any more will be. What it held is gone.
    Failed,
}

/// A stage cannot be here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{words}")]
pub struct LoadError {
    /// Why, for programs.
    pub code: StageRefusedCode,
    /// Why, for people; can be sent as it is.
    pub words: String,
    /// Bytes that a stage could have here now, within what can be sent.
    pub available_bytes: u64,
}
