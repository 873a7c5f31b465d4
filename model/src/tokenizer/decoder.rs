//! Incremental decoder from tokens to text.

use super::{TokenId, Tokenizer};

/// Decodes tokens one by one, and holds back bytes until they form complete characters.
///
/// A byte sequence that can no longer become a character is replaced by one U+FFFD, as in
/// [`String::from_utf8_lossy`]. Control tokens are left out by default.
pub struct TokenDecoder<'t> {
    tokenizer: &'t Tokenizer,
    shows_special: bool,
    // Control tokens to show, ascending.
    shown: Box<[TokenId]>,
    // Start of a character: at most three bytes between calls.
    pending: Vec<u8>,
    text: String,
}

impl<'t> TokenDecoder<'t> {
    pub(super) fn new(tokenizer: &'t Tokenizer) -> Self {
        Self {
            tokenizer,
            shows_special: false,
            shown: Box::default(),
            pending: Vec::new(),
            text: String::new(),
        }
    }

    /// Also shows all control tokens, as the vocabulary spells them.
    #[must_use]
    pub fn with_special(self) -> Self {
        Self {
            shows_special: true,
            ..self
        }
    }

    /// Also shows these control tokens, given in any order.
    #[must_use]
    pub fn with_shown(self, tokens: impl IntoIterator<Item = TokenId>) -> Self {
        let mut shown: Vec<_> = tokens.into_iter().collect();
        shown.sort_unstable();
        Self {
            shown: shown.into(),
            ..self
        }
    }

    /// Returns the text that this token completes. Empty if a character is incomplete, and for an
    /// id beyond the vocabulary.
    pub fn push(&mut self, token: TokenId) -> &str {
        let hidden = !self.shows_special
            && self.tokenizer.is_structure(token)
            && self.shown.binary_search(&token).is_err();
        if !hidden {
            self.pending
                .extend_from_slice(&self.tokenizer.token_bytes(token));
        }
        self.text.clear();
        let mut open = 0;
        let mut chunks = self.pending.utf8_chunks().peekable();
        while let Some(chunk) = chunks.next() {
            self.text.push_str(chunk.valid());
            if chunk.invalid().is_empty() {
                continue;
            }
            if chunks.peek().is_none() && may_continue(chunk.invalid()) {
                open = chunk.invalid().len();
            } else {
                self.text.push(char::REPLACEMENT_CHARACTER);
            }
        }
        self.pending.drain(..self.pending.len() - open);
        &self.text
    }

    /// Returns the end of the text: U+FFFD if a character is incomplete.
    pub fn finish(&mut self) -> &'static str {
        if self.pending.is_empty() {
            return "";
        }
        self.pending.clear();
        "\u{fffd}"
    }
}

/// Whether these bytes at the end of a text are the start of a character.
fn may_continue(bytes: &[u8]) -> bool {
    str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}
