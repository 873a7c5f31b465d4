//! The weights of a layer range, with or without embedding and head, and a step through them.

use std::ops::Range;

use burn::tensor::Tensor;

use crate::compute::Compute;
use crate::gguf::{Gguf, Watch};
use crate::kv_cache::KvCache;
use crate::nn::{
    Block, LayerStep, RmsNorm, RopeTables, SequenceRows, Source, StoredMatrix, Stream,
};
use crate::{ModelConfig, ModelError, ops};

/// Which parts of a model a shard holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardRange {
    /// The token embedding.
    pub embedding: bool,
    /// The layers, half-open.
    pub layers: Range<usize>,
    /// The final norm and the language-model head.
    pub head: bool,
}

impl ShardRange {
    /// Everything.
    pub fn whole(config: &ModelConfig) -> Self {
        Self {
            embedding: true,
            layers: 0..config.layers,
            head: true,
        }
    }
}

/// A part of a model. Standalone is one shard with everything; a split is several: there is no
/// second code path.
#[derive(Debug)]
pub struct Shard {
    config: ModelConfig,
    range: ShardRange,
    embedding: Option<StoredMatrix>,
    blocks: Vec<Block>,
    head: Option<Head>,
    ropes: RopeTables,
    compute: Compute,
    /// Asked after each computation: what came of a file that has changed is not given out.
    watch: Watch,
}

#[derive(Debug)]
struct Head {
    norm: RmsNorm,
    output: StoredMatrix,
}

/// One sequence's part of a step.
#[derive(Debug)]
pub struct SequenceStep<'a> {
    /// The sequence's cache, for at least the shard's layers.
    pub cache: &'a mut KvCache,
    /// Absolute position of the sequence's first row. The cache holds all positions before it;
    /// what it holds from there on is replaced.
    pub start: usize,
    /// Rows of the step that are this sequence's, after those of the sequences before it.
    pub count: usize,
}

impl Shard {
    /// Maps the tensors of `range`; nothing is read until it is used.
    ///
    /// # Errors
    /// Tensors that are missing or have another shape than the configuration says; a range beyond
    /// the model's layers.
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
        let root = Source::root(gguf);
        let (vocabulary, d_model) = (config.vocabulary, config.d_model);
        let embedding = || root.matrix("token_embd.weight", vocabulary, d_model);
        let head = || {
            let output = if root.has("output.weight") {
                root.matrix("output.weight", vocabulary, d_model)?
            } else {
                embedding()?
            };
            let norm = RmsNorm::load(&root, "output_norm.weight", d_model, config.norm_eps)?;
            Ok::<_, ModelError>(Head { norm, output })
        };
        Ok(Self {
            embedding: range.embedding.then(embedding).transpose()?,
            blocks: range
                .layers
                .clone()
                .map(|layer| {
                    let layer = Source::layer(gguf, layer);
                    layer.will_need();
                    Block::load(config, &layer)
                })
                .collect::<Result<_, _>>()?,
            head: range.head.then(head).transpose()?,
            ropes: RopeTables::load(config, &root)?,
            config: config.clone(),
            range,
            compute,
            watch: gguf.watch().clone(),
        })
    }

    /// Whether the model's file is what it was when it was mapped.
    ///
    /// # Errors
    /// It has changed, which the error names.
    pub fn check_file(&self) -> Result<(), ModelError> {
        Ok(self.watch.check()?)
    }

    /// What it holds.
    pub fn range(&self) -> &ShardRange {
        &self.range
    }

    /// Bytes of weights read for each position in decode: matrices, and one embedding row.
    pub fn weight_bytes_per_token(&self) -> u64 {
        let blocks: usize = self.blocks.iter().map(Block::matrix_bytes).sum();
        let head = self.head.as_ref().map_or(0, |h| h.output.len());
        (blocks + head) as u64
    }

    /// Hidden states of tokens: `[ids, d_model]`.
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
        let rows = embedding.rows(ids, self.config.embedding_scale);
        self.watch.check()?;
        Ok(rows)
    }

    /// One pass of all sequences' rows through the shard's layers.
    ///
    /// # Shapes
    /// hidden and the result `[Σ count, d_model]`, the sequences one after the other.
    ///
    /// # Errors
    /// A sequence goes beyond its cache, or the model's file has changed.
    pub fn forward(
        &self,
        hidden: Tensor<2>,
        sequences: &mut [SequenceStep<'_>],
    ) -> Result<Tensor<2>, ModelError> {
        self.forward_through(self.range.layers.clone(), hidden, sequences)
    }

    /// As [`forward`](Self::forward), through some of the shard's layers.
    ///
    /// # Errors
    /// As there, or the shard does not have these layers.
    pub fn forward_through(
        &self,
        layers: Range<usize>,
        hidden: Tensor<2>,
        sequences: &mut [SequenceStep<'_>],
    ) -> Result<Tensor<2>, ModelError> {
        let first = self.range.layers.start;
        let blocks = layers
            .start
            .checked_sub(first)
            .zip(layers.end.checked_sub(first));
        let blocks = blocks.and_then(|(start, end)| self.blocks.get(start..end));
        let blocks = blocks.ok_or(ModelError::NotHeld("such layers"))?;
        let mut positions = Vec::new();
        for sequence in sequences.iter() {
            let capacity = sequence.cache.capacity();
            if sequence.start + sequence.count > capacity {
                return Err(ModelError::ContextFull {
                    needed: sequence.count,
                    free: capacity.saturating_sub(sequence.start),
                    capacity,
                });
            }
            positions.extend(sequence.start..sequence.start + sequence.count);
        }
        let [rows, d_model] = hidden.dims();
        assert!(rows == positions.len() && d_model == self.config.d_model);
        let angles = self.ropes.angles(&positions);
        let mut stream = Stream::new(hidden);
        for (layer, block) in layers.zip(blocks) {
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
                        cache_shape: s.cache.shape(),
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
            stream = block.forward(stream, step);
        }
        let sum = stream.sum();
        self.watch.check()?;
        Ok(sum)
    }

    /// Calls `read` with the logits, `[rows, vocabulary]`, of hidden states `[rows, d_model]`.
    ///
    /// # Errors
    /// The shard has no head, or the model's file has changed.
    pub fn logits<T>(
        &self,
        hidden: Tensor<2>,
        read: impl FnOnce(&[f32]) -> T,
    ) -> Result<T, ModelError> {
        let head = self.head.as_ref().ok_or(ModelError::NotHeld("head"))?;
        let normed = head.norm.forward(hidden, &self.compute);
        let logits = head.output.forward(normed, &self.compute);
        let value = ops::with_values(logits, &self.compute, read);
        self.watch.check()?;
        Ok(value)
    }

    /// Values of a position's hidden state.
    pub fn d_model(&self) -> usize {
        self.config.d_model
    }

    /// What it computes with.
    pub fn compute(&self) -> &Compute {
        &self.compute
    }
}
