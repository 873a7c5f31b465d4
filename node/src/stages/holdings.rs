//! What the executor holds: shards, and each session's caches.

use std::collections::BTreeMap;
use std::sync::Arc;

use potluck_model::gguf::Gguf;
use potluck_model::{Compute, KvCache, ModelConfig, ModelError, SequenceStep, Shard, ShardRange};
use potluck_protocol::stage::{Load, Step, StepPart};
use potluck_protocol::wire::limits::MAX_WORDS_BYTES;
use potluck_protocol::wire::{ContentHash, StageRefusedCode};
use potluck_protocol::{LayerRange, SessionId};

use super::{LoadError, MemoryBudget, ModelFiles, NoRoom, Reservation};
use crate::shape::{ShapeError, model_shape};

/// Shards and caches, by session.
pub(super) struct Holdings {
    compute: Compute,
    files: Box<dyn ModelFiles>,
    memory: MemoryBudget,
    sessions: BTreeMap<SessionId, Sequence>,
}

/// One session's stage.
struct Sequence {
    shard: Arc<HeldShard>,
    cache: KvCache,
    cache_memory: Reservation,
    /// The cache holds the positions before this.
    filled: u32,
}

/// Layers that one or several sessions use.
struct HeldShard {
    manifest: ContentHash,
    layers: LayerRange,
    config: ModelConfig,
    shard: Shard,
    /// Kept, so that the file is mapped once for all who use it.
    _file: Arc<Gguf>,
    /// Of each layer.
    weights: Vec<Arc<LayerWeights>>,
}

/// One layer's weights, for all shards that have it.
struct LayerWeights {
    manifest: ContentHash,
    layer: u32,
    memory: Reservation,
}

/// Why a stage cannot be.
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

impl Holdings {
    pub(super) fn new(compute: Compute, files: Box<dyn ModelFiles>, memory: MemoryBudget) -> Self {
        Self {
            compute,
            files,
            memory,
            sessions: BTreeMap::new(),
        }
    }

    /// Makes a stage ready and says what it takes. A session's caches stay if they are of the same
    /// layers and context; if not, or if this fails, the session has nothing any more.
    pub(super) fn load(&mut self, load: &Load) -> Result<u64, LoadError> {
        if let Some(held) = self.sessions.get(&load.session)
            && held.is_of(load)
        {
            return Ok(held.memory_bytes());
        }
        // First, as its memory may be what the other stage needs.
        self.sessions.remove(&load.session);
        match self.open(load) {
            Ok(sequence) => {
                let bytes = sequence.memory_bytes();
                self.sessions.insert(load.session, sequence);
                Ok(bytes)
            }
            Err(refusal) => Err(refusal.to_load_error(self.memory.available())),
        }
    }

    pub(super) fn free(&mut self, session: SessionId) {
        self.sessions.remove(&session);
    }

    /// The hidden states of each part behind its layers, empty for a part that cannot be computed.
    pub(super) fn compute(&mut self, step: &Step) -> Vec<Vec<u8>> {
        let mut results = vec![Vec::new(); step.parts.len()];
        let sessions = self.sessions.iter_mut();
        let mut sessions: BTreeMap<_, _> = sessions.map(|(&id, held)| (id, held)).collect();
        // Shards in the order in which the step names them.
        let mut groups: Vec<Group<'_>> = Vec::new();
        for (index, part) in step.parts.iter().enumerate() {
            // Taken, so that a session has one part at most.
            let sequence = sessions.remove(&part.session);
            let Some(sequence) = sequence.filter(|sequence| sequence.takes(part)) else {
                continue;
            };
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
            // `takes` has checked all that can be wrong.
            let hidden = group.forward().unwrap_or_default();
            for (rows, hidden) in group.parts.iter().zip(hidden) {
                results[rows.index] = hidden;
            }
        }
        results
    }

    fn open(&self, load: &Load) -> Result<Sequence, Refusal> {
        let shards = self.sessions.values().map(|sequence| &sequence.shard);
        let shared = shards.into_iter().find(|shard| shard.is_of(load));
        let (shard, cache_memory) = match shared {
            Some(shard) => {
                let kv = check(load, &shard.config)?;
                (Arc::clone(shard), self.reserve(load, kv)?)
            }
            None => self.open_shard(load)?,
        };
        let range = load.layers.first() as usize..load.layers.end() as usize;
        let cache = KvCache::new(&shard.config, range, load.context as usize)?;
        Ok(Sequence {
            shard,
            cache,
            cache_memory,
            filled: 0,
        })
    }

    /// The layers, and the memory of the session's cache.
    fn open_shard(&self, load: &Load) -> Result<(Arc<HeldShard>, Reservation), Refusal> {
        let manifest = load.manifest;
        let gguf = self.files.find(manifest, load.layers);
        let gguf = gguf.ok_or(Refusal::NoWeights)?;
        let config = ModelConfig::from_gguf(&gguf)?;
        let kv = check(load, &config)?;
        let shape = model_shape(&gguf, &config)?;
        let layers = load.layers.first()..load.layers.end();
        let held = layers.map(|layer| (layer, self.held_weights(manifest, layer)));
        let held: Vec<_> = held.collect();
        let bytes_of = |layer: u32| shape.layers[layer as usize].memory_bytes(0);
        let missing = held.iter().filter(|(_, held)| held.is_none());
        let missing: u64 = missing.map(|&(layer, _)| bytes_of(layer)).sum();
        let mut memory = self.reserve(load, missing.saturating_add(kv))?;
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
                layers: load.layers.first() as usize..load.layers.end() as usize,
                head: false,
            },
            self.compute.clone(),
        )?;
        let shard = HeldShard {
            manifest,
            layers: load.layers,
            config,
            shard,
            _file: gguf,
            weights,
        };
        Ok((Arc::new(shard), memory))
    }

    /// The weights of a layer, if a shard has them.
    fn held_weights(&self, manifest: ContentHash, layer: u32) -> Option<Arc<LayerWeights>> {
        let sequences = self.sessions.values();
        let mut weights = sequences.flat_map(|sequence| &sequence.shard.weights);
        let same = |w: &&Arc<LayerWeights>| w.manifest == manifest && w.layer == layer;
        weights.find(same).cloned()
    }

    fn reserve(&self, load: &Load, bytes: u64) -> Result<Reservation, Refusal> {
        self.memory.reserve(bytes).map_err(|room| Refusal::Memory {
            layers: load.layers,
            context: load.context,
            room,
        })
    }
}

/// Whether a model of these settings can be a stage as asked; if so, the bytes of its KV cache.
fn check(load: &Load, config: &ModelConfig) -> Result<u64, Refusal> {
    let (first, end) = (load.layers.first() as usize, load.layers.end() as usize);
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
    Ok(config.kv_bytes(end - first, asked))
}

impl Sequence {
    fn is_of(&self, load: &Load) -> bool {
        // The width was the model's when it was opened.
        let same_width = load.d_model as usize == self.shard.config.d_model;
        let same_context = load.context as usize == self.cache.capacity();
        self.shard.is_of(load) && same_context && same_width
    }

    /// Whether the rows follow what the cache holds, fit into it, and are all there.
    fn takes(&self, part: &StepPart) -> bool {
        let rows = part.rows as usize;
        let end = part.start_position.checked_add(part.rows);
        let fits = end.is_some_and(|end| end as usize <= self.cache.capacity());
        let whole = rows.checked_mul(self.shard.shard.hidden_row_bytes());
        let whole = rows > 0 && whole == Some(part.hidden.len());
        part.start_position <= self.filled && fits && whole
    }

    fn memory_bytes(&self) -> u64 {
        let weights = self.shard.weights.iter().map(|w| w.memory.bytes());
        weights.sum::<u64>() + self.cache_memory.bytes()
    }
}

impl HeldShard {
    fn is_of(&self, load: &Load) -> bool {
        self.manifest == load.manifest && self.layers == load.layers
    }
}

/// The parts of a step that go through one shard.
struct Group<'a> {
    shard: Arc<HeldShard>,
    parts: Vec<GroupPart<'a>>,
}

struct GroupPart<'a> {
    /// Of the step.
    index: usize,
    part: &'a StepPart,
    sequence: &'a mut Sequence,
}

impl Group<'_> {
    /// The hidden states of each part, in the order of the parts.
    fn forward(&mut self) -> Result<Vec<Vec<u8>>, ModelError> {
        let shard = &self.shard.shard;
        let hidden = self.parts.iter().map(|rows| rows.part.hidden.as_slice());
        let hidden = shard.hidden_from_bytes(hidden)?;
        let mut steps = Vec::with_capacity(self.parts.len());
        for GroupPart { part, sequence, .. } in &mut self.parts {
            sequence.filled = part.start_position;
            steps.push(SequenceStep {
                cache: &mut sequence.cache,
                start: part.start_position as usize,
                count: part.rows as usize,
            });
        }
        let hidden = shard.forward(hidden, &mut steps)?;
        for GroupPart { part, sequence, .. } in &mut self.parts {
            sequence.filled = part.start_position + part.rows;
        }
        let counts = self.parts.iter().map(|rows| rows.part.rows as usize);
        Ok(shard.hidden_to_bytes(hidden, counts))
    }
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

/// Words without what a peer would refuse: control characters, as names in a file may have, and
/// more than [`MAX_WORDS_BYTES`].
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
