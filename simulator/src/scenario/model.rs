//! The numbers of a model that time and memory depend on.

use potluck_protocol::placement::{LayerShape, ModelShape, Weights};
use potluck_protocol::profile::Quantisation;
use serde::{Deserialize, Serialize};

use super::error::ScenarioError;
use crate::quantisation::Format;

/// A model: a name, numbers, or a name with some numbers replaced.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ModelSpec {
    /// One of [`ModelSpec::NAMES`].
    pub name: String,
    /// The format of the layers' matrices.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quantisation: Option<Format>,
    /// The format of the embedding.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub embedding: Option<Format>,
    /// Transformer blocks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layers: Option<u32>,
    /// Values of a hidden state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub d_model: Option<u32>,
    /// Values within the feed-forward part.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub d_ff: Option<u32>,
    /// Heads of queries.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heads: Option<u32>,
    /// Heads of keys and values.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kv_heads: Option<u32>,
    /// Values of a head.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head_dim: Option<u32>,
    /// Tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vocabulary: Option<u32>,
    /// Whether the head's matrix is the embedding.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tied: Option<bool>,
}

impl Default for ModelSpec {
    fn default() -> Self {
        Self {
            name: "smollm2:135m".to_owned(),
            quantisation: None,
            embedding: None,
            layers: None,
            d_model: None,
            d_ff: None,
            heads: None,
            kv_heads: None,
            head_dim: None,
            vocabulary: None,
            tied: None,
        }
    }
}

/// The numbers of a model, all of them.
#[derive(Debug, Clone, Copy)]
struct Numbers {
    layers: u32,
    d_model: u32,
    d_ff: u32,
    heads: u32,
    kv_heads: u32,
    head_dim: u32,
    vocabulary: u32,
    tied: bool,
    quantisation: Format,
    embedding: Format,
    /// The window `.0` of all layers but every `.1`th.
    window: Option<(u32, u32)>,
}

impl Numbers {
    /// Of published configurations: layers, width, feed-forward, heads, heads of keys, of a head,
    /// vocabulary.
    const fn new(numbers: [u32; 7], quantisation: Format, embedding: Format) -> Self {
        let [layers, d_model, d_ff, heads, kv_heads, head_dim, vocabulary] = numbers;
        Self {
            layers,
            d_model,
            d_ff,
            heads,
            kv_heads,
            head_dim,
            vocabulary,
            tied: true,
            quantisation,
            embedding,
            window: None,
        }
    }

    /// Gemma 3: windows of 512 in five layers of six.
    const fn windowed(mut self) -> Self {
        self.window = Some((512, 6));
        self
    }

    const fn untied(mut self) -> Self {
        self.tied = false;
        self
    }
}

impl ModelSpec {
    /// Models that are known by name.
    pub const NAMES: [&str; 9] = [
        "tiny",
        "smollm2:135m",
        "smollm2:360m",
        "gemma3-270m",
        "qwen3-0.6b",
        "llama-3.2-1b",
        "llama-3.2-3b",
        "llama-3.1-8b",
        "gemma3-1b",
    ];

    fn known(&self) -> Option<Numbers> {
        use Format::{Q4_1, Q4_K, Q5_0, Q6_K, Q8_0};
        let new = Numbers::new;
        Some(match self.name.as_str() {
            "tiny" => new([8, 64, 128, 4, 2, 16, 1_000], Q4_1, Q8_0),
            "smollm2:135m" => new([30, 576, 1_536, 9, 3, 64, 49_152], Q4_1, Q8_0),
            "smollm2:360m" => new([32, 960, 2_560, 15, 5, 64, 49_152], Q4_1, Q8_0),
            "gemma3-270m" => new([18, 640, 2_048, 4, 1, 256, 262_144], Q5_0, Q8_0).windowed(),
            "gemma3-1b" => new([26, 1_152, 6_912, 4, 1, 256, 262_144], Q5_0, Q8_0).windowed(),
            "qwen3-0.6b" => new([28, 1_024, 3_072, 16, 8, 128, 151_936], Q6_K, Q6_K),
            "llama-3.2-1b" => new([16, 2_048, 8_192, 32, 8, 64, 128_256], Q4_K, Q6_K),
            "llama-3.2-3b" => new([28, 3_072, 8_192, 24, 8, 128, 128_256], Q4_K, Q6_K),
            "llama-3.1-8b" => new([32, 4_096, 14_336, 32, 8, 128, 128_256], Q4_K, Q6_K).untied(),
            _ => return None,
        })
    }

    fn numbers(&self) -> Option<Numbers> {
        let set = |number: Option<u32>| number.unwrap_or(0);
        let own = || {
            let numbers = [
                set(self.layers),
                set(self.d_model),
                set(self.d_ff),
                set(self.heads),
                set(self.kv_heads),
                set(self.head_dim),
                set(self.vocabulary),
            ];
            let all = numbers.iter().all(|number| *number > 0);
            all.then(|| Numbers::new(numbers, Format::Q4_0, Format::Q8_0))
        };
        let mut numbers = self.known().or_else(own)?;
        let fields = [
            (self.layers, &mut numbers.layers),
            (self.d_model, &mut numbers.d_model),
            (self.d_ff, &mut numbers.d_ff),
            (self.heads, &mut numbers.heads),
            (self.kv_heads, &mut numbers.kv_heads),
            (self.head_dim, &mut numbers.head_dim),
            (self.vocabulary, &mut numbers.vocabulary),
        ];
        for (own, number) in fields {
            *number = own.unwrap_or(*number);
        }
        numbers.tied = self.tied.unwrap_or(numbers.tied);
        numbers.quantisation = self.quantisation.unwrap_or(numbers.quantisation);
        numbers.embedding = self.embedding.unwrap_or(numbers.embedding);
        Some(numbers)
    }

    /// Query heads for each head of keys; 1 for an unknown model.
    pub fn queries(&self) -> f64 {
        self.numbers().map_or(1.0, |numbers| {
            f64::from(numbers.heads) / f64::from(numbers.kv_heads.max(1))
        })
    }

    pub(super) fn check(&self) -> Result<(), ScenarioError> {
        let wrong = |field, words: String| Err(ScenarioError::senseless("model", 0, field, words));
        let Some(numbers) = self.numbers() else {
            let names = Self::NAMES.join(", ");
            let words = format!(
                "{:?} is not known: name one of {names}, or give layers, d_model, d_ff, heads, \
                 kv_heads, head_dim and vocabulary",
                self.name
            );
            return wrong("name", words);
        };
        let most = [
            ("layers", numbers.layers, 1, 256),
            ("d_model", numbers.d_model, 8, 1 << 16),
            ("d_ff", numbers.d_ff, 1, 1 << 20),
            ("heads", numbers.heads, 1, 1 << 10),
            ("kv_heads", numbers.kv_heads, 1, 1 << 10),
            ("head_dim", numbers.head_dim, 1, 1 << 12),
            ("vocabulary", numbers.vocabulary, 1, 1 << 24),
        ];
        for (field, number, least, most) in most {
            if !(least..=most).contains(&number) {
                return wrong(field, format!("from {least} to {most}"));
            }
        }
        Ok(())
    }

    /// The model in the numbers that the protocol places by. They equal those that `potluck` counts of a
    /// file, except for the few bytes of norms: two vectors of 4 bytes a value for each layer.
    ///
    /// # Errors
    /// As [`Scenario::check`](super::Scenario::check).
    pub fn shape(&self) -> Result<ModelShape, ScenarioError> {
        self.check()?;
        let Some(numbers) = self.numbers() else {
            return Err(ScenarioError::senseless(
                "model",
                0,
                "name",
                "not known".into(),
            ));
        };
        let wide = |number: u32| u64::from(number);
        let (width, heads) = (
            wide(numbers.d_model),
            wide(numbers.heads + numbers.kv_heads),
        );
        let of_heads = 2 * width * heads * wide(numbers.head_dim);
        let multiply_adds = of_heads + 3 * width * wide(numbers.d_ff);
        let norms = Weights {
            quantisation: Quantisation(0),
            bytes: 2 * 4 * width,
        };
        let matrices = |format: Format, elements: u64| Weights {
            quantisation: format.number(),
            bytes: format.bytes(elements),
        };
        let layer = |number: u32| {
            let window = numbers.window.and_then(|(window, every)| {
                (!(number + 1).is_multiple_of(every)).then_some(window)
            });
            LayerShape {
                weights: vec![norms, matrices(numbers.quantisation, multiply_adds)],
                multiply_adds,
                kv_bytes_per_position: 4 * wide(numbers.kv_heads) * wide(numbers.head_dim),
                window,
                most_kv_positions: window.map(ring_positions),
            }
        };
        let elements = width * wide(numbers.vocabulary);
        let embedding = numbers.embedding.bytes(elements);
        let row = numbers.embedding.bytes(width);
        let output_norm = Weights {
            quantisation: Quantisation(0),
            bytes: 4 * width,
        };
        Ok(ModelShape {
            layers: (0..numbers.layers).map(layer).collect(),
            d_model: numbers.d_model,
            embedding_bytes: embedding,
            embedding_row_bytes: row,
            head: vec![output_norm, matrices(numbers.embedding, elements)],
            head_multiply_adds: elements,
            head_is_embedding: numbers.tied,
        })
    }
}

/// Positions that `potluck` keeps in a layer with a window: what a position sees, 512 by which a
/// sequence can be cut back, and what whole blocks of 64 take more.
fn ring_positions(window: u32) -> u32 {
    ((window.saturating_sub(1) + 512).div_ceil(64) + 1) * 64
}
