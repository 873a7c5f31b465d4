//! What reads an answer's text: a conversation's is taken apart, any other is content as it stands.

use super::chat::{AnswerReader, Piece};

/// Reads what a model writes.
pub(super) enum Reader {
    /// All of it is content.
    Plain,
    Chat(Box<AnswerReader>),
}

impl Reader {
    /// The model wrote this.
    pub(super) fn push(&mut self, text: &str, out: &mut dyn FnMut(Piece)) {
        match self {
            Self::Plain if text.is_empty() => {}
            Self::Plain => out(Piece::Content(text.to_owned().into())),
            Self::Chat(reader) => reader.push(text, out),
        }
    }

    /// The model has ended.
    pub(super) fn finish(&mut self, out: &mut dyn FnMut(Piece)) {
        match self {
            Self::Plain => {}
            Self::Chat(reader) => reader.finish(out),
        }
    }

    /// Whether what comes now is thought.
    pub(super) fn is_reasoning(&self) -> bool {
        match self {
            Self::Plain => false,
            Self::Chat(reader) => reader.is_reasoning(),
        }
    }

    /// Whether nothing more of the answer is wanted.
    pub(super) fn is_finished(&self) -> bool {
        match self {
            Self::Plain => false,
            Self::Chat(reader) => reader.is_finished(),
        }
    }
}
