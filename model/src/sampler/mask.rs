//! Masks: which tokens a grammar allows.

use crate::tokenizer::TokenId;

/// Which tokens may come next: a function of the tokens that came, and of nothing else, so that
/// choosing a token stays a pure function (see the module).
pub trait Mask: Send {
    /// Sets the logits of tokens that may not come to −∞. `logits` has one for each row of the
    /// model's head, which can be more than the vocabulary has.
    ///
    /// # Errors
    /// [`MaskError`].
    fn apply(&mut self, logits: &mut [f32]) -> Result<(), MaskError>;

    /// Takes the token that came. One that ends the answer is not given to it.
    ///
    /// # Errors
    /// [`MaskError`], also for a token that may not come.
    fn accept(&mut self, token: TokenId) -> Result<(), MaskError>;

    /// Whether only the end may follow.
    fn is_finished(&self) -> bool;
}

/// A mask cannot go on. Nothing of the answer's text is in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the answer cannot be kept to its grammar: {reason}")]
pub struct MaskError {
    /// What is wrong.
    pub reason: String,
}
