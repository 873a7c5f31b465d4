//! Errors of grammars.

/// Why answers cannot be constrained by a grammar. Names the unsupported feature, but contains no
/// text of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GrammarError {
    /// The input is too long.
    #[error("the {kind} has {bytes} bytes, but at most {limit} are read: make it smaller")]
    TooLong {
        /// The kind of input.
        kind: &'static str,
        /// Its length in bytes.
        bytes: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// The input is nested too deeply.
    #[error("the {kind} is nested deeper than {limit}: make it flatter")]
    TooDeep {
        /// The kind of input.
        kind: &'static str,
        /// The nesting limit.
        limit: usize,
    },
    /// The grammar is invalid or uses an unsupported feature.
    #[error("an answer cannot be kept to the {kind}: {reason}")]
    Refused {
        /// The kind of grammar.
        kind: &'static str,
        /// The reason for the refusal.
        reason: String,
    },
    /// The model's vocabulary exceeds a limit of masks.
    #[error("this model's answers cannot be kept to a grammar: {reason}")]
    Vocabulary {
        /// The exceeded limit.
        reason: String,
    },
}
