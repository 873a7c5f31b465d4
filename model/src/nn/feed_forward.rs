//! The gated feed-forward part (Shazeer 2020, arXiv:2002.05202).

use burn::module::Module;
use burn::tensor::Tensor;

use super::{Source, StoredMatrix};
use crate::config::Activation;
use crate::ops::Normed;
use crate::{ModelConfig, ModelError};

/// `y = (act(x · gateᵀ) ⊙ (x · upᵀ)) · downᵀ`.
#[derive(Module, Debug)]
pub(crate) struct FeedForward {
    gate: StoredMatrix,
    up: StoredMatrix,
    down: StoredMatrix,
    #[module(skip)]
    activation: Activation,
}

impl FeedForward {
    pub(crate) fn load(config: &ModelConfig, source: &Source<'_>) -> Result<Self, ModelError> {
        let (d_model, d_ff) = (config.d_model, config.d_ff);
        Ok(Self {
            gate: source.matrix("ffn_gate.weight", d_ff, d_model)?,
            up: source.matrix("ffn_up.weight", d_ff, d_model)?,
            down: source.matrix("ffn_down.weight", d_model, d_ff)?,
            activation: config.activation,
        })
    }

    /// The hidden states, and what is to be added to them.
    ///
    /// # Shapes
    /// `[positions, d_model]` both.
    pub(crate) fn forward(&self, normed: Normed<'_>) -> (Tensor<2>, Tensor<2>) {
        let weights = [self.gate.parts(), self.up.parts(), self.down.parts()];
        normed.feed_forward(weights, self.activation)
    }

    pub(crate) fn matrices(&self) -> [&StoredMatrix; 3] {
        [&self.gate, &self.up, &self.down]
    }
}
