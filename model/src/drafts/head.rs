//! A draft head: one layer that guesses the next tokens from the model's own hidden states.
//!
//! ```text
//! x = join · [norm(h_i); norm(embedding(t_{i+1}))]     h: the model's final norm, or the head's own y
//! x = x + attention(norm(x));  x = x + ffn(norm(x))    one layer of the model's own shape
//! y = norm(x)                                          an estimate of h_{i+1}
//! logits = output · y                                  the rows of the tokens that it can guess
//! ```
//!
//! The hidden state is in the same space as the model's, so that `y` can take its place: a chain of
//! guesses feeds on itself. (As EAGLE does: Y. Li and others, 2024, arXiv:2401.15077.)

use std::sync::Arc;

use burn::tensor::Tensor;

use super::head_file::{DraftHeadError, HeadFile};
use crate::compute::Compute;
use crate::kv_cache::KvCache;
use crate::nn::{
    Attention, Block, FeedForward, LayerStep, RmsNorm, RopeTables, SequenceRows, StoredMatrix,
    Stream,
};
use crate::tokenizer::TokenId;
use crate::{ModelConfig, ModelError, TensorType, ops};

/// The part of a model that a head shares.
pub(crate) struct Base<'a> {
    pub(crate) config: &'a ModelConfig,
    pub(crate) embedding: &'a StoredMatrix,
    pub(crate) output: &'a StoredMatrix,
    pub(crate) ropes: &'a RopeTables,
    pub(crate) compute: &'a Compute,
}

/// A model's draft head, ready to compute.
#[derive(Debug)]
pub struct DraftHead {
    hidden_norm: RmsNorm,
    embedding_norm: RmsNorm,
    join: StoredMatrix,
    block: Block,
    norm: RmsNorm,
    /// The tokens that it can guess, ascending, and their rows of the model's head.
    tokens: Vec<TokenId>,
    output: StoredMatrix,
    embedding: StoredMatrix,
    ropes: RopeTables,
    config: ModelConfig,
    window: usize,
    compute: Compute,
}

/// The result of [`DraftHead::evaluate`].
#[derive(Debug, Clone, PartialEq)]
pub struct HeadOutput {
    /// Estimated hidden states, `[tokens, d_model]`.
    pub states: Vec<f32>,
    /// After the last one, the logit of each token that the head can guess, by ascending token.
    pub logits: Vec<(TokenId, f32)>,
}

impl DraftHead {
    /// Maps the file's weights, and copies the rows of the model's head that the guesses need.
    ///
    /// # Errors
    /// The head has other sizes than the model.
    pub(crate) fn load(file: &HeadFile, base: &Base<'_>) -> Result<Self, DraftHeadError> {
        let &Base {
            config, compute, ..
        } = base;
        file.check_sizes(config)?;
        let device = compute.device();
        let (d, ff) = (config.d_model, config.d_ff);
        let (q, kv) = (
            config.heads * config.head_dim,
            config.kv_heads * config.head_dim,
        );
        let norm = |name| {
            let factors = file.norm(name, d)?;
            Ok::<_, DraftHeadError>(RmsNorm::of(factors, config.norm_eps, device))
        };
        let matrix = |name, rows, columns| {
            let bytes = file.matrix(name, rows, columns)?;
            let stored = StoredMatrix::new(bytes, TensorType::Q8_0, [rows, columns], device);
            Ok::<_, DraftHeadError>(stored)
        };
        let attention = [
            matrix("attn_q", q, d)?,
            matrix("attn_k", kv, d)?,
            matrix("attn_v", kv, d)?,
            matrix("attn_output", d, q)?,
        ];
        let feed_forward = [
            matrix("ffn_gate", ff, d)?,
            matrix("ffn_up", ff, d)?,
            matrix("ffn_down", d, ff)?,
        ];
        let block = Block::of(
            norm("attn_norm")?,
            Attention::of(config, attention),
            norm("ffn_norm")?,
            FeedForward::of(config, feed_forward),
        );
        let tokens = file.tokens()?;
        Ok(Self {
            hidden_norm: norm("hidden_norm")?,
            embedding_norm: norm("embedding_norm")?,
            join: matrix("join", d, 2 * d)?,
            block,
            norm: norm("output_norm")?,
            output: base.output.with_rows(&tokens, device),
            tokens,
            embedding: base.embedding.clone(),
            ropes: base.ropes.clone(),
            config: config.clone(),
            window: file.window,
            compute: compute.clone(),
        })
    }

    /// Length of a hidden state.
    pub(super) fn d_model(&self) -> usize {
        self.config.d_model
    }

    /// The number of tokens of the model's vocabulary.
    pub(super) fn vocabulary(&self) -> usize {
        self.config.vocabulary
    }

    /// The tokens that it can guess, ascending.
    pub(super) fn tokens(&self) -> &[TokenId] {
        &self.tokens
    }

    /// A cache for so many rows of one text.
    pub(super) fn cache(&self, rows: usize) -> Result<KvCache, ModelError> {
        // All rows, whatever the window.
        let windows = Arc::new([None]);
        KvCache::with_windows(&self.config, windows, 0..1, (rows, 0), &self.compute)
    }

    /// Computes rows from row `start` of the cache on, and returns the estimated hidden states.
    ///
    /// # Shapes
    /// `hidden` and the result `[tokens, d_model]`.
    ///
    /// # Panics
    /// The cache has no room.
    pub(super) fn forward(
        &self,
        hidden: Vec<f32>,
        tokens: &[TokenId],
        start: usize,
        cache: &mut KvCache,
    ) -> Vec<f32> {
        let compute = &self.compute;
        let count = tokens.len();
        assert!(start + count <= cache.capacity() && hidden.len() == count * self.d_model());
        let hidden = ops::tensor_of(hidden, count, compute);
        let hidden = self.hidden_norm.forward(hidden, compute);
        let scale = self.config.embedding_scale;
        let embedded = self.embedding.rows(tokens, scale, compute);
        let embedded = self.embedding_norm.forward(embedded, compute);
        let joined = Tensor::cat(vec![hidden, embedded], 1);
        let joined = self.join.forward(joined, compute);
        let positions: Vec<_> = (start..start + count).collect();
        let angles = self.ropes.angles(&positions, compute.device());
        let attention = self.config.attention[self.config.layers - 1];
        let step = LayerStep {
            compute,
            angles: &angles[attention.rope],
            rope_pairs: self.config.rope_pairs,
            window: Some(self.window),
            scale: self.config.attention_scale,
            sequences: vec![SequenceRows {
                rows: 0..count,
                start,
                cache: cache.layer(0),
            }],
        };
        let sum = self.block.forward(Stream::new(joined), step).sum();
        let state = self.norm.forward(sum, compute);
        ops::with_values(state, compute, <[f32]>::to_vec)
    }

    /// Calls `read` with the logits of [`Self::tokens`] after a state, `[d_model]`.
    pub(super) fn logits<T>(&self, state: &[f32], read: impl FnOnce(&[f32]) -> T) -> T {
        let state = ops::tensor_of(state.to_vec(), 1, &self.compute);
        let logits = self.output.forward(state, &self.compute);
        ops::with_values(logits, &self.compute, read)
    }

    /// Estimated hidden states `[tokens, d_model]` of a text whose first hidden states, `[tokens,
    /// d_model]`, and tokens behind them are given, and the logits after the last one: for
    /// comparing the head with another implementation.
    ///
    /// # Errors
    /// There is not enough memory.
    ///
    /// # Panics
    /// The lengths do not match.
    pub fn evaluate(&self, hidden: &[f32], tokens: &[TokenId]) -> Result<HeadOutput, ModelError> {
        let mut cache = self.cache(tokens.len())?;
        let states = self.forward(hidden.to_vec(), tokens, 0, &mut cache);
        let last = &states[states.len() - self.d_model()..];
        let logits = self.logits(last, |logits| {
            let named = self.tokens.iter().copied().zip(logits.iter().copied());
            named.collect()
        });
        Ok(HeadOutput { states, logits })
    }
}
