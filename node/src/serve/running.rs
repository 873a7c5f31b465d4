//! A running request: its session and the tokens still to process.

use std::time::Instant;

use super::prefix::Kept;
use super::talk::Talk;
use crate::engine::{ModelError, Session, TokenId};

/// Spare positions of a new session before it has to grow. Memory for all positions of a request is
/// reserved at the start but only touched when needed.
const ROOM: usize = 256;

/// A running request.
pub(super) struct Running<'e> {
    pub(super) id: u64,
    pub(super) talk: Talk<'e>,
    pub(super) began: Instant,
    kept: Kept,
    /// The maximum number of positions.
    most: usize,
    /// The prompt and the tokens generated so far.
    tokens: Vec<TokenId>,
    /// Another request that is processing the same prefix; this one waits for it.
    pub(super) follows: Option<Follows>,
}

/// A request that is processing a prefix that this one needs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Follows {
    pub(super) id: u64,
    pub(super) same: usize,
}

impl<'e> Running<'e> {
    /// A request with prompt `tokens`, a session that holds a prefix of it, and memory for `most`
    /// positions.
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

    /// The initial capacity of a session, in positions.
    pub(super) fn first_capacity(prompt: usize, most: usize) -> usize {
        (prompt + ROOM).min(most)
    }

    pub(super) fn session(&self) -> &Session {
        &self.kept.session
    }

    /// All tokens: the prompt and the generated ones.
    pub(super) fn tokens(&self) -> &[TokenId] {
        &self.tokens
    }

    pub(super) fn kv_bytes(&self) -> u64 {
        self.kept.memory.bytes()
    }

    /// The number of tokens to process: 1 while generating, more in the prompt.
    pub(super) fn unread(&self) -> usize {
        self.tokens.len() - self.kept.session.len()
    }

    /// Adds a token for the next step.
    pub(super) fn push(&mut self, token: TokenId) {
        self.tokens.push(token);
    }

    /// The session, the tokens to process next (at most this many), and the answer.
    pub(super) fn part(&mut self, tokens: usize) -> (&mut Session, &[TokenId], &mut Talk<'e>) {
        let at = self.kept.session.len();
        let end = (at + tokens).min(self.tokens.len());
        (
            &mut self.kept.session,
            &self.tokens[at..end],
            &mut self.talk,
        )
    }

    /// Makes room for this many more tokens.
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

    /// Continues from the first `same` tokens of another session.
    ///
    /// # Errors
    /// The system has no memory.
    pub(super) fn take_up(&mut self, source: &Session, same: usize) -> Result<(), ModelError> {
        let capacity = Self::first_capacity(self.tokens.len(), self.most);
        self.kept.session = source.copy_prefix(same, capacity)?;
        Ok(())
    }

    /// Ends the request; returns its answer, and its session for caching.
    pub(super) fn end(self) -> (Talk<'e>, Kept) {
        (self.talk, self.kept)
    }
}
