//! The tokens before the one that is chosen.

use crate::tokenizer::TokenId;

/// The tokens before the one that is chosen, as far as penalties ask for them.
#[derive(Debug, Clone, Copy, Default)]
pub struct History<'h> {
    /// The last of them, the prompt's included: at least as many as the repetition window.
    pub tokens: &'h [TokenId],
    /// How often each token was generated: different tokens, ascending.
    pub generated: &'h [(TokenId, u32)],
}

/// How often each token was generated.
#[derive(Debug, Clone, Default)]
pub struct Counts(Vec<(TokenId, u32)>);

impl Counts {
    /// Counts a token.
    pub fn add(&mut self, token: TokenId) {
        match self.0.binary_search_by_key(&token, |(token, _)| *token) {
            Ok(at) => self.0[at].1 = self.0[at].1.saturating_add(1),
            Err(at) => self.0.insert(at, (token, 1)),
        }
    }

    /// What [`History::generated`] wants.
    pub fn as_slice(&self) -> &[(TokenId, u32)] {
        &self.0
    }
}
