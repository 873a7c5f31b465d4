//! Shapes of released models, and tiny ones for tests.

use super::spec::{Architecture, Matrix, RopeScaling, SynthSpec, TypeMix};
use crate::TensorType;

/// The names that [`SynthSpec::preset`] knows.
pub const PRESETS: [&str; 13] = [
    "tiny",
    "tiny-qwen2",
    "tiny-qwen3",
    "tiny-gemma3",
    "smollm2-135m",
    "smollm2-360m",
    "llama-3.2-1b",
    "llama-3.2-3b",
    "llama-3.1-8b",
    "qwen2.5-0.5b",
    "qwen3-0.6b",
    "gemma-3-270m",
    "gemma-3-1b",
];

impl SynthSpec {
    /// The shape of a released model, from its published configuration, in types as common files
    /// of it have them; or a tiny model of an architecture. See [`PRESETS`].
    pub fn preset(name: &str) -> Option<Self> {
        Some(match name {
            "tiny" => tiny(Architecture::Llama),
            "tiny-qwen2" => tiny(Architecture::Qwen2),
            "tiny-qwen3" => tiny(Architecture::Qwen3),
            "tiny-gemma3" => tiny(Architecture::Gemma3),
            "smollm2-135m" => smollm2(name, 30, 576, 9, 3),
            "smollm2-360m" => smollm2(name, 32, 960, 15, 5),
            "llama-3.2-1b" => llama3(name, Shape::new(16, 2048, 32, 8, 64, 8192), 32.0, true),
            "llama-3.2-3b" => llama3(name, Shape::new(28, 3072, 24, 8, 128, 8192), 32.0, true),
            "llama-3.1-8b" => llama3(name, Shape::new(32, 4096, 32, 8, 128, 14336), 8.0, false),
            "qwen2.5-0.5b" => qwen2_5(name),
            "qwen3-0.6b" => qwen3(name),
            "gemma-3-270m" => gemma3(name, Shape::new(18, 640, 4, 1, 256, 2048)),
            "gemma-3-1b" => gemma3(name, Shape::new(26, 1152, 4, 1, 256, 6912)),
            _ => return None,
        })
    }
}

/// What differs between the sizes of one family.
struct Shape {
    layers: u32,
    d_model: u32,
    heads: u32,
    kv_heads: u32,
    head_dim: u32,
    d_ff: u32,
}

impl Shape {
    const fn new(
        layers: u32,
        d_model: u32,
        heads: u32,
        kv_heads: u32,
        head_dim: u32,
        d_ff: u32,
    ) -> Self {
        Self {
            layers,
            d_model,
            heads,
            kv_heads,
            head_dim,
            d_ff,
        }
    }

    /// A tied model of this shape without scaling or windows.
    fn spec(self, name: &str, architecture: Architecture, types: TypeMix) -> SynthSpec {
        SynthSpec {
            name: name.into(),
            architecture,
            layers: self.layers,
            d_model: self.d_model,
            heads: self.heads,
            kv_heads: self.kv_heads,
            head_dim: self.head_dim,
            d_ff: self.d_ff,
            vocabulary: 512,
            context: 2048,
            types,
            tied: true,
            seed: 0,
            rope_base: 10_000.0,
            rope_scaling: RopeScaling::None,
            sliding_window: None,
        }
    }
}

/// A megabyte of model, with rows that are whole blocks of every type.
fn tiny(architecture: Architecture) -> SynthSpec {
    let name = format!("tiny-{}", architecture.name());
    let types = TypeMix::uniform(TensorType::Q4_1).with(Matrix::Embedding, TensorType::Q8_0);
    let shape = Shape::new(3, 256, 8, 4, 32, 512);
    let gemma = architecture == Architecture::Gemma3;
    SynthSpec {
        sliding_window: gemma.then_some(16),
        // The first five layers of six are local: enough to have a global one.
        layers: if gemma { 6 } else { shape.layers },
        ..shape.spec(&name, architecture, types)
    }
}

fn smollm2(name: &str, layers: u32, d_model: u32, heads: u32, kv_heads: u32) -> SynthSpec {
    let types = TypeMix::uniform(TensorType::Q4_1).with(Matrix::Embedding, TensorType::Q8_0);
    let d_ff = d_model * 8 / 3;
    let shape = Shape::new(layers, d_model, heads, kv_heads, 64, d_ff);
    SynthSpec {
        vocabulary: 49_152,
        context: 8192,
        rope_base: 100_000.0,
        ..shape.spec(name, Architecture::Llama, types)
    }
}

fn llama3(name: &str, shape: Shape, factor: f32, tied: bool) -> SynthSpec {
    let types = TypeMix::uniform(TensorType::Q4_K).with(Matrix::Embedding, TensorType::Q6_K);
    SynthSpec {
        vocabulary: 128_256,
        context: 131_072,
        tied,
        rope_base: 500_000.0,
        rope_scaling: RopeScaling::Llama3 {
            factor,
            low_frequency: 1.0,
            high_frequency: 4.0,
            original_context: 8192,
        },
        ..shape.spec(name, Architecture::Llama, types)
    }
}

fn qwen2_5(name: &str) -> SynthSpec {
    // Rows of 896 are not whole blocks of 256.
    let types = TypeMix::uniform(TensorType::Q5_0)
        .with(Matrix::Embedding, TensorType::Q8_0)
        .with(Matrix::FfnDown, TensorType::Q4_K);
    SynthSpec {
        vocabulary: 151_936,
        context: 32_768,
        rope_base: 1_000_000.0,
        ..Shape::new(24, 896, 14, 2, 64, 4864).spec(name, Architecture::Qwen2, types)
    }
}

fn qwen3(name: &str) -> SynthSpec {
    let types = TypeMix::uniform(TensorType::Q4_K).with(Matrix::Embedding, TensorType::Q6_K);
    SynthSpec {
        vocabulary: 151_936,
        context: 40_960,
        rope_base: 1_000_000.0,
        ..Shape::new(28, 1024, 16, 8, 128, 3072).spec(name, Architecture::Qwen3, types)
    }
}

fn gemma3(name: &str, shape: Shape) -> SynthSpec {
    // Rows of 640 and 1152 are not whole blocks of 256.
    let types = TypeMix::uniform(TensorType::Q5_0)
        .with(Matrix::Embedding, TensorType::Q8_0)
        .with(Matrix::AttnV, TensorType::Q8_0)
        .with(Matrix::AttnOutput, TensorType::Q4_K)
        .with(Matrix::FfnDown, TensorType::Q6_K);
    SynthSpec {
        vocabulary: 262_144,
        context: 32_768,
        rope_base: 1_000_000.0,
        sliding_window: Some(512),
        ..shape.spec(name, Architecture::Gemma3, types)
    }
}
