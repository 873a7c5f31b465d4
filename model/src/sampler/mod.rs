//! Choosing a token: a pure function of seed, position, history and logits.
//!
//! Sampling uses the Gumbel-max trick: the token of the greatest `logit / temperature + noise`,
//! where every token's noise is drawn from the standard Gumbel distribution, has exactly the
//! probability that softmax gives it (E. Gumbel, 1954; C. Maddison, D. Tarlow, T. Minka, "A*
//! sampling", 2014). Noise depends on nothing but seed, position and token, so the token chosen
//! does not depend on how, when or where logits were computed, and drafts, retries and another
//! device choose the same.
//!
//! The result is the same bits on every processor: only exactly rounded operations in a fixed
//! order, an exponential of our own and the logarithms of the pure-Rust `libm`. Ties go to the
//! lower id.
//!
//! A grammar or any other [`Mask`] forbids tokens by setting their logits to −∞ beforehand.

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

/// The token at `position`, the number of tokens before it.
///
/// `history` holds those tokens, which matter to penalties only; `logits` has one for each token of
/// the vocabulary.
///
/// # Errors
/// [`SamplerError::Setting`] for settings out of range, [`SamplerError::NotANumber`] if a logit
/// is NaN or +∞, [`SamplerError::NoCandidate`] if none is above −∞.
pub fn sample(
    settings: &SamplerSettings,
    position: u64,
    history: History<'_>,
    logits: &[f32],
) -> Result<TokenId, SamplerError> {
    settings.validate()?;
    let logits = Penalised::new(settings, history, logits);
    let best = logits.best()?;
    // A temperature whose inverse is not finite leaves the greatest logit only.
    let scale = settings.temperature.recip();
    if !scale.is_finite() {
        return Ok(logits.first_of(best));
    }
    let mut draw = Draw::new(Noise::new(settings.seed, position), best, scale);
    // Most likely to win, so that most others need not be looked at closely.
    draw.consider(Candidate {
        token: logits.first_of(best),
        logit: best,
    });
    let last = candidates::last_considered(settings, &logits, best, scale);
    logits.down_to(last, |candidate| draw.consider(candidate));
    Ok(draw.token)
}

/// The winner so far.
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
