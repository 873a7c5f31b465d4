//! Shards: the weights of a layer range, with or without embedding and head, and steps through
//! them.

pub(crate) mod packed;
#[cfg(test)]
mod packed_tests;

use std::ops::Range;
use std::sync::Mutex;

use burn::tensor::{Device, Tensor};

use crate::compute::Compute;
use crate::drafts::{Base, DraftHead, DraftHeadError, HeadFile};
use crate::gguf::{Gguf, Watch};
use crate::kernels::mapping::Mapping;
use crate::kv_cache::KvCache;
use crate::nn::{
    Block, Claims, LayerStep, RmsNorm, RopeTables, SequenceRows, Source, StoredMatrix, Stream, Swap,
};
use crate::{ModelConfig, ModelError, ops};
use packed::InUse;

use crate::packed_part::PackedPart;

const EMBEDDING: &str = "token_embd.weight";
const OUTPUT: &str = "output.weight";
const OUTPUT_NORM: &str = "output_norm.weight";

/// The parts of a model that a shard holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardRange {
    /// The token embedding.
    pub embedding: bool,
    /// The layers, as a half-open range.
    pub layers: Range<usize>,
    /// The final norm and the language-model head.
    pub head: bool,
}

impl ShardRange {
    /// The complete model.
    pub fn whole(config: &ModelConfig) -> Self {
        Self {
            embedding: true,
            layers: 0..config.layers,
            head: true,
        }
    }
}

/// A part of a model. Standalone operation uses one complete shard, a split uses several: both run
/// the same code.
#[derive(Debug)]
pub struct Shard {
    config: ModelConfig,
    range: ShardRange,
    embedding: Option<StoredMatrix>,
    blocks: Vec<Swap<Block>>,
    head: Option<Swap<Head>>,
    ropes: RopeTables,
    compute: Compute,
    /// Checked after each computation: results from a changed file are not returned.
    watch: Watch,
    /// Where the stored weights of each part lie.
    stored: Vec<(PackedPart, Mapping, Range<usize>)>,
    /// The parts that are computed from packed weights, checked as well.
    packed: Mutex<Vec<InUse>>,
}

#[derive(Debug, Clone)]
struct Head {
    norm: RmsNorm,
    output: StoredMatrix,
}

/// The model parts loaded from a file's tensors.
struct Parts {
    embedding: Option<StoredMatrix>,
    blocks: Vec<Block>,
    head: Option<Head>,
    ropes: RopeTables,
}

impl Parts {
    fn load(
        gguf: &Gguf,
        config: &ModelConfig,
        range: &ShardRange,
        device: &Device,
    ) -> Result<Self, ModelError> {
        let claims = Claims::default();
        let root = Source::root(gguf, &claims, device);
        let table = |name: &str| {
            // Rows beyond the vocabulary are no tokens and are never read.
            let rows = root.rows(name)?.max(config.vocabulary);
            root.matrix(name, 0..config.vocabulary, rows, config.d_model)
        };
        let head = || {
            let untied = root.has(OUTPUT);
            let mut output = table(if untied { OUTPUT } else { EMBEDDING })?;
            let rows = if root.has("output.bias") {
                root.elements("output.bias")?.max(config.vocabulary)
            } else {
                config.vocabulary
            };
            root.finish(&mut output, "output", 0..config.vocabulary, rows)?;
            let norm = RmsNorm::load(&root, OUTPUT_NORM, config.d_model, config.norm_eps)?;
            Ok::<_, ModelError>(Head { norm, output })
        };
        let blocks = range.layers.clone();
        let blocks = blocks.map(|layer| Block::load(config, &root.layer(layer)));
        let parts = Self {
            embedding: range.embedding.then(|| table(EMBEDDING)).transpose()?,
            blocks: blocks.collect::<Result<_, _>>()?,
            head: range.head.then(head).transpose()?,
            ropes: RopeTables::load(config, &root)?,
        };
        // The tensors of the ends may belong to another shard.
        for name in [EMBEDDING, OUTPUT, OUTPUT_NORM] {
            root.pass_over(name);
        }
        if !range.head {
            for name in ["output.bias", "output.scale", "output.input_scale"] {
                root.pass_over(name);
            }
        }
        claims.check(gguf, config, &range.layers)?;
        Ok(parts)
    }
}

/// Announces that all tensors of a layer will be read soon.
fn will_need(gguf: &Gguf, layer: usize) {
    let prefix = format!("blk.{layer}.");
    let tensors = gguf.tensors().iter();
    tensors
        .filter(|tensor| tensor.name.starts_with(&prefix))
        .for_each(|tensor| gguf.will_need(tensor));
}

/// One sequence's part of a step.
#[derive(Debug)]
pub struct SequenceStep<'a> {
    /// The sequence's cache, which covers at least the shard's layers.
    pub cache: &'a mut KvCache,
    /// Absolute position of the sequence's first row. All positions before it must have gone through
    /// the cache; positions from there on are overwritten.
    pub start: usize,
    /// Number of the sequence's rows, which follow those of the sequences before it.
    pub count: usize,
}

impl Shard {
    /// Loads the tensors of `range` onto the device of `compute`. On the kernel device they are
    /// memory-mapped: nothing is read before its first use.
    ///
    /// # Errors
    /// A tensor is missing, has a shape other than the configuration's, or is used by no part of
    /// the model (among the tensors of these layers and those of no layer); or `range` exceeds the
    /// model's layers.
    pub fn load(
        gguf: &Gguf,
        config: &ModelConfig,
        range: ShardRange,
        compute: Compute,
    ) -> Result<Self, ModelError> {
        let Range { start, end } = range.layers;
        if start > end || end > config.layers {
            return Err(ModelError::LayerRange {
                first: start,
                end,
                layers: config.layers,
            });
        }
        let parts = Parts::load(gguf, config, &range, compute.device())?;
        for layer in range.layers.clone() {
            will_need(gguf, layer);
        }
        let stored = packed::stored_places(gguf, &range);
        Ok(Self {
            stored,
            embedding: parts.embedding,
            blocks: parts.blocks.into_iter().map(Swap::new).collect(),
            head: parts.head.map(Swap::new),
            ropes: parts.ropes,
            config: config.clone(),
            range,
            compute,
            watch: gguf.watch().clone(),
            packed: Mutex::default(),
        })
    }

    /// Checks that all parts of a model could be loaded.
    ///
    /// # Errors
    /// Same as [`Shard::load`].
    pub fn check(gguf: &Gguf, config: &ModelConfig) -> Result<(), ModelError> {
        // This device reads nothing on load.
        let device = Compute::kernel_device();
        Parts::load(gguf, config, &ShardRange::whole(config), &device).map(|_parts| ())
    }

    /// Checks that the model's file has not changed since it was mapped.
    ///
    /// # Errors
    /// The file has changed; the error names it.
    pub fn check_file(&self) -> Result<(), ModelError> {
        self.watch.check()?;
        self.check_packed()
    }

    /// The parts of the model that this shard holds.
    pub fn range(&self) -> &ShardRange {
        &self.range
    }

    /// Bytes of weights read per position in decode: matrices and one embedding row.
    pub fn weight_bytes_per_token(&self) -> u64 {
        let blocks: usize = self.blocks.iter().map(|b| b.get().matrix_bytes()).sum();
        let head = self.head.as_ref().map_or(0, |h| h.get().output.len());
        (blocks + head) as u64
    }

    /// Embeds tokens: hidden states `[ids, d_model]`.
    ///
    /// # Errors
    /// The shard has no embedding, an id is beyond the vocabulary, or the file has changed.
    pub fn embed(&self, ids: &[u32]) -> Result<Tensor<2>, ModelError> {
        let embedding = self.embedding.as_ref();
        let embedding = embedding.ok_or(ModelError::NotHeld("embedding"))?;
        let vocabulary = self.config.vocabulary;
        if let Some(&id) = ids.iter().find(|id| **id as usize >= vocabulary) {
            return Err(ModelError::UnknownToken { id, vocabulary });
        }
        let rows = embedding.rows(ids, self.config.embedding_scale, &self.compute);
        self.check_file()?;
        Ok(rows)
    }

    /// Passes the rows of all sequences through the shard's layers.
    ///
    /// # Shapes
    /// `hidden` and the result are `[Σ count, d_model]`, one sequence after the other.
    ///
    /// # Errors
    /// A sequence exceeds its cache, its cache no longer [holds](KvCache::holds) what its first row
    /// sees, or the model's file has changed.
    pub fn forward(
        &self,
        hidden: Tensor<2>,
        sequences: &mut [SequenceStep<'_>],
    ) -> Result<Tensor<2>, ModelError> {
        self.forward_through(self.range.layers.clone(), hidden, sequences)
    }

    /// Like [`forward`](Self::forward), but through some of the shard's layers only.
    ///
    /// # Errors
    /// Same as `forward`, or the shard does not have these layers.
    pub fn forward_through(
        &self,
        layers: Range<usize>,
        hidden: Tensor<2>,
        sequences: &mut [SequenceStep<'_>],
    ) -> Result<Tensor<2>, ModelError> {
        let through = self.forward_unless(layers, hidden, sequences, &|| false)?;
        Ok(through.expect("it is not left off"))
    }

    /// Like [`forward_through`](Self::forward_through), but stops without a result if `left_off`
    /// returns true before a layer. The caches' contents from the step's start on are then invalid.
    ///
    /// # Errors
    /// Same as `forward_through`.
    pub fn forward_unless(
        &self,
        layers: Range<usize>,
        hidden: Tensor<2>,
        sequences: &mut [SequenceStep<'_>],
        left_off: &dyn Fn() -> bool,
    ) -> Result<Option<Tensor<2>>, ModelError> {
        let first = self.range.layers.start;
        let blocks = layers
            .start
            .checked_sub(first)
            .zip(layers.end.checked_sub(first));
        let blocks = blocks.and_then(|(start, end)| self.blocks.get(start..end));
        let blocks = blocks.ok_or(ModelError::NotHeld("such layers"))?;
        let positions = begin(&layers, sequences)?;
        let [rows, d_model] = hidden.dims();
        assert!(rows == positions.len() && d_model == self.config.d_model);
        let angles = self.ropes.angles(&positions, self.compute.device());
        let mut stream = Stream::new(hidden);
        for (layer, block) in layers.zip(blocks) {
            if left_off() {
                return Ok(None);
            }
            let attention = self.config.attention[layer];
            let mut row = 0;
            let sequences = sequences
                .iter_mut()
                .map(|s| {
                    let rows = row..row + s.count;
                    row = rows.end;
                    SequenceRows {
                        rows,
                        start: s.start,
                        cache: s.cache.layer(layer),
                    }
                })
                .collect();
            let step = LayerStep {
                compute: &self.compute,
                angles: &angles[attention.rope],
                rope_pairs: self.config.rope_pairs,
                window: attention.window,
                scale: self.config.attention_scale,
                sequences,
            };
            stream = block.get().forward(stream, step);
        }
        let sum = stream.sum();
        self.check_file()?;
        Ok(Some(sum))
    }

    /// Computes the logits, `[rows, vocabulary]`, of hidden states `[rows, d_model]` and passes
    /// them to `read`.
    ///
    /// # Errors
    /// The shard has no head, or the model's file has changed.
    pub fn logits<T>(
        &self,
        hidden: Tensor<2>,
        read: impl FnOnce(&[f32]) -> T,
    ) -> Result<T, ModelError> {
        let head = self.head.as_ref().ok_or(ModelError::NotHeld("head"))?.get();
        let normed = head.norm.forward(hidden, &self.compute);
        let mut logits = head.output.forward(normed, &self.compute);
        if let Some(cap) = self.config.logit_cap {
            logits = ops::softcap(logits, cap, &self.compute);
        }
        let value = ops::with_values(logits, &self.compute, read);
        self.check_file()?;
        Ok(value)
    }

    /// Computes the final norm, `[rows, d_model]`, of hidden states of the same shape and passes it
    /// to `read`.
    ///
    /// # Errors
    /// The shard has no head, or the model's file has changed.
    pub fn normed<T>(
        &self,
        hidden: Tensor<2>,
        read: impl FnOnce(&[f32]) -> T,
    ) -> Result<T, ModelError> {
        let head = self.head.as_ref().ok_or(ModelError::NotHeld("head"))?.get();
        let normed = head.norm.forward(hidden, &self.compute);
        let value = ops::with_values(normed, &self.compute, read);
        self.check_file()?;
        Ok(value)
    }

    /// Prepares a draft head of this model.
    ///
    /// # Errors
    /// The head has other sizes than the model.
    ///
    /// # Panics
    /// The shard has no embedding or no head.
    pub fn draft_head(&self, file: &HeadFile) -> Result<DraftHead, DraftHeadError> {
        let head = self.stored_head().expect("a shard with a head");
        DraftHead::load(
            file,
            &Base {
                config: &self.config,
                embedding: self.embedding.as_ref().expect("a shard with an embedding"),
                output: &head.output,
                ropes: &self.ropes,
                compute: &self.compute,
            },
        )
    }

    /// Length of a hidden state.
    pub fn d_model(&self) -> usize {
        self.config.d_model
    }

    /// The device and threads that the shard computes on.
    pub fn compute(&self) -> &Compute {
        &self.compute
    }
}

/// Prepares the caches of these layers for a step; returns the positions of its rows.
///
/// # Errors
/// A sequence exceeds its cache, or its cache no longer holds what its first row sees.
fn begin(
    layers: &Range<usize>,
    sequences: &mut [SequenceStep<'_>],
) -> Result<Vec<usize>, ModelError> {
    let mut positions = Vec::new();
    for sequence in sequences.iter() {
        let (start, count) = (sequence.start, sequence.count);
        let capacity = sequence.cache.capacity();
        if start + count > capacity {
            return Err(ModelError::ContextFull {
                needed: count,
                free: capacity.saturating_sub(start),
                capacity,
            });
        }
        if !sequence.cache.layers_hold(layers.clone(), start) {
            return Err(ModelError::Overwritten { start });
        }
        positions.extend(start..start + count);
    }
    for step in sequences {
        let end = step.start + step.count;
        step.cache.append(layers.clone(), step.start, end);
    }
    Ok(positions)
}
