//! The marks that a model puts around its thoughts.

use crate::engine::TokenId;
use potluck_model::tokenizer::{SpecialTokens, Tokenizer};

/// The marks around thoughts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ThinkMarks {
    pub(super) open: &'static str,
    pub(super) close: &'static str,
}

/// The marks of the models that think.
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
    /// The marks that a template's source or a vocabulary has.
    pub(super) fn of(source: &str, tokenizer: &Tokenizer) -> Option<Self> {
        let known = || KNOWN.into_iter();
        let written = known().find(|marks| source.contains(marks.close));
        written.or_else(|| known().find(|marks| special_token(tokenizer, marks.close).is_some()))
    }

    /// Whether a template's source has any such marks.
    pub(super) fn are_in(source: &str) -> bool {
        KNOWN.iter().any(|marks| source.contains(marks.close))
    }

    /// Whether a prompt ends in thoughts that it has opened.
    pub(super) fn is_opened_by(self, prompt: &[TokenId], tokenizer: &Tokenizer) -> bool {
        // The mark may be as many tokens as it has bytes.
        let last = &prompt[prompt.len().saturating_sub(self.open.len() + 8)..];
        let mut decoder = tokenizer.decoder().with_special();
        let text: String = last.iter().map(|&id| decoder.push(id).to_owned()).collect();
        text.trim_end().ends_with(self.open)
    }
}

/// The token that stands for this whole text.
pub(super) fn special_token(tokenizer: &Tokenizer, text: &str) -> Option<TokenId> {
    match tokenizer.encode(text, SpecialTokens::Parse)[..] {
        [id] => Some(id),
        _ => None,
    }
}
