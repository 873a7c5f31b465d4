//! From tokens back to text, token by token.

use super::{TokenId, Tokenizer};

/// Turns tokens into text as they come, holding back bytes until they make whole characters.
///
/// A sequence of bytes that can no longer become a character turns into one U+FFFD, as in
/// [`String::from_utf8_lossy`]. Control tokens are left out unless asked for.
pub struct TokenDecoder<'t> {
    tokenizer: &'t Tokenizer,
    shows_special: bool,
    // Control tokens that are shown, ascending.
    shown: Box<[TokenId]>,
    // The start of a character: at most three bytes between calls.
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

    /// Shows control tokens, too, as they are written in the vocabulary.
    #[must_use]
    pub fn with_special(self) -> Self {
        Self {
            shows_special: true,
            ..self
        }
    }

    /// Shows these control tokens, too, in any order.
    #[must_use]
    pub fn with_shown(self, tokens: impl IntoIterator<Item = TokenId>) -> Self {
        let mut shown: Vec<_> = tokens.into_iter().collect();
        shown.sort_unstable();
        Self {
            shown: shown.into(),
            ..self
        }
    }

    /// The text that this token completes; empty if a character is still open, and for an id that
    /// is not in the vocabulary.
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

    /// The end of the text: U+FFFD if a character is still open.
    pub fn finish(&mut self) -> &'static str {
        if self.pending.is_empty() {
            return "";
        }
        self.pending.clear();
        "\u{fffd}"
    }
}

/// Whether bytes that end a text are the start of a character.
fn may_continue(bytes: &[u8]) -> bool {
    str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}
