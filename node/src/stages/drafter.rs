//! A drafter that is counted in a memory budget.

use std::path::PathBuf;

use potluck_model::{DraftModel, Drafter};

use super::memory::{MemoryBudget, NoRoom, Reservation};
use crate::drafter::{DrafterError, OpenedDrafter};
use crate::packed_store::{PackedStore, Packing};

/// Why a drafter is not used.
#[derive(Debug, thiserror::Error)]
pub enum UseDrafterError {
    /// It cannot be used with this model.
    #[error(transparent)]
    Drafter(#[from] DrafterError),
    /// The memory that the owner allows is too little.
    #[error("no memory for the drafter {}: allow more, or go without it", path.display())]
    Memory {
        /// The drafter's file.
        path: PathBuf,
        /// How much is missing.
        #[source]
        error: NoRoom,
    },
}

/// A drafter whose weights are counted in a memory budget.
#[derive(Debug)]
pub(super) struct CountedDrafter {
    model: DraftModel,
    budget: MemoryBudget,
    weights: Reservation,
    /// Held while the model is used.
    _packing: Option<Packing>,
}

/// A text's drafter, and the memory that is reserved for it.
pub type WithMemory = (Drafter, Option<Reservation>);

impl CountedDrafter {
    /// Reserves memory for the drafter's weights, and packs them if there is a store for that.
    ///
    /// # Errors
    /// [`UseDrafterError::Memory`].
    pub(super) fn new(
        drafter: &OpenedDrafter,
        budget: &MemoryBudget,
        packed: Option<&PackedStore>,
    ) -> Result<Self, UseDrafterError> {
        let weights = budget.reserve(drafter.bytes(0));
        let weights = weights.map_err(|error| UseDrafterError::Memory {
            path: drafter.path().to_owned(),
            error,
        })?;
        Ok(Self {
            model: drafter.model().clone(),
            budget: budget.clone(),
            weights,
            _packing: drafter.pack(packed),
        })
    }

    /// Bytes reserved for its weights.
    pub(super) fn weight_bytes(&self) -> u64 {
        self.weights.bytes()
    }

    /// A drafter for one text of at most `capacity` positions.
    pub(super) fn of_text(&self, capacity: usize) -> WithMemory {
        drafter_of_text(&self.model, capacity, &self.budget)
    }
}

/// A drafter for one text of at most `capacity` positions. Its keys and values only take memory that
/// is to spare; without it, only what occurs in the text is guessed.
pub fn drafter_of_text(model: &DraftModel, capacity: usize, budget: &MemoryBudget) -> WithMemory {
    match budget.reserve_spare(model.kv_bytes(capacity)) {
        Some(memory) => (model.drafter(capacity), Some(memory)),
        None => (Drafter::default(), None),
    }
}
