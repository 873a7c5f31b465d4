//! Log-probabilities, for scoring texts.

use super::candidates::Penalised;
use super::numbers::{exp_sum, greatest};
use super::{History, SamplerError, SamplerSettings};
use crate::tokenizer::TokenId;

/// The natural logarithm of a token's softmax probability; −∞ for a token beyond the vocabulary.
///
/// # Errors
/// [`SamplerError::NotANumber`], [`SamplerError::NoCandidate`].
pub fn logprob_of(logits: &[f32], token: TokenId) -> Result<f32, SamplerError> {
    let total = log_sum_exp(logits)?;
    let logit = logits.get(token as usize);
    Ok(logit.map_or(f32::NEG_INFINITY, |&logit| below(logit, total)))
}

/// The `count` most likely tokens with their natural log-probabilities, best first.
///
/// # Errors
/// [`SamplerError::NotANumber`], [`SamplerError::NoCandidate`].
pub fn top_logprobs(logits: &[f32], count: usize) -> Result<Vec<(TokenId, f32)>, SamplerError> {
    let total = log_sum_exp(logits)?;
    let count = count.min(logits.len());
    if count == 0 {
        return Ok(Vec::new());
    }
    let mut top = Penalised::new(&SamplerSettings::greedy(), History::default(), logits).top(count);
    top.sort_unstable_by(super::candidates::Candidate::compare);
    let logprob = |candidate: super::Candidate| (candidate.token, below(candidate.logit, total));
    Ok(top.into_iter().map(logprob).collect())
}

/// `ln Σ exp(logit)`
fn log_sum_exp(logits: &[f32]) -> Result<f64, SamplerError> {
    let best = greatest(logits).ok_or(SamplerError::NotANumber)?;
    if best == f32::NEG_INFINITY {
        return Err(SamplerError::NoCandidate);
    }
    Ok(f64::from(best) + libm::log(exp_sum(logits, best)))
}

fn below(logit: f32, total: f64) -> f32 {
    (f64::from(logit) - total) as f32
}
