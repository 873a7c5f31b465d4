//! Which tensors a synthetic model has.

use super::spec::{Architecture, Matrix, RopeScaling, SynthSpec};
use super::weights::Spread;
use crate::TensorType;

/// A tensor to write.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tensor {
    pub(super) name: String,
    /// Innermost first.
    pub(super) dimensions: Vec<u64>,
    pub(super) tensor_type: TensorType,
    pub(super) content: Content,
}

/// What a tensor is filled with.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Content {
    Random(Spread),
    /// F32 numbers that are not random.
    Numbers(Vec<f32>),
}

/// Norms multiply; random ones stay near 1.
const NORM: Spread = Spread {
    mean: 1.0,
    deviation: 0.1,
};
const BIAS: Spread = Spread {
    mean: 0.0,
    deviation: 0.1,
};

/// Every tensor of the model, in the order of the file.
pub(super) fn tensors(spec: &SynthSpec) -> Vec<Tensor> {
    let d_model = u64::from(spec.d_model);
    let vocabulary = u64::from(spec.vocabulary);
    let mut tensors = Vec::new();
    if let Some(divisors) = rope_divisors(spec) {
        tensors.push(Tensor {
            name: "rope_freqs.weight".into(),
            dimensions: vec![divisors.len() as u64],
            tensor_type: TensorType::F32,
            content: Content::Numbers(divisors),
        });
    }
    let head = Spread {
        mean: 0.0,
        // Logits are then of deviation 2: neither flat nor decided.
        deviation: 2.0 / f32::sqrt(spec.d_model as f32),
    };
    let embedding = match spec.architecture {
        // These multiply embeddings by sqrt(d_model): smaller ones, so that the layers' outputs,
        // normed to 1, weigh more than the token that came in.
        Architecture::Gemma3 => Spread {
            deviation: head.deviation / 4.0,
            ..head
        },
        Architecture::Llama | Architecture::Qwen2 | Architecture::Qwen3 => head,
    };
    let mut wide = |name: &str, spread| {
        tensors.push(Tensor {
            name: name.into(),
            dimensions: vec![d_model, vocabulary],
            tensor_type: spec.types.of(Matrix::Embedding),
            content: Content::Random(spread),
        });
    };
    wide("token_embd.weight", embedding);
    if !spec.tied {
        wide("output.weight", head);
    }
    for layer in 0..spec.layers {
        push_layer(spec, layer, &mut tensors);
    }
    tensors.push(vector("output_norm.weight".into(), d_model, NORM));
    tensors
}

fn push_layer(spec: &SynthSpec, layer: u32, tensors: &mut Vec<Tensor>) {
    let d_model = u64::from(spec.d_model);
    let d_ff = u64::from(spec.d_ff);
    let head_dim = u64::from(spec.head_dim);
    let queries = u64::from(spec.heads) * head_dim;
    let keys = u64::from(spec.kv_heads) * head_dim;
    let architecture = spec.architecture;

    let name = |part: &str| format!("blk.{layer}.{part}");
    let norm = |part: &str, length| vector(name(&format!("{part}.weight")), length, NORM);
    let matrix = |kind: Matrix, columns: u64, rows: u64| Tensor {
        name: name(&format!("{}.weight", kind.name())),
        dimensions: vec![columns, rows],
        tensor_type: spec.types.of(kind),
        content: Content::Random(Spread {
            mean: 0.0,
            // Keeps the deviation of what it multiplies.
            deviation: 1.0 / f32::sqrt(columns as f32),
        }),
    };

    tensors.push(norm("attn_norm", d_model));
    tensors.push(matrix(Matrix::AttnQ, d_model, queries));
    tensors.push(matrix(Matrix::AttnK, d_model, keys));
    tensors.push(matrix(Matrix::AttnV, d_model, keys));
    tensors.push(matrix(Matrix::AttnOutput, queries, d_model));
    if architecture == Architecture::Qwen2 {
        tensors.push(vector(name("attn_q.bias"), queries, BIAS));
        tensors.push(vector(name("attn_k.bias"), keys, BIAS));
        tensors.push(vector(name("attn_v.bias"), keys, BIAS));
    }
    if matches!(architecture, Architecture::Qwen3 | Architecture::Gemma3) {
        tensors.push(norm("attn_q_norm", head_dim));
        tensors.push(norm("attn_k_norm", head_dim));
    }
    if architecture == Architecture::Gemma3 {
        tensors.push(norm("post_attention_norm", d_model));
    }
    tensors.push(norm("ffn_norm", d_model));
    tensors.push(matrix(Matrix::FfnGate, d_model, d_ff));
    tensors.push(matrix(Matrix::FfnUp, d_model, d_ff));
    tensors.push(matrix(Matrix::FfnDown, d_ff, d_model));
    if architecture == Architecture::Gemma3 {
        tensors.push(norm("post_ffw_norm", d_model));
    }
}

fn vector(name: String, length: u64, spread: Spread) -> Tensor {
    Tensor {
        name,
        dimensions: vec![length],
        tensor_type: TensorType::F32,
        content: Content::Random(spread),
    }
}

/// What Llama 3.1 divides each pair's rotary frequency by: 1 for those that turn more than
/// `high_frequency` times in the original context, `factor` for those that turn less than
/// `low_frequency` times, and between them, with `s` from 0 to 1 between the two bounds,
/// `1 / ((1 − s) / factor + s)`.
fn rope_divisors(spec: &SynthSpec) -> Option<Vec<f32>> {
    let RopeScaling::Llama3 {
        factor,
        low_frequency,
        high_frequency,
        original_context,
    } = spec.rope_scaling
    else {
        return None;
    };
    let [factor, low, high] = [factor, low_frequency, high_frequency].map(f64::from);
    let head_dim = f64::from(spec.head_dim);
    let pairs = 0..spec.head_dim / 2;
    let divisor = |pair: u32| {
        let exponent = -2.0 * f64::from(pair) / head_dim;
        let frequency = libm::pow(f64::from(spec.rope_base), exponent);
        let turns = f64::from(original_context) * frequency / std::f64::consts::TAU;
        if turns > high {
            1.0
        } else if turns < low {
            factor
        } else {
            let s = (turns - low) / (high - low);
            1.0 / ((1.0 - s) / factor + s)
        }
    };
    Some(pairs.map(|pair| divisor(pair) as f32).collect())
}
