//! Masks: the tokens that a grammar allows.

use crate::tokenizer::TokenId;

/// Restricts the next token. A mask depends only on the tokens so far, so that choosing a token
/// stays a pure function (see the module).
pub trait Mask: Send {
    /// Sets the logits of forbidden tokens to −∞. `logits` has one entry per row of the model's
    /// head, which can be more than the vocabulary.
    ///
    /// # Errors
    /// [`MaskError`].
    fn apply(&mut self, logits: &mut [f32]) -> Result<(), MaskError>;

    /// Advances by the chosen token. Not called for a token that ends the answer.
    ///
    /// # Errors
    /// [`MaskError`], also for a forbidden token.
    fn accept(&mut self, token: TokenId) -> Result<(), MaskError>;

    /// Whether only the end of the answer may follow.
    fn is_finished(&self) -> bool;
}

/// The error of a mask that cannot continue. Contains none of the answer's text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the answer cannot be kept to its grammar: {reason}")]
pub struct MaskError {
    /// The reason.
    pub reason: String,
}
