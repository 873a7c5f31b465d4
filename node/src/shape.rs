//! A model in the numbers that placing its layers depends on.

use std::collections::BTreeMap;

use potluck_model::gguf::{Gguf, GgufError, TensorInfo};
use potluck_model::{ModelConfig, TensorType};
use potluck_protocol::placement::{LayerShape, MOST_LAYERS, ModelShape, Weights};
use potluck_protocol::profile::Quantisation;

use crate::parts::Part;

/// A model that cannot be placed.
#[derive(Debug, thiserror::Error)]
pub enum ShapeError {
    /// More layers than the protocol counts.
    #[error("the model has {layers} layers: devices share models of up to {MOST_LAYERS}")]
    TooManyLayers {
        /// Its layers.
        layers: usize,
    },
    /// Wider than the protocol counts.
    #[error("the model's hidden states have {d_model} values, more than can travel")]
    TooWide {
        /// Its hidden states' values.
        d_model: usize,
    },
    /// A tensor that every model has is missing.
    #[error(transparent)]
    File(#[from] GgufError),
}

/// The numbers of the model in `gguf`, whose settings are `config`.
///
/// A layer's weights are all tensors of its name, norms and biases included, by storage type;
/// multiply-adds are the elements of its matrices. Keys and values are f16. The few bytes that every
/// device needs whatever its layers are (`rope_freqs.weight`) are not counted.
///
/// # Errors
/// [`ShapeError`].
pub fn model_shape(gguf: &Gguf, config: &ModelConfig) -> Result<ModelShape, ShapeError> {
    if config.layers > MOST_LAYERS {
        return Err(ShapeError::TooManyLayers {
            layers: config.layers,
        });
    }
    let d_model = u32::try_from(config.d_model).map_err(|_| ShapeError::TooWide {
        d_model: config.d_model,
    })?;
    let mut layers = vec![Tensors::default(); config.layers];
    for tensor in gguf.tensors() {
        if let Part::Layer(layer) = Part::of_tensor(&tensor.name, config.layers) {
            layers[layer].add(tensor);
        }
    }
    let kv_bytes_per_position = config.kv_bytes_per_position();
    let bounded = |positions: usize| u32::try_from(positions).unwrap_or(u32::MAX);
    let layers = layers.iter().zip(&config.attention).enumerate();
    let layers = layers.map(|(layer, (tensors, attention))| LayerShape {
        weights: tensors.weights(),
        multiply_adds: tensors.multiply_adds,
        kv_bytes_per_position,
        window: attention.window.map(bounded),
        most_kv_positions: attention
            .window
            .map(|_| bounded(config.kv_positions(layer, u32::MAX as usize))),
    });
    let embedding = gguf.require_tensor("token_embd.weight")?;
    let output = gguf.tensor("output.weight");
    let mut head = Tensors::default();
    head.add(output.unwrap_or(embedding));
    head.add(gguf.require_tensor("output_norm.weight")?);
    for name in ["output.bias", "output.scale"] {
        if let Some(tensor) = gguf.tensor(name) {
            head.add(tensor);
        }
    }
    Ok(ModelShape {
        layers: layers.collect(),
        d_model,
        embedding_bytes: embedding.bytes as u64,
        embedding_row_bytes: embedding.row_bytes() as u64,
        head: head.weights(),
        head_multiply_adds: head.multiply_adds,
        head_is_embedding: output.is_none(),
    })
}

#[derive(Debug, Clone, Default)]
struct Tensors {
    bytes: BTreeMap<TensorType, u64>,
    multiply_adds: u64,
}

impl Tensors {
    fn add(&mut self, tensor: &TensorInfo) {
        *self.bytes.entry(tensor.tensor_type).or_default() += tensor.bytes as u64;
        let is_matrix = tensor.dimensions.len() > 1;
        if is_matrix {
            self.multiply_adds += tensor.elements() as u64;
        }
    }

    fn weights(&self) -> Vec<Weights> {
        let weights = self.bytes.iter().map(|(&tensor_type, &bytes)| Weights {
            quantisation: quantisation(tensor_type),
            bytes,
        });
        weights.collect()
    }
}

/// The protocol's name of a storage type: its GGUF number.
pub fn quantisation(tensor_type: TensorType) -> Quantisation {
    Quantisation(tensor_type as u32)
}

#[cfg(test)]
mod tests {
    use potluck_model::gguf::synth::SynthSpec;

    use super::*;

    fn shape_of(spec: &SynthSpec) -> (Gguf, ModelConfig, ModelShape) {
        let gguf = Gguf::parse(spec.to_bytes().expect("valid")).expect("valid");
        let config = ModelConfig::from_gguf(&gguf).expect("valid");
        let shape = model_shape(&gguf, &config).expect("valid");
        (gguf, config, shape)
    }

    #[test]
    fn every_byte_of_a_file_is_in_its_shape_once() {
        for preset in ["tiny", "tiny-qwen2", "tiny-qwen3", "tiny-gemma3"] {
            for tied in [true, false] {
                let mut spec = SynthSpec::preset(preset).expect("a preset");
                spec.tied = tied;
                let (gguf, config, shape) = shape_of(&spec);
                let bytes: u64 = gguf.tensors().iter().map(|t| t.bytes as u64).sum();

                assert_eq!(shape.bytes_with_context(0), bytes, "{preset} {tied}");
                assert_eq!(shape.head_is_embedding, tied);
                for context in [128, 1_024, 32_768] {
                    let kv = config.kv_bytes(0..config.layers, context);
                    let placed = shape.bytes_with_context(context as u32);
                    assert_eq!(placed, bytes + kv, "{preset} {context}");
                }
            }
        }
    }

    #[test]
    fn the_numbers_of_a_tiny_model() {
        let spec = SynthSpec::preset("tiny-gemma3").expect("a preset");
        let (_, _, shape) = shape_of(&spec);
        assert_eq!((shape.layers.len(), shape.d_model), (6, 256));
        let windows: Vec<_> = shape.layers.iter().map(|layer| layer.window).collect();
        assert_eq!(
            windows,
            [Some(16), Some(16), Some(16), Some(16), Some(16), None]
        );
        let kept: Vec<_> = shape.layers.iter().map(|l| l.most_kv_positions).collect();
        // 15 positions before a position, 512 to be cut back by, and whole blocks.
        assert_eq!(kept[..5], [Some(640); 5]);
        assert_eq!(kept[5], None);
        let layer = &shape.layers[0];
        // Queries and output, keys and values, feed-forward.
        let matrices = 2 * 256 * 256 + 2 * 256 * 128 + 3 * 256 * 512;
        assert_eq!(layer.multiply_adds, matrices);
        assert_eq!(layer.kv_bytes_per_position, 2 * 2 * 4 * 32);
        // Norms in F32, matrices in Q4_1.
        let norms = 4 * (4 * 256 + 2 * 32);
        let expected = [(0, norms), (3, matrices / 32 * 20)].map(|(number, bytes)| Weights {
            quantisation: Quantisation(number),
            bytes,
        });
        assert_eq!(layer.weights, expected);
        assert_eq!(shape.embedding_row_bytes, 256 / 32 * 34);
        assert_eq!(shape.head_multiply_adds, 512 * 256);
    }

    #[test]
    fn a_model_of_too_many_layers_is_refused_in_words() {
        let mut spec = SynthSpec::preset("tiny").expect("a preset");
        spec.layers = 257;
        (spec.d_model, spec.d_ff, spec.heads, spec.kv_heads) = (32, 32, 1, 1);
        let gguf = Gguf::parse(spec.to_bytes().expect("valid")).expect("valid");
        let config = ModelConfig::from_gguf(&gguf).expect("valid");
        let error = model_shape(&gguf, &config).expect_err("too many");
        assert!(error.to_string().contains("257 layers"));
    }
}
