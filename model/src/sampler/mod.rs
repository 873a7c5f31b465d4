//! Choosing a token: a pure function of seed, position, history and logits.
//!
//! Sampling uses the Gumbel-max trick: the token with the greatest `logit / temperature + noise`,
//! where every token's noise is drawn from the standard Gumbel distribution, has exactly the
//! probability that softmax assigns to it (E. Gumbel, 1954; C. Maddison, D. Tarlow, T. Minka, "A*
//! sampling", 2014). The noise depends only on seed, position and token, so the choice does not
//! depend on how, when or where the logits were computed. Drafts, retries and other devices choose
//! the same token.
//!
//! The result is bit-identical on every processor: only correctly rounded operations in a fixed
//! order, our own exponential, and the logarithms of the pure-Rust `libm`. Of equal tokens, the
//! lower id wins.
//!
//! A grammar or another [`Mask`] forbids tokens by setting their logits to −∞ beforehand.

mod candidates;
mod history;
mod mask;
mod noise;
mod numbers;
mod score;
mod settings;
#[cfg(test)]
mod tests;

use candidates::{Candidate, Penalised};
pub use history::{Counts, History};
pub use mask::{Mask, MaskError};
use noise::Noise;
pub use score::{logprob_of, top_logprobs};
pub use settings::{LogitBias, SamplerError, SamplerSettings};

use crate::tokenizer::TokenId;

/// Chooses the token at `position`, which is the number of tokens before it.
///
/// `history` holds those tokens; only penalties use it. `logits` has one entry per token of the
/// vocabulary.
///
/// # Errors
/// [`SamplerError::Setting`] for settings out of range, [`SamplerError::NotANumber`] if a logit is
/// NaN or +∞, [`SamplerError::NoCandidate`] if none is above −∞.
pub fn sample(
    settings: &SamplerSettings,
    position: u64,
    history: History<'_>,
    logits: &[f32],
) -> Result<TokenId, SamplerError> {
    settings.validate()?;
    let logits = Penalised::new(settings, history, logits);
    let best = logits.best()?;
    // If the inverse of the temperature is not finite, only the greatest logit remains.
    let scale = settings.temperature.recip();
    if !scale.is_finite() {
        return Ok(logits.first_of(best));
    }
    let mut draw = Draw::new(Noise::new(settings.seed, position), best, scale);
    // Start with the most likely winner, so that most others need no exact computation.
    draw.consider(Candidate {
        token: logits.first_of(best),
        logit: best,
    });
    let last = candidates::last_considered(settings, &logits, best, scale);
    logits.down_to(last, |candidate| draw.consider(candidate));
    Ok(draw.token)
}

/// The best candidate so far.
struct Draw {
    noise: Noise,
    best: f32,
    scale: f32,
    token: TokenId,
    score: f64,
}

impl Draw {
    fn new(noise: Noise, best: f32, scale: f32) -> Self {
        Self {
            noise,
            best,
            scale,
            token: TokenId::MAX,
            score: f64::NEG_INFINITY,
        }
    }

    #[inline]
    fn consider(&mut self, Candidate { token, logit }: Candidate) {
        let scaled = f64::from((logit - self.best) * self.scale);
        if scaled + self.noise.gumbel_bound(token) < self.score {
            return;
        }
        let score = scaled + self.noise.gumbel(token);
        if score > self.score || score == self.score && token < self.token {
            (self.token, self.score) = (token, score);
        }
    }
}
