//! Gemma 3 (arXiv:2503.19786): five layers with a sliding window, then one that sees all.

use super::Family;
use crate::ModelError;
use crate::config::{Activation, LayerAttention, MOST_LAYERS, RopeConfig, RopeDivisors, RopePairs};
use crate::gguf::Value;
use crate::settings::Settings;

/// Unless a file says otherwise, every sixth layer attends globally.
const PERIOD: u32 = 6;
/// Layers of the 27B model, whose scores are scaled by `1/√(d_model / heads)` in place of
/// `1/√head_dim` (`query_pre_attn_scalar` of its published configuration; GGUF has no key for it).
const LAYERS_OF_27B: usize = 62;
/// Base of the rotary embedding of the layers with a window.
const LOCAL_BASE: f32 = 10_000.0;

const WINDOW: &str = "attention.sliding_window";
const PATTERN: &str = "attention.sliding_window_pattern";

pub(super) fn read(settings: &Settings<'_>) -> Result<Family, ModelError> {
    let layers = settings.size("block_count", MOST_LAYERS)?;
    let global = settings.rope()?;
    let window = match settings.value(WINDOW).and_then(Value::as_integer) {
        Some(0) => None,
        _ => settings.optional_size(WINDOW, 1 << 30)?,
    };
    let windowed = match window {
        Some(_) => pattern(settings, layers)?,
        None => Pattern::Period(1),
    };
    let local = RopeConfig {
        base: settings
            .positive_f32("rope.freq_base_swa")?
            .unwrap_or(LOCAL_BASE),
        linear_factor: 1.0,
        divisors: RopeDivisors::None,
        yarn: None,
        // llama.cpp applies a factor of its own to all layers, and YaRN's to the global ones.
        amplitude: settings
            .positive_f32("rope.scaling.attn_factor")?
            .unwrap_or(1.0),
    };
    let score_width = if layers == LAYERS_OF_27B {
        let heads = settings.size("attention.head_count", 1024)?;
        Some((settings.size("embedding_length", 1 << 17)? / heads).max(1))
    } else {
        None
    };
    Ok(Family {
        activation: Activation::GeluTanh,
        ropes: vec![global, local.clone()],
        attention: Box::new(move |layer| {
            let window = window.filter(|_| windowed.has(layer));
            LayerAttention {
                window,
                rope: usize::from(window.is_some()),
            }
        }),
        score_width,
        scaled_embeddings: true,
        qk_norm: true,
        post_norms: true,
        logit_cap: settings.f32_above_0("final_logit_softcapping")?,
        ..Family::plain(RopePairs::Halves, local)
    })
}

/// Which layers have a window.
enum Pattern {
    /// All but the last of each so many; all, if that is 0.
    Period(u32),
    /// Those with `true`.
    Layers(Vec<bool>),
}

impl Pattern {
    fn has(&self, layer: usize) -> bool {
        match self {
            Self::Period(0) => true,
            Self::Period(period) => !(layer + 1).is_multiple_of(*period as usize),
            Self::Layers(layers) => layers.get(layer).copied().unwrap_or(false),
        }
    }
}

fn pattern(settings: &Settings<'_>, layers: usize) -> Result<Pattern, ModelError> {
    let refuse = |value: &Value, problem| Err(settings.refuse(PATTERN, value, problem));
    let Some(value) = settings.value(PATTERN) else {
        return Ok(Pattern::Period(PERIOD));
    };
    if let Value::Array(array) = value {
        if array.len() != layers {
            return refuse(value, "a list must have one entry for each layer");
        }
        let flag = |value: Value| match value {
            Value::Bool(windowed) => Some(windowed),
            other => other.as_integer().map(|number| number != 0),
        };
        return match array.values().map(flag).collect() {
            Some(layers) => Ok(Pattern::Layers(layers)),
            None => refuse(value, "it must be a number, or a list of true and false"),
        };
    }
    let period = value.as_integer().and_then(|n| u32::try_from(n).ok());
    match period {
        Some(period) => Ok(Pattern::Period(period)),
        None => refuse(value, "it must be a number, or a list of true and false"),
    }
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
