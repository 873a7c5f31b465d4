//! The requester's part of a model, around the layers.

use std::path::Path;
use std::sync::Arc;

use potluck_model::gguf::Gguf;
use potluck_model::{
    Compute, DraftHead, Drafter, Engine, ModelConfig, ModelError, Shard, ShardRange,
};
use potluck_protocol::placement::ModelShape;

use super::drafter::{CountedDrafter, UseDrafterError, WithMemory};
use super::heads::Heads;
use super::{MemoryBudget, NoRoom, Reservation};
use crate::Cancel;
use crate::draft_heads::{self, HeadError};
use crate::drafter::OpenedDrafter;
use crate::manifest::MappedFile;
use crate::packed_store::{PackedStore, Packing};
use crate::shape::{ShapeError, model_shape};

/// A model's embedding, output norm and head. They turn tokens into hidden states and hidden states
/// into logits, so that neither tokens nor logits leave this device.
///
/// Hidden states are in wire format: `f32` little-endian, row after row.
#[derive(Debug)]
pub struct Ends {
    shard: Arc<Shard>,
    config: ModelConfig,
    shape: Arc<ModelShape>,
    memory: Reservation,
    heads: Heads,
    draft_head: Option<Arc<DraftHead>>,
    drafter: Option<CountedDrafter>,
    /// Held while the shard is used.
    _packing: Option<Packing>,
    /// Held so that all users of the file share one mapping.
    _file: Arc<Gguf>,
}

/// Why a model's ends cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum EndsError {
    /// They exceed the memory that the owner allows.
    #[error("no memory for the model's embedding and head: choose a smaller model or allow more")]
    Memory(#[source] NoRoom),
    /// The model cannot be placed on devices.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// The file is not a model that this build runs.
    #[error(transparent)]
    Model(#[from] ModelError),
}

impl Ends {
    /// Maps the file at `path` and loads it, and packs the head if there is a store for that.
    ///
    /// # Errors
    /// [`EndsError`].
    pub fn open(
        path: &Path,
        compute: Compute,
        memory: &MemoryBudget,
        packed: Option<&PackedStore>,
    ) -> Result<Self, EndsError> {
        let (gguf, file) = MappedFile::open(path).map_err(ModelError::from)?;
        let mut ends = Self::load(Arc::new(gguf), compute, memory)?;
        ends._packing = packed.map(|packed| packed.pack_file(&ends.shard, file));
        Ok(ends)
    }

    /// Maps embedding, output norm and head.
    ///
    /// # Errors
    /// [`EndsError`].
    pub fn load(
        gguf: Arc<Gguf>,
        compute: Compute,
        memory: &MemoryBudget,
    ) -> Result<Self, EndsError> {
        let config = ModelConfig::from_gguf(&gguf)?;
        let shape = Arc::new(model_shape(&gguf, &config)?);
        let memory = memory
            .reserve(shape.ends_bytes())
            .map_err(EndsError::Memory)?;
        let range = ShardRange {
            embedding: true,
            layers: 0..0,
            head: true,
        };
        Ok(Self {
            shard: Arc::new(Shard::load(&gguf, &config, range, compute)?),
            config,
            shape,
            memory,
            heads: Heads::default(),
            draft_head: None,
            drafter: None,
            _packing: None,
            _file: gguf,
        })
    }

    /// Uses the draft head of the model file at `path`, if there is one. Answers are the same without
    /// it.
    ///
    /// # Errors
    /// The head beside the model's file cannot be used.
    pub fn find_draft_head(&mut self, path: &Path, cancel: &Cancel) -> Result<(), HeadError> {
        if let Some(head) = draft_heads::of_model(path, cancel)? {
            let head = self.shard.draft_head(&head);
            let head = head.map_err(|error| HeadError::Head {
                path: path.to_owned(),
                error,
            })?;
            self.draft_head = Some(Arc::new(head));
        }
        Ok(())
    }

    /// Uses the smaller model in the file at `path` to guess the tokens of `model`, which these ends
    /// are of, in place of a draft head. Its weights are counted in `memory`.
    ///
    /// # Errors
    /// [`UseDrafterError`].
    pub fn use_drafter(
        &mut self,
        path: &Path,
        model: &Engine,
        memory: &MemoryBudget,
        packed: Option<&PackedStore>,
    ) -> Result<(), UseDrafterError> {
        let drafter = OpenedDrafter::open(path, model, self.compute().clone())?;
        self.drafter = Some(CountedDrafter::new(&drafter, memory, packed)?);
        Ok(())
    }

    /// A drafter for one text of at most `capacity` positions, and the memory reserved for it: with a
    /// smaller model or the model's draft head, if there is one.
    pub fn drafter(&self, capacity: usize) -> WithMemory {
        match &self.drafter {
            Some(drafter) => drafter.of_text(capacity),
            None => (Drafter::new(self.draft_head.clone()), None),
        }
    }

    /// The model's configuration.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The model's sizes, for placement.
    pub fn shape(&self) -> &Arc<ModelShape> {
        &self.shape
    }

    /// The compute backend.
    pub fn compute(&self) -> &Compute {
        self.shard.compute()
    }

    /// Bytes reserved for the weights.
    pub fn memory_bytes(&self) -> u64 {
        let drafter = self.drafter.as_ref();
        self.memory.bytes() + drafter.map_or(0, CountedDrafter::weight_bytes)
    }

    /// Hidden states before the first layer: `[ids, d_model]`.
    ///
    /// # Errors
    /// An id is beyond the vocabulary.
    pub fn embed(&self, ids: &[u32]) -> Result<Vec<u8>, ModelError> {
        let hidden = self.shard.embed(ids)?;
        let rows = std::iter::once(ids.len());
        let mut parts = self.shard.hidden_to_bytes(hidden, rows);
        Ok(parts.pop().unwrap_or_default())
    }

    /// Calls `read` with the logits `[rows, vocabulary]` of hidden states `[rows, d_model]` after
    /// the last layer. Single rows from concurrent threads share one pass.
    ///
    /// # Errors
    /// The bytes are empty or not whole rows.
    pub fn logits<T>(
        &self,
        hidden: &[u8],
        read: impl FnOnce(&[f32]) -> T,
    ) -> Result<T, ModelError> {
        let d_model = self.config.d_model;
        if hidden.is_empty() {
            return Err(ModelError::HiddenStates { bytes: 0, d_model });
        }
        if hidden.len() != d_model * size_of::<f32>() {
            return self.compute_logits(hidden, read);
        }
        let compute = |rows: &[u8], read: &mut dyn FnMut(&[f32])| self.compute_logits(rows, read);
        self.heads.logits(hidden, compute, read)
    }

    /// Calls `read` with the final norm, `[d_model]`, of a hidden state after the last layer.
    ///
    /// # Errors
    /// The bytes are no whole rows.
    pub fn normed(&self, hidden: &[u8], read: impl FnOnce(&[f32])) -> Result<(), ModelError> {
        let hidden = self.shard.hidden_from_bytes(std::iter::once(hidden))?;
        self.shard.normed(hidden, read)
    }

    fn compute_logits<T>(
        &self,
        hidden: &[u8],
        read: impl FnOnce(&[f32]) -> T,
    ) -> Result<T, ModelError> {
        let hidden = self.shard.hidden_from_bytes(std::iter::once(hidden))?;
        self.shard.logits(hidden, read)
    }
}
