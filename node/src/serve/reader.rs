//! An answer's text in the pieces that its reader is given.

/// A piece of an answer.
pub(super) enum Piece {
    Reasoning(String),
    Content(String),
    ToolCall {
        index: usize,
        id: String,
        name: String,
    },
    ToolArguments(String),
}

/// Reads what a model writes.
pub(super) enum Reader {
    /// All of it is content.
    Plain,
}

impl Reader {
    pub(super) fn plain() -> Self {
        Self::Plain
    }

    /// The model wrote this.
    pub(super) fn push(&mut self, text: &str, out: &mut dyn FnMut(Piece)) {
        match self {
            Self::Plain if text.is_empty() => {}
            Self::Plain => out(Piece::Content(text.to_owned())),
        }
    }

    /// The model has ended.
    pub(super) fn finish(&mut self, _out: &mut dyn FnMut(Piece)) {
        match self {
            Self::Plain => {}
        }
    }
}
