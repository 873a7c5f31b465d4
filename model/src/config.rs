//! What a model is: sizes, attention pattern and activations, from a GGUF file's metadata.
//!
//! A [`ModelConfig`] is consistent once made; nothing downstream checks it again.

pub use crate::Architecture;
use crate::ModelError;
use crate::families::{self, Family};
use crate::gguf::{Array, Gguf};
use crate::kernels::cache::{BLOCK, CacheShape};
pub use crate::kernels::gate::Activation;
pub use crate::kernels::rope::RopePairs;
use crate::settings::Settings;
pub use crate::settings::UnusedSetting;

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
        let settings = Settings::new(architecture.name(), metadata);
        refuse_experts(gguf, &settings)?;
        let family = families::read(architecture, &settings)?;
        let vocabulary = vocabulary(gguf)?;
        let mut config = Self::assemble(architecture, &settings, family, vocabulary)?;
        config.unused_settings = settings.unused(&config)?;
        Ok(config)
    }

    fn assemble(
        architecture: Architecture,
        settings: &Settings<'_>,
        family: Family,
        vocabulary: usize,
    ) -> Result<Self, ModelError> {
        let layers = settings.size("block_count", MOST_LAYERS)?;
        let d_model = settings.size("embedding_length", 1 << 17)?;
        let Heads {
            heads,
            kv_heads,
            head_dim,
            rope_dim,
        } = Heads::read(settings, d_model)?;
        let norm_eps = settings.require_positive_f32("attention.layer_norm_rms_epsilon")?;
        let attention = (0..layers).map(&family.attention).collect();
        let score_width = family.score_width.unwrap_or(head_dim);
        let embedding_scale = if family.scaled_embeddings {
            (d_model as f32).sqrt()
        } else {
            1.0
        };
        Ok(Self {
            architecture,
            name: settings.metadata().text("general.name"),
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
            qk_norm: family.qk_norm,
            post_norms: family.post_norms,
            logit_cap: family.logit_cap,
            unused_settings: Vec::new(),
        })
    }

    /// Bytes of the KV cache of `layers` layers for `context` positions.
    pub fn kv_bytes(&self, layers: usize, context: usize) -> u64 {
        let shape = self.cache_shape(context);
        2 * 2 * shape.elements() as u64 * layers as u64
    }

    /// Bytes of a key and a value of all heads of a layer, as the KV cache has them.
    pub fn kv_bytes_per_position(&self) -> u64 {
        2 * 2 * (self.kv_heads * CacheShape::padded(self.head_dim)) as u64
    }

    pub(crate) fn cache_shape(&self, context: usize) -> CacheShape {
        CacheShape {
            kv_heads: self.kv_heads,
            head_dim: CacheShape::padded(self.head_dim),
            capacity: context.next_multiple_of(BLOCK),
        }
    }
}

/// The sizes of attention.
struct Heads {
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    rope_dim: usize,
}

impl Heads {
    fn read(settings: &Settings<'_>, d_model: usize) -> Result<Self, ModelError> {
        let heads = settings.size("attention.head_count", 1024)?;
        let kv_heads = settings
            .optional_size("attention.head_count_kv", 1024)?
            .unwrap_or(heads);
        if !heads.is_multiple_of(kv_heads) {
            let key = "attention.head_count_kv";
            return Err(settings.refuse(key, kv_heads, "it must divide the number of heads"));
        }
        let head_dim = settings
            .optional_size("attention.key_length", 4096)?
            .unwrap_or((d_model / heads).max(1));
        // Where a file gives only the keys' width, the shape of its tensors tells.
        let value_dim = settings
            .optional_size("attention.value_length", 4096)?
            .unwrap_or(head_dim);
        if value_dim != head_dim {
            let key = "attention.value_length";
            return Err(settings.refuse(key, value_dim, "keys and values must be equally wide"));
        }
        let rope_dim = settings
            .optional_size("rope.dimension_count", 4096)?
            .unwrap_or(head_dim);
        if rope_dim > head_dim || !rope_dim.is_multiple_of(2) {
            let key = "rope.dimension_count";
            return Err(settings.refuse(key, rope_dim, "it must be even and within a head"));
        }
        Ok(Self {
            heads,
            kv_heads,
            head_dim,
            rope_dim,
        })
    }
}

/// The file's tokens, each with a row of the embedding; its rows where it brings no tokenizer.
fn vocabulary(gguf: &Gguf) -> Result<usize, ModelError> {
    let rows = gguf.require_tensor("token_embd.weight")?.rows();
    let tokens = gguf.metadata().array("tokenizer.ggml.tokens")?;
    match tokens.map(Array::len).filter(|tokens| *tokens > 0) {
        Some(tokens) if tokens > rows => Err(ModelError::TokensWithoutRows { tokens, rows }),
        Some(tokens) => Ok(tokens),
        None => Ok(rows),
    }
}

/// Says what a mixture of experts is, which an architecture's name does not tell.
fn refuse_experts(gguf: &Gguf, settings: &Settings<'_>) -> Result<(), ModelError> {
    let counted = settings
        .metadata()
        .iter()
        .find(|(key, value)| {
            key.ends_with(".expert_count") && value.as_integer().is_none_or(|count| count > 0)
        })
        .map(|(key, value)| format!("{key} is {value}"));
    let tensor = || {
        let mut tensors = gguf.tensors().iter();
        let expert = tensors.find(|t| t.name.contains("_exps.") || t.name.contains("ffn_gate_inp"));
        expert.map(|tensor| format!("it has a tensor {}", tensor.name))
    };
    match counted.or_else(tensor) {
        Some(sign) => Err(ModelError::MixtureOfExperts { sign }),
        None => Ok(()),
    }
}
