//! Gemma 3 (arXiv:2503.19786): five layers with a sliding window, then one that sees all.

use super::Family;
use crate::ModelError;
use crate::config::{Activation, LayerAttention, RopeConfig, RopePairs, Settings};

/// Every sixth layer attends globally.
const PERIOD: usize = 6;
/// Base of the rotary embedding of the layers with a window.
const LOCAL_BASE: f32 = 10_000.0;

pub(super) fn read(settings: &Settings<'_>) -> Result<Family, ModelError> {
    let window = settings.size("attention.sliding_window", 1 << 30)?;
    let local = RopeConfig {
        base: settings.f32("rope.freq_base_swa")?.unwrap_or(LOCAL_BASE),
        linear_factor: 1.0,
        file_factors: false,
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
        scaled_embeddings: true,
        qk_norm: true,
        post_norms: true,
        ..Family::plain(RopePairs::Halves, local)
    })
}
