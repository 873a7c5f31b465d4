//! The gated feed-forward layer (Shazeer 2020, arXiv:2002.05202).

use burn::module::Module;
use burn::tensor::Tensor;

use super::{Source, StoredMatrix};
use crate::config::{Activation, Architecture};
use crate::ops::Normed;
use crate::{ModelConfig, ModelError};

/// `y = (act(x · gateᵀ) ⊙ (x · upᵀ)) · downᵀ`, where each map has an optional scale and bias.
#[derive(Module, Debug)]
pub(crate) struct FeedForward {
    gate: StoredMatrix,
    up: StoredMatrix,
    down: StoredMatrix,
    #[module(skip)]
    activation: Activation,
}

impl FeedForward {
    pub(crate) fn load(config: &ModelConfig, source: &Source<'_, '_>) -> Result<Self, ModelError> {
        let (d_model, d_ff) = (config.d_model, config.d_ff);
        let map = |name, rows, columns| {
            let map = source.linear(name, rows, columns)?;
            if map.storage.scale.is_some() {
                check_scale(config, name, map.storage.bias.is_some())?;
            }
            Ok::<_, ModelError>(map)
        };
        Ok(Self {
            gate: map("ffn_gate", d_ff, d_model)?,
            up: map("ffn_up", d_ff, d_model)?,
            down: map("ffn_down", d_model, d_ff)?,
            activation: config.activation,
        })
    }

    /// The maps gate, up and down.
    pub(crate) fn of(config: &ModelConfig, maps: [StoredMatrix; 3]) -> Self {
        let [gate, up, down] = maps;
        Self {
            gate,
            up,
            down,
            activation: config.activation,
        }
    }

    /// Returns the hidden states and the output to add to them.
    ///
    /// # Shapes
    /// Both `[positions, d_model]`.
    pub(crate) fn forward(&self, normed: Normed<'_>) -> (Tensor<2>, Tensor<2>) {
        let weights = [self.gate.parts(), self.up.parts(), self.down.parts()];
        normed.feed_forward(weights, self.activation)
    }

    pub(crate) fn matrices(&self) -> [&StoredMatrix; 3] {
        [&self.gate, &self.up, &self.down]
    }

    pub(crate) fn matrices_mut(&mut self) -> [&mut StoredMatrix; 3] {
        [&mut self.gate, &mut self.up, &mut self.down]
    }
}

/// Checks that the scale of a feed-forward map is unambiguous. llama.cpp applies it after the bias
/// here, before the bias elsewhere, and ignores it in two architectures; we refuse to guess.
fn check_scale(config: &ModelConfig, name: &str, has_bias: bool) -> Result<(), ModelError> {
    let problem = if has_bias {
        "a scale together with a bias has no settled meaning here"
    } else if matches!(
        config.architecture,
        Architecture::Qwen2 | Architecture::Gemma3
    ) {
        "scales of the feed-forward part have no settled meaning in this architecture"
    } else {
        return Ok(());
    };
    Err(ModelError::Setting {
        key: format!("{name}.scale"),
        value: "given".to_owned(),
        problem,
    })
}
