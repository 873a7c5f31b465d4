//! A sequence of tokens that a model reads, wherever its layers are.

use std::borrow::BorrowMut;

use super::{Engine, Session};
use crate::ModelError;
use crate::tokenizer::TokenId;

/// Tokens that a model has read, and more that it reads. Text is generated alike from any.
pub trait Sequence {
    /// Why it cannot read on.
    type Error: From<ModelError>;

    /// The tokens that it has read.
    fn tokens(&self) -> &[TokenId];

    /// Positions reserved.
    fn capacity(&self) -> usize;

    /// Forgets the tokens from `len` on; those before are kept without being read again.
    fn truncate(&mut self, len: usize);

    /// Reads `tokens` and calls `read` with the logits of the last position.
    ///
    /// `progress` is called now and then with the tokens read so far; if it returns false, reading
    /// stops (what was read stays) and the result is `None`.
    ///
    /// # Errors
    /// No token, one beyond the vocabulary, or more than there is room for, checked before any is
    /// read; and what keeps it from reading on.
    fn read<T>(
        &mut self,
        tokens: &[TokenId],
        progress: &mut dyn FnMut(usize) -> bool,
        read: impl FnOnce(&[f32]) -> T,
    ) -> Result<Option<T>, Self::Error>;

    /// Positions left.
    fn free(&self) -> usize {
        self.capacity().saturating_sub(self.tokens().len())
    }
}

impl<S: Sequence> Sequence for &mut S {
    type Error = S::Error;

    fn tokens(&self) -> &[TokenId] {
        (**self).tokens()
    }

    fn capacity(&self) -> usize {
        (**self).capacity()
    }

    fn truncate(&mut self, len: usize) {
        (**self).truncate(len);
    }

    fn read<T>(
        &mut self,
        tokens: &[TokenId],
        progress: &mut dyn FnMut(usize) -> bool,
        read: impl FnOnce(&[f32]) -> T,
    ) -> Result<Option<T>, Self::Error> {
        (**self).read(tokens, progress, read)
    }
}

/// A sequence that one engine reads with all layers.
#[derive(Debug)]
pub struct LocalSequence<'a, S> {
    engine: &'a Engine,
    session: S,
}

impl<'a, S: BorrowMut<Session>> LocalSequence<'a, S> {
    /// The sequence of a session of this engine, owned or borrowed.
    pub fn new(engine: &'a Engine, session: S) -> Self {
        Self { engine, session }
    }
}

impl<S: BorrowMut<Session>> Sequence for LocalSequence<'_, S> {
    type Error = ModelError;

    fn tokens(&self) -> &[TokenId] {
        self.session.borrow().tokens()
    }

    fn capacity(&self) -> usize {
        self.session.borrow().capacity()
    }

    fn truncate(&mut self, len: usize) {
        self.session.borrow_mut().truncate(len);
    }

    fn read<T>(
        &mut self,
        tokens: &[TokenId],
        progress: &mut dyn FnMut(usize) -> bool,
        read: impl FnOnce(&[f32]) -> T,
    ) -> Result<Option<T>, ModelError> {
        let session = self.session.borrow_mut();
        self.engine.prefill(session, tokens, progress, read)
    }
}
