//! What a model is: sizes, attention pattern and activations, from a GGUF file's metadata.
//!
//! A [`ModelConfig`] is consistent once made; nothing downstream checks it again.

use std::fmt;

pub use crate::Architecture;
use crate::ModelError;
use crate::families::{self, Family};
use crate::gguf::{Gguf, Metadata};
use crate::kernels::cache::{BLOCK, CacheShape};
pub use crate::kernels::gate::Activation;
pub use crate::kernels::rope::RopePairs;

/// A rotary embedding: how fast each pair of coordinates turns.
#[derive(Debug, Clone, PartialEq)]
pub struct RopeConfig {
    /// Base of the geometric series of frequencies.
    pub base: f32,
    /// Positions are divided by this (linear scaling); 1 if not scaled.
    pub linear_factor: f32,
    /// Whether the file's own divisors of the frequencies apply (llama3 scaling).
    pub file_factors: bool,
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
    /// Tokens.
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
    /// Query, key and value have biases.
    pub qkv_bias: bool,
    /// Query and key heads are normed.
    pub qk_norm: bool,
    /// The outputs of attention and feed-forward are normed before they are added.
    pub post_norms: bool,
}

impl ModelConfig {
    /// Reads a file's settings.
    ///
    /// # Errors
    /// An unknown architecture, or settings that are missing, impossible or not supported.
    pub fn from_gguf(gguf: &Gguf) -> Result<Self, ModelError> {
        let metadata = gguf.metadata();
        let name = metadata.require_str("general.architecture")?;
        let architecture = Architecture::from_name(name)
            .ok_or_else(|| ModelError::UnknownArchitecture(name.to_owned()))?;
        let settings = Settings {
            prefix: architecture.name(),
            metadata,
        };
        let family = families::read(architecture, &settings)?;
        let embedding = gguf.require_tensor("token_embd.weight")?;
        Self::assemble(architecture, &settings, family, embedding.rows())
    }

    fn assemble(
        architecture: Architecture,
        settings: &Settings<'_>,
        family: Family,
        vocabulary: usize,
    ) -> Result<Self, ModelError> {
        let layers = settings.size("block_count", 1024)?;
        let d_model = settings.size("embedding_length", 1 << 17)?;
        let heads = settings.size("attention.head_count", 1024)?;
        let kv_heads = match settings.optional_size("attention.head_count_kv", 1024)? {
            Some(kv_heads) => kv_heads,
            None => heads,
        };
        if !heads.is_multiple_of(kv_heads) {
            let key = "attention.head_count_kv";
            return Err(settings.refuse(key, kv_heads, "it must divide the number of heads"));
        }
        let head_dim = match settings.optional_size("attention.key_length", 4096)? {
            Some(head_dim) => head_dim,
            None => d_model / heads,
        };
        if !head_dim.is_multiple_of(8) || head_dim == 0 {
            let key = "attention.key_length";
            return Err(settings.refuse(key, head_dim, "heads must be a multiple of 8 wide"));
        }
        let value_dim = settings.optional_size("attention.value_length", 4096)?;
        if let Some(other) = value_dim.filter(|v| *v != head_dim) {
            let key = "attention.value_length";
            return Err(settings.refuse(key, other, "keys and values must be equally wide"));
        }
        let rope_dim = settings
            .optional_size("rope.dimension_count", 4096)?
            .unwrap_or(head_dim);
        if rope_dim > head_dim || !rope_dim.is_multiple_of(2) {
            let key = "rope.dimension_count";
            return Err(settings.refuse(key, rope_dim, "it must be even and within a head"));
        }
        let norm_eps = settings.positive_f32("attention.layer_norm_rms_epsilon")?;
        let attention = (0..layers).map(&family.attention).collect();
        let score_width = family.score_width.unwrap_or(head_dim);
        let embedding_scale = if family.scaled_embeddings {
            (d_model as f32).sqrt()
        } else {
            1.0
        };
        Ok(Self {
            architecture,
            name: settings.metadata.text("general.name"),
            layers,
            d_model,
            d_ff: settings.size("feed_forward_length", 1 << 20)?,
            heads,
            kv_heads,
            head_dim,
            rope_dim,
            vocabulary,
            context: settings.size("context_length", 1 << 30)?,
            norm_eps,
            activation: family.activation,
            rope_pairs: family.rope_pairs,
            ropes: family.ropes,
            attention,
            attention_scale: 1.0 / (score_width as f32).sqrt(),
            embedding_scale,
            qkv_bias: family.qkv_bias,
            qk_norm: family.qk_norm,
            post_norms: family.post_norms,
        })
    }

    /// Bytes of the KV cache of `layers` layers for `context` positions.
    pub fn kv_bytes(&self, layers: usize, context: usize) -> u64 {
        let shape = self.cache_shape(context);
        2 * 2 * shape.elements() as u64 * layers as u64
    }

    pub(crate) fn cache_shape(&self, context: usize) -> CacheShape {
        CacheShape {
            kv_heads: self.kv_heads,
            head_dim: self.head_dim,
            capacity: context.next_multiple_of(BLOCK),
        }
    }
}

/// Metadata under an architecture's prefix.
pub(crate) struct Settings<'a> {
    prefix: &'static str,
    metadata: &'a Metadata,
}

impl Settings<'_> {
    fn key(&self, key: &str) -> String {
        format!("{}.{key}", self.prefix)
    }

    pub(crate) fn refuse(
        &self,
        key: &str,
        value: impl fmt::Display,
        problem: &'static str,
    ) -> ModelError {
        ModelError::Setting {
            key: self.key(key),
            value: value.to_string(),
            problem,
        }
    }

    /// A size from 1 to `limit`.
    pub(crate) fn size(&self, key: &str, limit: usize) -> Result<usize, ModelError> {
        let value = self.metadata.require_u32(&self.key(key))?;
        self.check(key, value, limit)
    }

    pub(crate) fn optional_size(
        &self,
        key: &str,
        limit: usize,
    ) -> Result<Option<usize>, ModelError> {
        let value = self.metadata.u32(&self.key(key))?;
        value.map(|value| self.check(key, value, limit)).transpose()
    }

    fn check(&self, key: &str, value: u32, limit: usize) -> Result<usize, ModelError> {
        let size = value as usize;
        if size == 0 || size > limit {
            return Err(self.refuse(key, value, "out of range"));
        }
        Ok(size)
    }

    pub(crate) fn f32(&self, key: &str) -> Result<Option<f32>, ModelError> {
        let value = self.metadata.f32(&self.key(key))?;
        match value.filter(|value| !value.is_finite()) {
            Some(value) => Err(self.refuse(key, value, "it must be a finite number")),
            None => Ok(value),
        }
    }

    fn positive_f32(&self, key: &str) -> Result<f32, ModelError> {
        let value = self.metadata.require_f32(&self.key(key))?;
        if !(value > 0.0 && value.is_finite()) {
            return Err(self.refuse(key, value, "it must be a positive, finite number"));
        }
        Ok(value)
    }

    /// The rotary embedding that applies to all layers unless the family says otherwise.
    pub(crate) fn rope(&self) -> Result<RopeConfig, ModelError> {
        let base = self.f32("rope.freq_base")?.unwrap_or(10_000.0);
        if !(base > 0.0 && base.is_finite()) {
            let problem = "it must be a positive, finite number";
            return Err(self.refuse("rope.freq_base", base, problem));
        }
        let scaling = self.metadata.str(&self.key("rope.scaling.type"))?;
        let linear_factor = match scaling {
            None | Some("none" | "llama3") => 1.0,
            Some("linear") => self.positive_f32("rope.scaling.factor")?,
            Some(other) => {
                let problem = "this build knows linear and llama3 scaling";
                return Err(self.refuse("rope.scaling.type", other, problem));
            }
        };
        Ok(RopeConfig {
            base,
            linear_factor,
            file_factors: true,
        })
    }
}
