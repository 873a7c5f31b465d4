//! One request that is answered: its session, and what it has still to read.

use std::time::Instant;

use super::prefix::Kept;
use super::talk::Talk;
use crate::engine::{ModelError, Session, TokenId};

/// Positions that a session has room for beyond what it is to read, until it grows. Memory for all that
/// a request may take is reserved when it begins; it is not touched before it is needed.
const ROOM: usize = 256;

/// A request that is answered.
pub(super) struct Running<'e> {
    pub(super) id: u64,
    pub(super) talk: Talk<'e>,
    pub(super) began: Instant,
    kept: Kept,
    /// The most positions that it takes.
    most: usize,
    /// The prompt, and what came after.
    tokens: Vec<TokenId>,
    /// Another that reads the same beginning just now, and how much of it: it is waited for.
    pub(super) follows: Option<Follows>,
}

/// Who reads what this one needs, too.
#[derive(Debug, Clone, Copy)]
pub(super) struct Follows {
    pub(super) id: u64,
    pub(super) same: usize,
}

impl<'e> Running<'e> {
    /// A request with a session that holds a beginning of `tokens`, its prompt, and the memory for
    /// `most` positions.
    pub(super) fn new(
        id: u64,
        talk: Talk<'e>,
        kept: Kept,
        tokens: Vec<TokenId>,
        most: usize,
    ) -> Self {
        Self {
            id,
            talk,
            began: Instant::now(),
            kept,
            most,
            tokens,
            follows: None,
        }
    }

    /// How many positions a new session of a prompt has room for.
    pub(super) fn first_capacity(prompt: usize, most: usize) -> usize {
        (prompt + ROOM).min(most)
    }

    pub(super) fn session(&self) -> &Session {
        &self.kept.session
    }

    /// All tokens: the prompt, and what was chosen.
    pub(super) fn tokens(&self) -> &[TokenId] {
        &self.tokens
    }

    pub(super) fn kv_bytes(&self) -> u64 {
        self.kept.memory.bytes()
    }

    /// Tokens that are to be read: 1 in an answer, more in a prompt.
    pub(super) fn unread(&self) -> usize {
        self.tokens.len() - self.kept.session.len()
    }

    /// A token that the next step reads.
    pub(super) fn push(&mut self, token: TokenId) {
        self.tokens.push(token);
    }

    /// What a step reads next, at most so many tokens, and whether that is all there is.
    pub(super) fn part(&mut self, tokens: usize) -> (&mut Session, &[TokenId], &mut Talk<'e>) {
        let at = self.kept.session.len();
        let end = (at + tokens).min(self.tokens.len());
        (
            &mut self.kept.session,
            &self.tokens[at..end],
            &mut self.talk,
        )
    }

    /// Makes room for so many more tokens.
    ///
    /// # Errors
    /// The system has no memory.
    pub(super) fn grow(&mut self, tokens: usize) -> Result<(), ModelError> {
        let session = &self.kept.session;
        if session.free() >= tokens {
            return Ok(());
        }
        let needed = session.len() + tokens;
        let capacity = (2 * session.capacity()).min(self.most).max(needed);
        self.kept.session = session.copy_prefix(session.len(), capacity)?;
        Ok(())
    }

    /// Goes on from the first `same` tokens of a session that holds them.
    ///
    /// # Errors
    /// The system has no memory.
    pub(super) fn take_up(&mut self, source: &Session, same: usize) -> Result<(), ModelError> {
        let capacity = Self::first_capacity(self.tokens.len(), self.most);
        self.kept.session = source.copy_prefix(same, capacity)?;
        Ok(())
    }

    /// The end: the talk, and the session, to be kept.
    pub(super) fn end(self) -> (Talk<'e>, Kept) {
        (self.talk, self.kept)
    }
}
