//! Token history for penalties.

use crate::tokenizer::TokenId;

/// The tokens before the current position, as far as penalties need them.
#[derive(Debug, Clone, Copy, Default)]
pub struct History<'h> {
    /// The most recent tokens, including the prompt's: at least as many as the repetition window.
    pub tokens: &'h [TokenId],
    /// How often each token was generated: distinct tokens, ascending.
    pub generated: &'h [(TokenId, u32)],
}

/// Counts how often each token was generated.
#[derive(Debug, Clone, Default)]
pub struct Counts(Vec<(TokenId, u32)>);

impl Counts {
    /// Counts one occurrence of a token.
    pub fn add(&mut self, token: TokenId) {
        match self.0.binary_search_by_key(&token, |(token, _)| *token) {
            Ok(at) => self.0[at].1 = self.0[at].1.saturating_add(1),
            Err(at) => self.0.insert(at, (token, 1)),
        }
    }

    /// The counts in the form of [`History::generated`].
    pub fn as_slice(&self) -> &[(TokenId, u32)] {
        &self.0
    }
}
