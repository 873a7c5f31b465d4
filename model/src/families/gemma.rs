//! Gemma 3 (arXiv:2503.19786): five layers with a sliding window, then one that sees all.

use super::Family;
use crate::ModelError;
use crate::config::{Activation, LayerAttention, RopeConfig, RopePairs, Settings};

/// Every sixth layer attends globally.
const PERIOD: usize = 6;
/// Layers of the 27B model, whose scores are scaled by `1/√(d_model / heads)` in place of
/// `1/√head_dim` (`query_pre_attn_scalar` of its published configuration; GGUF has no key for it).
const LAYERS_OF_27B: usize = 62;
/// Base of the rotary embedding of the layers with a window.
const LOCAL_BASE: f32 = 10_000.0;

pub(super) fn read(settings: &Settings<'_>) -> Result<Family, ModelError> {
    let window = settings.size("attention.sliding_window", 1 << 30)?;
    let local = RopeConfig {
        base: settings.f32("rope.freq_base_swa")?.unwrap_or(LOCAL_BASE),
        linear_factor: 1.0,
        file_factors: false,
    };
    let score_width = if settings.size("block_count", 1024)? == LAYERS_OF_27B {
        let heads = settings.size("attention.head_count", 1024)?;
        Some((settings.size("embedding_length", 1 << 17)? / heads).max(1))
    } else {
        None
    };
    Ok(Family {
        activation: Activation::GeluTanh,
        ropes: vec![settings.rope()?, local.clone()],
        attention: Box::new(move |layer| {
            if (layer + 1).is_multiple_of(PERIOD) {
                LayerAttention {
                    window: None,
                    rope: 0,
                }
            } else {
                LayerAttention {
                    window: Some(window),
                    rope: 1,
                }
            }
        }),
        score_width,
        scaled_embeddings: true,
        qk_norm: true,
        post_norms: true,
        ..Family::plain(RopePairs::Halves, local)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ModelConfig;
    use crate::gguf::Gguf;
    use crate::gguf::synth::SynthSpec;

    #[test]
    fn scores_are_scaled_by_the_head_but_by_the_share_of_a_head_in_27b() {
        let mut spec = SynthSpec::preset("tiny-gemma3").expect("a preset");
        let scale = |spec: &SynthSpec| {
            let gguf = Gguf::parse(spec.to_bytes().expect("a valid spec")).expect("a valid file");
            let config = ModelConfig::from_gguf(&gguf).expect("valid settings");
            config.attention_scale
        };
        spec.head_dim = 2 * spec.d_model / spec.heads;
        assert_eq!(scale(&spec), 1.0 / (spec.head_dim as f32).sqrt());
        spec.layers = LAYERS_OF_27B as u32;
        assert_eq!(scale(&spec), 1.0 / (spec.head_dim as f32 / 2.0).sqrt());
    }
}
