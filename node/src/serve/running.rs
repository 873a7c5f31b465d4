//! A running request: its session and the tokens still to process.

use std::time::Instant;

use super::prefix::Kept;
use super::talk::{Heard, Talk};
use crate::answer::Drafts;
use crate::engine::{Drafter, ModelError, Part, Planned, Session, StepCosts, TokenId, Wants};
use crate::stages::{Reservation, WithMemory};

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
    /// The prompt and the tokens generated so far, and during a step the guesses after them.
    tokens: Vec<TokenId>,
    /// The number of guesses, and how many of them turned out right.
    guessed: usize,
    right: usize,
    /// `None` if guesses are disabled.
    drafter: Option<Drafter>,
    /// Held for the drafter.
    _drafters_memory: Option<Reservation>,
    /// The hidden states that the step gave to the drafter, and the position of the first.
    states: Vec<f32>,
    start: usize,
    /// Another request that is processing the same prefix; this one waits for it.
    pub(super) follows: Option<Follows>,
}

/// Receives the logits of a request's part of a step: after each of its guesses that are right.
pub(super) struct Listening<'s, 'e> {
    talk: &'s mut Talk<'e>,
    guesses: &'s [TokenId],
    right: &'s mut usize,
    /// Whether later logits belong to a wrong guess, or the answer has ended.
    is_over: bool,
}

impl Listening<'_, '_> {
    pub(super) fn hear(&mut self, logits: Result<&[f32], ModelError>) {
        if self.is_over {
            return;
        }
        self.talk.hear(logits);
        let next = self.guesses.get(*self.right);
        match (self.talk.heard(), next) {
            (Some(Heard::Token(token)), Some(guess)) if token == guess => {
                // The token is already part of the request, and the next logits follow it.
                let _ = self.talk.take_heard();
                *self.right += 1;
            }
            _ => self.is_over = true,
        }
    }
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
            guessed: 0,
            right: 0,
            drafter: None,
            _drafters_memory: None,
            states: Vec::new(),
            start: 0,
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

    /// Guesses its tokens with this drafter, for which this memory is reserved.
    pub(super) fn guess_with(&mut self, (mut drafter, memory): WithMemory) {
        self._drafters_memory = memory;
        drafter.chosen_with(self.talk.sampling(), self.tokens.len());
        self.drafter = Some(drafter);
    }

    /// Adds guesses to the next token, as many as pay in the planned step. Returns how many.
    pub(super) fn guess(&mut self, planned: &mut Planned, costs: &mut StepCosts) -> usize {
        let Some(drafter) = &mut self.drafter else {
            return 0;
        };
        let room = self.most.saturating_sub(self.tokens.len());
        let guesses = drafter.propose(&self.tokens, room, planned, costs);
        self.guessed = guesses.len();
        self.right = 0;
        self.tokens.extend(guesses);
        self.guessed
    }

    /// The part of the next step that processes this many tokens, and the receiver of its results.
    pub(super) fn part(&mut self, tokens: usize) -> (Part<'_>, Listening<'_, 'e>) {
        let at = self.kept.session.len();
        let end = (at + tokens).min(self.tokens.len());
        let is_all = end == self.tokens.len();
        self.states.clear();
        self.start = at;
        let mut part = Part::reading(&mut self.kept.session, &self.tokens[at..end]);
        part.wants = match self.guessed {
            _ if !is_all => Wants::Nothing,
            0 => Wants::Logits,
            _ => Wants::EachLogits,
        };
        let listens = self.drafter.as_ref().is_some_and(Drafter::listens);
        part.states = listens.then_some(&mut self.states);
        let listening = Listening {
            talk: &mut self.talk,
            guesses: &self.tokens[self.tokens.len() - self.guessed..],
            right: &mut self.right,
            is_over: false,
        };
        (part, listening)
    }

    /// Drops the guesses of the last step that were wrong. Returns the counts of guesses.
    pub(super) fn settle(&mut self) -> Drafts {
        let (sent, right) = (self.guessed, std::mem::take(&mut self.right));
        self.guessed = 0;
        self.tokens.truncate(self.tokens.len() - (sent - right));
        self.kept.session.truncate(self.tokens.len());
        let read = self.kept.session.len().saturating_sub(self.start);
        if let Some(drafter) = &mut self.drafter
            && read > 0
            && !self.states.is_empty()
        {
            let of_one = self.states.len() / (read + sent - right);
            let states = self.states.chunks_exact(of_one.max(1)).take(read);
            for (at, state) in states.enumerate() {
                drafter.hear(self.start + at, state);
            }
        }
        self.states.clear();
        Drafts {
            sent: sent as u64,
            right: right as u64,
        }
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

    /// Continues from the first `same` tokens of another session, if that can go on from them.
    ///
    /// # Errors
    /// The system has no memory.
    pub(super) fn take_up(&mut self, source: &Session, same: usize) -> Result<(), ModelError> {
        if source.reach(same) <= self.session().len() {
            return Ok(());
        }
        let capacity = Self::first_capacity(self.tokens.len(), self.most);
        self.kept.session = source.copy_prefix(same, capacity)?;
        Ok(())
    }

    /// Ends the request; returns its answer, and its session for caching.
    pub(super) fn end(self) -> (Talk<'e>, Kept) {
        (self.talk, self.kept)
    }
}
