//! Readers of generated text: answers of conversations are parsed, other text is passed through.

use super::chat::{AnswerReader, Piece};

/// Splits generated text into pieces.
pub(super) enum Reader {
    /// All text is content.
    Plain,
    Chat(Box<AnswerReader>),
}

impl Reader {
    /// Adds generated text.
    pub(super) fn push(&mut self, text: &str, out: &mut dyn FnMut(Piece)) {
        match self {
            Self::Plain if text.is_empty() => {}
            Self::Plain => out(Piece::Content(text.to_owned().into())),
            Self::Chat(reader) => reader.push(text, out),
        }
    }

    /// Flushes the rest at the end of the answer.
    pub(super) fn finish(&mut self, out: &mut dyn FnMut(Piece)) {
        match self {
            Self::Plain => {}
            Self::Chat(reader) => reader.finish(out),
        }
    }

    /// Whether the current text is reasoning.
    pub(super) fn is_reasoning(&self) -> bool {
        match self {
            Self::Plain => false,
            Self::Chat(reader) => reader.is_reasoning(),
        }
    }

    /// Whether the answer is complete, so that generation can stop.
    pub(super) fn is_finished(&self) -> bool {
        match self {
            Self::Plain => false,
            Self::Chat(reader) => reader.is_finished(),
        }
    }
}
