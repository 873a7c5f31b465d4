//! A [`ModelConfig`] of a file's settings.

use super::Family;
use crate::config::MOST_LAYERS;
use crate::gguf::{Array, Gguf};
use crate::settings::Settings;
use crate::{Architecture, ModelConfig, ModelError};

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
        let family = super::read(architecture, &settings)?;
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
