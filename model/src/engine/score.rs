//! Scoring: the probability of a given text.

use super::{Engine, Session};
use crate::ModelError;
use crate::sampler::{logprob_of, top_logprobs};
use crate::tokenizer::TokenId;

/// Natural log-probabilities of a text's tokens.
#[derive(Debug, Clone, PartialEq)]
pub struct Score {
    /// One for each token from the second on, given the tokens before it.
    pub logprobs: Vec<f32>,
    /// For every position, the most likely next tokens with their log-probabilities, best first.
    pub top: Vec<Vec<(TokenId, f32)>>,
}

impl Score {
    /// Mean negative log-likelihood per token, in nats; 0 for a single token.
    pub fn mean_nll(&self) -> f64 {
        if self.logprobs.is_empty() {
            return 0.0;
        }
        let sum: f64 = self.logprobs.iter().map(|&p| f64::from(p)).sum();
        -sum / self.logprobs.len() as f64
    }
}

impl Engine {
    /// Computes the probability of each token of `ids` in a session, and the `top` most likely
    /// tokens at every position. `progress` is called with the number of positions done.
    ///
    /// # Errors
    /// Same as [`Engine::prefill`].
    pub fn score(
        &self,
        session: &mut Session,
        ids: &[TokenId],
        top: usize,
        progress: &mut dyn FnMut(usize),
    ) -> Result<Score, ModelError> {
        let mut score = Score {
            logprobs: Vec::with_capacity(ids.len().saturating_sub(1)),
            top: Vec::new(),
        };
        self.evaluate(session, ids, &mut |at, logits| {
            if let Some(&next) = ids.get(at + 1) {
                score.logprobs.push(logprob_of(logits, next)?);
            }
            if top > 0 {
                score.top.push(top_logprobs(logits, top)?);
            }
            progress(at + 1);
            Ok(())
        })?;
        Ok(score)
    }
}
