//! One transformer block.

use burn::module::Module;
use burn::tensor::Tensor;

use super::step::{LayerStep, Stream};
use super::{Attention, FeedForward, RmsNorm, Source, StoredMatrix};
use crate::{ModelConfig, ModelError};

/// Norm, attention, norm and feed-forward, each result added to the hidden states.
#[derive(Module, Debug)]
pub(crate) struct Block {
    attention_norm: RmsNorm,
    attention: Attention,
    attention_post_norm: Option<RmsNorm>,
    feed_forward_norm: RmsNorm,
    feed_forward: FeedForward,
    feed_forward_post_norm: Option<RmsNorm>,
}

impl Block {
    pub(crate) fn load(config: &ModelConfig, source: &Source<'_, '_>) -> Result<Self, ModelError> {
        let norm = |name| RmsNorm::load(source, name, config.d_model, config.norm_eps);
        let post_norm = |name| config.post_norms.then(|| norm(name)).transpose();
        Ok(Self {
            attention_norm: norm("attn_norm.weight")?,
            attention: Attention::load(config, source)?,
            attention_post_norm: post_norm("post_attention_norm.weight")?,
            feed_forward_norm: norm("ffn_norm.weight")?,
            feed_forward: FeedForward::load(config, source)?,
            feed_forward_post_norm: post_norm("post_ffw_norm.weight")?,
        })
    }

    /// A block without norms of the outputs.
    pub(crate) fn of(
        attention_norm: RmsNorm,
        attention: Attention,
        feed_forward_norm: RmsNorm,
        feed_forward: FeedForward,
    ) -> Self {
        Self {
            attention_norm,
            attention,
            attention_post_norm: None,
            feed_forward_norm,
            feed_forward,
            feed_forward_post_norm: None,
        }
    }

    pub(crate) fn forward(&self, stream: Stream, step: LayerStep<'_, '_>) -> Stream {
        let compute = step.compute;
        let post = |norm: &Option<RmsNorm>, x: Tensor<2>| match norm {
            Some(norm) => norm.forward(x, compute),
            None => x,
        };
        let (hidden, attended) = self.attention.forward(&self.attention_norm, stream, step);
        let attended = post(&self.attention_post_norm, attended);
        let normed = self.feed_forward_norm.of_sum(hidden, attended, compute);
        let (hidden, fed) = self.feed_forward.forward(normed);
        Stream {
            hidden,
            added: Some(post(&self.feed_forward_post_norm, fed)),
        }
    }

    /// Bytes of weight matrices read per position in decode.
    pub(crate) fn matrix_bytes(&self) -> usize {
        self.matrices().into_iter().map(StoredMatrix::len).sum()
    }

    /// All weight matrices, always in the same order.
    pub(crate) fn matrices(&self) -> Vec<&StoredMatrix> {
        let attention = self.attention.matrices();
        let feed_forward = self.feed_forward.matrices();
        attention.into_iter().chain(feed_forward).collect()
    }

    /// As [`Self::matrices`], to be exchanged.
    pub(crate) fn matrices_mut(&mut self) -> Vec<&mut StoredMatrix> {
        let attention = self.attention.matrices_mut();
        let feed_forward = self.feed_forward.matrices_mut();
        attention.into_iter().chain(feed_forward).collect()
    }
}
