//! The tokens of a vocabulary: texts, attributes, scores.

use super::texts::{TextIndex, Texts};
use super::{TokenId, TokenizerError};

/// The purpose of a token, as numbered in `tokenizer.ggml.token_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    /// Ordinary text.
    Normal,
    /// Replaces text that the vocabulary cannot express.
    Unknown,
    /// Structure, such as the start of a turn: never part of the content.
    Control,
    /// Text that is matched before any other, as a whole, wherever it occurs.
    UserDefined,
    /// A reserved id.
    Unused,
    /// One byte, written `<0xXX>`.
    Byte,
}

impl TokenKind {
    /// The kind with this number; `None` for an undefined number.
    pub const fn from_gguf(number: i32) -> Option<Self> {
        Some(match number {
            1 => Self::Normal,
            2 => Self::Unknown,
            3 => Self::Control,
            4 => Self::UserDefined,
            5 => Self::Unused,
            6 => Self::Byte,
            _ => return None,
        })
    }
}

/// A set of kinds: a token's own, plus control if its name indicates that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kinds(u8);

impl Kinds {
    pub(super) const fn of(kind: Option<TokenKind>) -> Self {
        match kind {
            Some(kind) => Self(1 << kind as u8),
            None => Self(0),
        }
    }

    pub(super) const fn with(self, kind: TokenKind) -> Self {
        Self(self.0 | 1 << kind as u8)
    }

    pub(super) const fn has(self, kind: TokenKind) -> bool {
        self.0 & 1 << kind as u8 != 0
    }

    /// Whether the token is matched in a text before the text is split into words.
    pub(super) const fn is_special(self) -> bool {
        self.is_structure() || self.has(TokenKind::UserDefined)
    }

    /// Whether the token is left out of shown text.
    pub(super) const fn is_structure(self) -> bool {
        self.has(TokenKind::Control) || self.has(TokenKind::Unknown)
    }
}

/// Tokens by id, and ids by text.
pub(super) struct Vocabulary {
    texts: Texts,
    index: TextIndex,
    kinds: Box<[Kinds]>,
    // Empty, or one per token.
    scores: Box<[f32]>,
    longest: usize,
}

impl Vocabulary {
    /// Indexes a vocabulary. `kinds` and `scores` have one entry per token; without scores, all are
    /// zero.
    pub(super) fn new(
        texts: Texts,
        kinds: Box<[Kinds]>,
        scores: Box<[f32]>,
    ) -> Result<Self, TokenizerError> {
        if texts.is_empty() {
            return Err(TokenizerError::Empty);
        }
        if let Some(token) = scores.iter().position(|score| score.is_nan()) {
            return Err(TokenizerError::InvalidScore {
                token: token as TokenId,
            });
        }
        let mut index = TextIndex::with_capacity(texts.len());
        let mut longest = 0;
        for (id, text) in (0..).zip(texts.iter()) {
            // An empty text is a gap in the vocabulary. There may be several.
            if text.is_empty() {
                continue;
            }
            longest = longest.max(text.len());
            if let Some(first) = index.insert(id, |id| [texts.get(id), &[]]) {
                return Err(TokenizerError::DuplicateToken {
                    first,
                    second: id,
                    text: String::from_utf8_lossy(text).into_owned(),
                });
            }
        }
        Ok(Self {
            texts,
            index,
            kinds,
            scores,
            longest,
        })
    }

    pub(super) fn len(&self) -> usize {
        self.texts.len()
    }

    /// The length of the longest text in the file.
    pub(super) fn longest(&self) -> usize {
        self.longest
    }

    /// The token's text as in the file; empty for an invalid id.
    pub(super) fn text(&self, id: TokenId) -> &[u8] {
        self.texts.get(id)
    }

    /// The token with this text.
    pub(super) fn find(&self, text: &[u8]) -> Option<TokenId> {
        if text.len() > self.longest {
            return None;
        }
        self.index.find([text, &[]], |id| [self.texts.get(id), &[]])
    }

    pub(super) fn kinds(&self, id: TokenId) -> Kinds {
        self.kinds.get(id as usize).copied().unwrap_or(Kinds(0))
    }

    pub(super) fn set_kinds(&mut self, id: TokenId, kinds: Kinds) {
        if let Some(place) = self.kinds.get_mut(id as usize) {
            *place = kinds;
        }
    }

    /// A token's score; a higher score means more likely.
    pub(super) fn score(&self, id: TokenId) -> f32 {
        self.scores.get(id as usize).copied().unwrap_or(0.0)
    }

    /// The ids of the tokens that are matched before a text is split into words.
    pub(super) fn special(&self) -> impl Iterator<Item = TokenId> {
        (0..)
            .zip(&self.kinds)
            .filter(|(_, kinds)| kinds.is_special())
            .map(|(id, _)| id)
    }
}
