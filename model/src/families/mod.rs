//! The families of models, by their differences from one shared graph.

mod gemma;
mod llama;
mod qwen;
mod read;

use crate::ModelError;
use crate::config::{Activation, Architecture, LayerAttention, RopeConfig, RopePairs};
use crate::settings::Settings;

/// What distinguishes a family.
pub(crate) struct Family {
    pub(crate) activation: Activation,
    pub(crate) rope_pairs: RopePairs,
    pub(crate) ropes: Vec<RopeConfig>,
    /// The attention of a layer, by its index.
    pub(crate) attention: Box<dyn Fn(usize) -> LayerAttention>,
    /// Scores are multiplied with `1/√width`; of a head, unless the family says otherwise.
    pub(crate) score_width: Option<usize>,
    pub(crate) scaled_embeddings: bool,
    pub(crate) qk_norm: bool,
    pub(crate) post_norms: bool,
    pub(crate) logit_cap: Option<f32>,
}

impl Family {
    /// Llama's graph with one rotary embedding: what the others differ from.
    fn plain(rope_pairs: RopePairs, rope: RopeConfig) -> Self {
        Self {
            activation: Activation::Silu,
            rope_pairs,
            ropes: vec![rope],
            attention: Box::new(|_| LayerAttention {
                window: None,
                rope: 0,
            }),
            score_width: None,
            scaled_embeddings: false,
            qk_norm: false,
            post_norms: false,
            logit_cap: None,
        }
    }
}

/// Reads a family's settings.
pub(crate) fn read(
    architecture: Architecture,
    settings: &Settings<'_>,
) -> Result<Family, ModelError> {
    match architecture {
        Architecture::Llama => llama::read(settings),
        Architecture::Qwen2 => qwen::read_2(settings),
        Architecture::Qwen3 => qwen::read_3(settings),
        Architecture::Gemma3 => gemma::read(settings),
    }
}
