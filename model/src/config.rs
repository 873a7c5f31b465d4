//! What a model is: sizes, attention pattern and activations, as the families read it
//! from a GGUF file's metadata.
//!
//! A [`ModelConfig`] is consistent once made; nothing downstream checks it again.

use std::fmt;
use std::ops::Range;

pub use crate::Architecture;
use crate::kernels::cache::CacheShape;
pub use crate::kernels::gate::Activation;
pub use crate::kernels::rope::RopePairs;
use crate::kv_ring::{ROLL_BACK, Ring};

/// The most layers of a model.
pub(crate) const MOST_LAYERS: usize = 1024;

/// A rotary embedding: how fast each pair of coordinates turns.
#[derive(Debug, Clone, PartialEq)]
pub struct RopeConfig {
    /// Base of the geometric series of frequencies.
    pub base: f32,
    /// Positions are divided by this (linear scaling); 1 if not scaled.
    pub linear_factor: f32,
    /// Which of the file's own divisors of the frequencies apply.
    pub divisors: RopeDivisors,
    /// Pairs that turn fast are not scaled.
    pub yarn: Option<Yarn>,
    /// Cosines and sines are multiplied by this; 1 if not scaled.
    pub amplitude: f32,
}

/// A file's own divisors of rotary frequencies, one a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RopeDivisors {
    /// None, whatever is in the file.
    None,
    /// `rope_freqs.weight`, if there.
    IfGiven,
    /// `rope_freqs.weight`, which must be there.
    Given,
    /// `rope_factors_short.weight`: for contexts up to the one the model was first trained for.
    Short,
    /// `rope_factors_long.weight`: for longer ones.
    Long,
}

impl RopeDivisors {
    /// The tensor that holds them.
    pub(crate) const fn tensor(self) -> &'static str {
        match self {
            Self::None | Self::IfGiven | Self::Given => "rope_freqs.weight",
            Self::Short => "rope_factors_short.weight",
            Self::Long => "rope_factors_long.weight",
        }
    }

    /// Whether they depend on the length of the context.
    pub(crate) const fn is_of_length(self) -> bool {
        matches!(self, Self::Short | Self::Long)
    }
}

/// YaRN (arXiv:2309.00071): what distinguishes pairs that turn fast.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Yarn {
    /// Positions of the context that the model was first trained for.
    pub original_context: usize,
}

/// How one layer attends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerAttention {
    /// A position sees this many positions up to itself; all if `None`.
    pub window: Option<usize>,
    /// Index into [`ModelConfig::ropes`].
    pub rope: usize,
}

/// A model's sizes and choices.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    /// Which graph.
    pub architecture: Architecture,
    /// `general.name`, if given.
    pub name: Option<String>,
    /// Transformer blocks.
    pub layers: usize,
    /// Width of the hidden states.
    pub d_model: usize,
    /// Width of the feed-forward part.
    pub d_ff: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Coordinates of a head.
    pub head_dim: usize,
    /// Coordinates of a head that are rotated.
    pub rope_dim: usize,
    /// Tokens. The file's embedding may have more rows, which are no token and are not computed.
    pub vocabulary: usize,
    /// Positions the model was made for.
    pub context: usize,
    /// The norms' epsilon.
    pub norm_eps: f32,
    /// The feed-forward gate's activation.
    pub activation: Activation,
    /// How rotated pairs lie.
    pub rope_pairs: RopePairs,
    /// Rotary embeddings in use.
    pub ropes: Vec<RopeConfig>,
    /// Each layer's attention.
    pub attention: Vec<LayerAttention>,
    /// Attention scores are multiplied by this.
    pub attention_scale: f32,
    /// Embeddings are multiplied by this.
    pub embedding_scale: f32,
    /// Query and key heads are normed.
    pub qk_norm: bool,
    /// The outputs of attention and feed-forward are normed before they are added.
    pub post_norms: bool,
    /// Logits `x` become `cap · tanh(x / cap)`.
    pub logit_cap: Option<f32>,
    /// Settings of the file that no part of it uses and that need not change an answer.
    pub unused_settings: Vec<UnusedSetting>,
}

/// A setting of a file that this build passes over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnusedSetting {
    /// The metadata key.
    pub key: String,
    /// Its value, as messages show it.
    pub value: String,
}

impl fmt::Display for UnusedSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, value } = self;
        write!(
            f,
            "the model file's {key} is {value}, which this build does not use"
        )
    }
}

impl ModelConfig {
    /// Bytes of the KV cache of these layers for `context` positions.
    pub fn kv_bytes(&self, layers: Range<usize>, context: usize) -> u64 {
        let positions = layers.map(|layer| self.kv_positions(layer, context) as u64);
        self.kv_bytes_per_position() * positions.sum::<u64>()
    }

    /// Positions that the KV cache of a layer has room for, of a sequence of `context` positions: all,
    /// rounded up, or fewer if the layer has a window.
    pub fn kv_positions(&self, layer: usize, context: usize) -> usize {
        let attention = self.attention.get(layer);
        let window = attention.and_then(|attention| attention.window);
        Ring::new(window, context, ROLL_BACK).positions()
    }

    /// Bytes of a key and a value of all heads of a layer, as the KV cache has them.
    pub fn kv_bytes_per_position(&self) -> u64 {
        2 * 2 * (self.kv_heads * CacheShape::padded(self.head_dim)) as u64
    }

    /// The shape of a layer's cache of no positions.
    pub(crate) fn cache_shape(&self) -> CacheShape {
        CacheShape {
            kv_heads: self.kv_heads,
            head_dim: CacheShape::padded(self.head_dim),
            capacity: 0,
        }
    }
}
