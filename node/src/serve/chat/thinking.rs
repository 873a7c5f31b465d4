//! The marks around a model's reasoning.

use crate::engine::TokenId;
use potluck_model::tokenizer::{SpecialTokens, Tokenizer};

/// The marks around reasoning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ThinkMarks {
    pub(super) open: &'static str,
    pub(super) close: &'static str,
}

/// The marks of known reasoning models.
const KNOWN: [ThinkMarks; 6] = [
    marks("<think>", "</think>"),
    marks("[THINK]", "[/THINK]"),
    marks("<thinking>", "</thinking>"),
    marks("<seed:think>", "</seed:think>"),
    marks("<|START_THINKING|>", "<|END_THINKING|>"),
    marks("<|begin_of_thought|>", "<|end_of_thought|>"),
];

const fn marks(open: &'static str, close: &'static str) -> ThinkMarks {
    ThinkMarks { open, close }
}

impl ThinkMarks {
    /// The marks that occur in a template's source or a vocabulary.
    pub(super) fn of(source: &str, tokenizer: &Tokenizer) -> Option<Self> {
        let known = || KNOWN.into_iter();
        let written = known().find(|marks| source.contains(marks.close));
        written.or_else(|| known().find(|marks| special_token(tokenizer, marks.close).is_some()))
    }

    /// Whether a template's source contains any known marks.
    pub(super) fn are_in(source: &str) -> bool {
        KNOWN.iter().any(|marks| source.contains(marks.close))
    }

    /// Whether a prompt ends inside reasoning that it has opened.
    pub(super) fn is_opened_by(self, prompt: &[TokenId], tokenizer: &Tokenizer) -> bool {
        // The mark may consist of as many tokens as bytes.
        let last = &prompt[prompt.len().saturating_sub(self.open.len() + 8)..];
        let mut decoder = tokenizer.decoder().with_special();
        let text: String = last.iter().map(|&id| decoder.push(id).to_owned()).collect();
        text.trim_end().ends_with(self.open)
    }
}

/// The special token with exactly this text.
pub(super) fn special_token(tokenizer: &Tokenizer, text: &str) -> Option<TokenId> {
    match tokenizer.encode(text, SpecialTokens::Parse)[..] {
        [id] => Some(id),
        _ => None,
    }
}
