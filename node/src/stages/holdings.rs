//! The executor's state: shards, and each session's caches.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use potluck_model::{Compute, ModelConfig, ModelError, Shard, ShardRange};
use potluck_protocol::correction::TimedRows;
use potluck_protocol::stage::{Load, Step};
use potluck_protocol::wire::limits::MAX_WORDS_BYTES;
use potluck_protocol::wire::{ContentHash, StageRefusedCode};
use potluck_protocol::{LayerRange, StageId};

use super::recall::Recall;
use super::sequence::{Group, GroupPart, HeldShard, Kept, LayerWeights, Sequence, indices};
use super::{LoadError, MemoryBudget, ModelFiles, NoRoom, Reservation};
use crate::shape::{ShapeError, model_shape};

/// Shards and caches, by session.
pub(super) struct Holdings {
    compute: Compute,
    files: Box<dyn ModelFiles>,
    memory: MemoryBudget,
    sessions: BTreeMap<StageId, Sequence>,
}

/// Why a stage is refused.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("this device does not have the model's weights")]
    NoWeights,
    #[error(
        "layers {layers} with {context} positions need {} here, and {} of the {} that this device \
         offers are free: give it fewer layers, or choose a smaller model or context",
        mebibytes(room.needed), mebibytes(room.available), mebibytes(room.limit)
    )]
    Memory {
        layers: LayerRange,
        context: u32,
        room: NoRoom,
    },
    #[error("hidden states of {asked} values, but the model's have {found}")]
    Width { asked: u32, found: usize },
    #[error(transparent)]
    Shape(#[from] ShapeError),
    #[error(transparent)]
    Model(#[from] ModelError),
}

/// The results of a step.
#[derive(Debug, Default)]
pub(super) struct Computed {
    /// The hidden states of each part after its layers.
    pub(super) hidden: Vec<Vec<u8>>,
    /// Times of the parts that were computed alone.
    pub(super) times: Vec<TimedRows>,
    /// Stages whose caches no longer hold what their part sees. They hold nothing now.
    pub(super) overwritten: Vec<StageId>,
}

impl Holdings {
    pub(super) fn new(compute: Compute, files: Box<dyn ModelFiles>, memory: MemoryBudget) -> Self {
        Self {
            compute,
            files,
            memory,
            sessions: BTreeMap::new(),
        }
    }

    /// Loads a stage and returns its memory. A session keeps its caches if layers and context are
    /// unchanged. If its layers change, cached results of the layers that stay are reused when
    /// their rows are sent again. On error the session has no stage any more.
    pub(super) fn load(&mut self, load: &Load) -> Result<u64, LoadError> {
        // Never continue with a file that has changed, and never share it.
        if let Some(held) = self.sessions.get_mut(&load.stage)
            && held.is_of(load)
            && held.shard.is_as_it_was()
        {
            held.reopened();
            return Ok(held.memory_bytes());
        }
        // Remove it first: the new stage may need its memory.
        let before = self.sessions.remove(&load.stage);
        let before = before.filter(|before| before.shard.is_as_it_was());
        let kept = before.and_then(|before| before.keep(load));
        match self.open(load, kept) {
            Ok(sequence) => {
                let bytes = sequence.memory_bytes();
                self.sessions.insert(load.stage, sequence);
                Ok(bytes)
            }
            Err(refusal) => Err(refusal.to_load_error(self.memory.available())),
        }
    }

    pub(super) fn free(&mut self, stage: StageId) {
        self.sessions.remove(&stage);
    }

    /// Computes the parts of a step. A part has no hidden states if it cannot be computed, or if its
    /// step was aborted because its sessions are `unwanted`.
    pub(super) fn compute(&mut self, step: &Step, unwanted: &dyn Fn(StageId) -> bool) -> Computed {
        let mut computed = Computed {
            hidden: vec![Vec::new(); step.parts.len()],
            ..Computed::default()
        };
        let sessions = self.sessions.iter_mut();
        let mut sessions: BTreeMap<_, _> = sessions.map(|(&id, held)| (id, held)).collect();
        // Shards in the order in which the step names them.
        let mut groups: Vec<Group<'_>> = Vec::new();
        for (index, part) in step.parts.iter().enumerate() {
            // Removed from the map, so a session has at most one part.
            let sequence = sessions.remove(&part.stage);
            let Some(sequence) = sequence.filter(|sequence| sequence.takes(part)) else {
                continue;
            };
            sequence.starts(part.start_position);
            // `takes` has already validated the part.
            match sequence.recalled(part) {
                Ok(None) if sequence.reaches(part.start_position) => {}
                Ok(Some(hidden)) => {
                    computed.hidden[index] = hidden;
                    continue;
                }
                Err(error) if !error.is_overwritten() => continue,
                Ok(None) | Err(_) => {
                    sequence.start_over();
                    computed.overwritten.push(part.stage);
                    continue;
                }
            }
            let shard = Arc::clone(&sequence.shard);
            let rows = GroupPart {
                index,
                part,
                sequence,
            };
            let group = groups.iter_mut().find(|g| Arc::ptr_eq(&g.shard, &shard));
            match group {
                Some(group) => group.parts.push(rows),
                None => groups.push(Group {
                    shard,
                    parts: vec![rows],
                }),
            }
        }
        for mut group in groups {
            let begin = Instant::now();
            let hidden = group.forward(unwanted).unwrap_or_default();
            let took = begin.elapsed();
            if !hidden.is_empty() {
                computed.times.extend(group.timed(took));
            }
            for (rows, hidden) in group.parts.iter().zip(hidden) {
                computed.hidden[rows.index] = hidden;
            }
        }
        computed
    }

    fn open(&mut self, load: &Load, mut kept: Option<Kept>) -> Result<Sequence, Refusal> {
        let mut shards = self.sessions.values().map(|sequence| &sequence.shard);
        let shared = shards.find(|shard| shard.is_of(load) && shard.is_as_it_was());
        let shared = shared.cloned();
        let (shard, cache_memory) = match shared {
            Some(shard) => {
                let kv = check(load, &shard.config)?;
                (shard, self.reserve(load, kv, kept.as_mut())?)
            }
            None => self.open_shard(load, kept.as_mut())?,
        };
        let row_bytes = shard.shard.hidden_row_bytes();
        let recall = Recall::new(load.layers, row_bytes, load.context, &self.memory);
        let sequence = Sequence::new(shard, load.context, cache_memory, recall, kept)?;
        Ok(sequence)
    }

    /// Opens the layers and reserves the session's cache.
    fn open_shard(
        &mut self,
        load: &Load,
        kept: Option<&mut Kept>,
    ) -> Result<(Arc<HeldShard>, Reservation), Refusal> {
        let manifest = load.manifest;
        let gguf = self.files.find(manifest, load.layers);
        let gguf = gguf.ok_or(Refusal::NoWeights)?;
        let config = ModelConfig::from_gguf(&gguf)?;
        let kv = check(load, &config)?;
        let shape = Arc::new(model_shape(&gguf, &config)?);
        let layers = load.layers.first()..load.layers.end();
        let held = layers.map(|layer| (layer, self.held_weights(manifest, layer)));
        let held: Vec<_> = held.collect();
        let bytes_of = |layer: u32| shape.layers[layer as usize].memory_bytes(0);
        let missing = held.iter().filter(|(_, held)| held.is_none());
        let missing: u64 = missing.map(|&(layer, _)| bytes_of(layer)).sum();
        let mut memory = self.reserve(load, missing.saturating_add(kv), kept)?;
        let weights = held.into_iter().map(|(layer, held)| {
            held.unwrap_or_else(|| {
                Arc::new(LayerWeights {
                    manifest,
                    layer,
                    memory: memory.split(bytes_of(layer)),
                })
            })
        });
        let weights = weights.collect();
        let shard = Shard::load(
            &gguf,
            &config,
            ShardRange {
                embedding: false,
                layers: indices(load.layers),
                head: false,
            },
            self.compute.clone(),
        )?;
        let shard = Arc::new(shard);
        let shard = HeldShard {
            _packing: self.files.pack(&shard, manifest),
            manifest,
            layers: load.layers,
            config,
            shape,
            is_warm: AtomicBool::new(false),
            shard,
            file: gguf,
            weights,
        };
        Ok((Arc::new(shard), memory))
    }

    /// The weights of a layer, if some shard holds them.
    fn held_weights(&self, manifest: ContentHash, layer: u32) -> Option<Arc<LayerWeights>> {
        let sequences = self.sessions.values();
        let mut weights = sequences.flat_map(|sequence| &sequence.shard.weights);
        let same = |w: &&Arc<LayerWeights>| w.manifest == manifest && w.layer == layer;
        weights.find(same).cloned()
    }

    /// Reserves memory, dropping cached results of any session if needed.
    fn reserve(
        &mut self,
        load: &Load,
        bytes: u64,
        kept: Option<&mut Kept>,
    ) -> Result<Reservation, Refusal> {
        if self.memory.available() < bytes {
            self.sessions.values_mut().for_each(Sequence::forget);
        }
        if self.memory.available() < bytes
            && let Some(kept) = kept
        {
            kept.forget();
        }
        self.memory.reserve(bytes).map_err(|room| Refusal::Memory {
            layers: load.layers,
            context: load.context,
            room,
        })
    }
}

/// Checks that a model can serve as the requested stage; returns the size of its KV cache in bytes.
fn check(load: &Load, config: &ModelConfig) -> Result<u64, Refusal> {
    let Range { start: first, end } = indices(load.layers);
    let layers = config.layers;
    if end > layers {
        return Err(ModelError::LayerRange { first, end, layers }.into());
    }
    if load.d_model as usize != config.d_model {
        return Err(Refusal::Width {
            asked: load.d_model,
            found: config.d_model,
        });
    }
    let (asked, limit) = (load.context as usize, config.context);
    if asked > limit {
        return Err(ModelError::ContextTooLong { asked, limit }.into());
    }
    Ok(config.kv_bytes(first..end, asked))
}

impl Refusal {
    fn to_load_error(&self, available: u64) -> LoadError {
        let code = match self {
            Self::NoWeights => StageRefusedCode::NoWeights,
            Self::Memory { .. } | Self::Model(ModelError::OutOfMemory { .. }) => {
                StageRefusedCode::Memory
            }
            Self::Width { .. } | Self::Shape(_) | Self::Model(_) => StageRefusedCode::Unsupported,
        };
        LoadError {
            code,
            words: sendable(&self.to_string()),
            available_bytes: available,
        }
    }
}

/// Makes a text valid for sending: without control characters, which names in a file may contain,
/// and at most [`MAX_WORDS_BYTES`] long.
fn sendable(words: &str) -> String {
    let visible = |c: char| if c.is_control() { ' ' } else { c };
    let mut words: String = words.chars().map(visible).collect();
    words.truncate(words.floor_char_boundary(MAX_WORDS_BYTES));
    words
}

/// `260 MiB`, rounded up.
fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}
