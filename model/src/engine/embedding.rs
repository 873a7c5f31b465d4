//! Text embeddings: one vector per text.

use super::{Engine, PREFILL_CHUNK, Part, Wants};
use crate::ModelError;
use crate::tokenizer::TokenId;

/// Mean of hidden states, normalised to length 1: `m / ‖m‖` with `m = Σ states / count`.
///
/// States are added one by one in 64 bits, so the result does not depend on how they were batched.
#[derive(Debug, Clone, Default)]
pub struct MeanPool {
    sums: Vec<f64>,
    count: usize,
}

impl MeanPool {
    /// Adds a state. All states must have the same length.
    pub fn add(&mut self, state: &[f32]) {
        self.sums.resize(state.len(), 0.0);
        self.count += 1;
        for (sum, &x) in self.sums.iter_mut().zip(state) {
            *sum += f64::from(x);
        }
    }

    /// The normalised mean; zeros if the mean is zero, empty if no state was added.
    pub fn finish(self) -> Vec<f32> {
        let count = self.count as f64;
        let mean = self.sums.into_iter().map(|sum| sum / count);
        let mean: Vec<f64> = mean.collect();
        let squares: f64 = mean.iter().map(|x| x * x).sum();
        let norm = if squares > 0.0 { squares.sqrt() } else { 1.0 };
        mean.into_iter().map(|x| (x / norm) as f32).collect()
    }
}

impl Engine {
    /// The [`MeanPool`] of the final norm of the tokens' hidden states: `[d_model]`.
    ///
    /// # Errors
    /// `tokens` is empty, has an id beyond the vocabulary, or exceeds the model's limit; or there
    /// is not enough memory.
    pub fn embed(&self, tokens: &[TokenId]) -> Result<Vec<f32>, ModelError> {
        let mut session = self.session(tokens.len().max(1))?;
        self.check(&session, tokens)?;
        let mut pool = MeanPool::default();
        let mut failed = None;
        for chunk in tokens.chunks(PREFILL_CHUNK) {
            let mut part = Part::reading(&mut session, chunk);
            part.wants = Wants::States;
            self.step(&mut [part], &mut |_part, state| match state {
                Ok(state) => pool.add(state),
                Err(error) => failed = Some(error),
            })?;
            if let Some(error) = failed {
                return Err(error);
            }
        }
        Ok(pool.finish())
    }
}
