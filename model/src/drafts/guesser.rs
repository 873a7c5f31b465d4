//! A source of guesses that computes for each one.

use std::fmt::Debug;

use crate::sampler::{Counts, History, SamplerError, SamplerSettings, sample};
use crate::tokenizer::TokenId;

/// Guesses the next tokens of one text by computing: a draft head, or a smaller model.
pub(crate) trait Guesser: Debug + Send {
    /// The expected time of a guess, as a share of the model's step with one row.
    fn share(&self) -> f64;

    /// Tells how the tokens from position `from` on are chosen.
    fn chosen_with(&mut self, sampling: &SamplerSettings, from: usize);

    /// Whether [`hear`](Self::hear) has a use for hidden states.
    fn listens(&self) -> bool;

    /// Takes the final norm of the hidden state, `[d_model]`, that the model computed at `position`.
    fn hear(&mut self, position: usize, state: &[f32]);

    /// Forgets what it knows of the positions from `len` on.
    fn truncate(&mut self, len: usize);

    /// Reads a part of what it has not read of a text of known tokens. Returns whether it can guess
    /// now; if not, it may have to be called again, or a guess is impossible.
    fn catch_up(&mut self, known: &[TokenId]) -> bool;

    /// The token after `tokens`, of which those from `known` on are guesses themselves, and the
    /// probability that the source gives it. `None` if it cannot guess.
    fn guess(&mut self, tokens: &[TokenId], known: usize) -> Option<(TokenId, f32)>;
}

/// How the tokens of a text are chosen.
#[derive(Debug)]
pub(crate) struct Choice {
    sampling: SamplerSettings,
    /// The first position that was or will be chosen, not given.
    from: usize,
}

impl Default for Choice {
    fn default() -> Self {
        Self {
            sampling: SamplerSettings::greedy(),
            from: 0,
        }
    }
}

impl Choice {
    pub(crate) fn new(sampling: &SamplerSettings, from: usize) -> Self {
        Self {
            sampling: sampling.clone(),
            from,
        }
    }

    /// The token that these logits give at the position after `tokens`, with the noise that the
    /// model's own token is chosen with.
    pub(crate) fn token(
        &self,
        tokens: &[TokenId],
        logits: &[f32],
    ) -> Result<TokenId, SamplerError> {
        let generated = &tokens[self.from.min(tokens.len())..];
        let mut counts = Counts::default();
        if self.sampling.presence_penalty != 0.0 || self.sampling.frequency_penalty != 0.0 {
            generated.iter().for_each(|&token| counts.add(token));
        }
        let history = History {
            tokens,
            generated: counts.as_slice(),
        };
        sample(&self.sampling, tokens.len() as u64, history, logits)
    }
}
