//! Why nothing can be kept to a grammar.

/// Why nothing can be kept to a grammar. What is not supported is named; no text of a conversation
/// is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GrammarError {
    /// More text than is read.
    #[error("the {kind} has {bytes} bytes, but at most {limit} are read: make it smaller")]
    TooLong {
        /// What is too long.
        kind: &'static str,
        /// Its length.
        bytes: usize,
        /// The longest that is read.
        limit: usize,
    },
    /// Nested deeper than is read.
    #[error("the {kind} is nested deeper than {limit}: make it flatter")]
    TooDeep {
        /// What is too deep.
        kind: &'static str,
        /// The deepest that is read.
        limit: usize,
    },
    /// It is wrong, or says what is not supported.
    #[error("an answer cannot be kept to the {kind}: {reason}")]
    Refused {
        /// What is refused.
        kind: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The model's vocabulary is beyond the bounds of masks.
    #[error("this model's answers cannot be kept to a grammar: {reason}")]
    Vocabulary {
        /// Which bound.
        reason: String,
    },
}
