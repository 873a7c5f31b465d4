//! The requester's bookkeeping: which rows to submit next, and which rows an answer belongs to.

use std::collections::VecDeque;
use std::ops::Range;

use crate::wire::Answer;

/// Steps under way at a time: enough to keep every stage of a small circle busy, and few enough to keep
/// queues short.
pub const STEPS_ON_THE_WAY: usize = 6;

/// A requester's tokens, and how far its pipeline has them: which rows to
/// [submit](crate::machine::Machine::submit) next, and which rows the answers belong to.
///
/// The wanted tokens may be followed by *drafts*, guesses of the next tokens, one step each. While one
/// token passes round the ring, the stages that it has left or not reached yet compute the drafts. If the
/// next token was guessed right, its row is already under way; otherwise it is rolled back with the rows
/// after it. By the exactness of the arithmetic, drafts change no bit of any token.
///
/// Events are to be told in order. Where rows and events cross each other, as with a session in another
/// process, a mark shows the end of a roll-back: answers before [`rolled_back`](Self::rolled_back) may
/// belong to dropped rows, and are ignored.
#[derive(Debug, Clone)]
pub struct Feed<T> {
    /// Wanted tokens, followed by drafts.
    tokens: Vec<T>,
    /// INVARIANT: at most `tokens.len()`; so is `read`.
    wanted: usize,
    /// The number of tokens that went through all layers and were answered.
    read: usize,
    /// The most positions, drafts included.
    capacity: usize,
    /// Whether a failure may have prevented answers of submitted steps.
    unsettled: bool,
    /// The pipeline, while it takes rows.
    flow: Option<Flow>,
    /// Roll-backs whose mark has not arrived.
    rolling_back: usize,
    /// Hidden states that arrived, each with the position after it, ascending.
    came: VecDeque<(usize, Vec<u8>)>,
}

/// The rows that a working pipeline was given.
#[derive(Debug, Clone)]
struct Flow {
    /// The next position.
    next: usize,
    /// Steps whose answers are due.
    due: VecDeque<Range<usize>>,
    /// Rows of a prefill step.
    rows: usize,
}

/// Rows to be submitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FeedStep<'a, T> {
    /// Of the first row.
    pub start_position: u32,
    /// At least one.
    pub tokens: &'a [T],
    /// What is to come back.
    pub answer: Answer,
}

impl<T> FeedStep<'_, T> {
    /// How many.
    pub fn rows(&self) -> u32 {
        position(self.tokens.len())
    }
}

/// Where the pipeline is to be [rolled back](crate::machine::Machine::roll_back) to, before anything
/// else is submitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "the pipeline holds rows that are not wanted"]
pub struct RollBack(pub u32);

impl<T: Copy + PartialEq> Feed<T> {
    /// Nothing yet; at most so many positions, and no more than `u32` counts.
    pub fn new(capacity: usize) -> Self {
        Self {
            tokens: Vec::new(),
            wanted: 0,
            read: 0,
            unsettled: false,
            capacity: capacity.min(u32::MAX as usize),
            flow: None,
            rolling_back: 0,
            came: VecDeque::new(),
        }
    }

    /// The tokens that are read or to be read, without drafts.
    pub fn tokens(&self) -> &[T] {
        &self.tokens[..self.wanted]
    }

    /// How many of [`tokens`](Self::tokens) are known to have gone through all layers.
    pub fn read(&self) -> usize {
        self.read.min(self.wanted)
    }

    /// Drafts that are neither confirmed nor rejected.
    pub fn drafts(&self) -> &[T] {
        &self.tokens[self.wanted..]
    }

    /// Adds tokens to read. Rows of right drafts are already under way, unless one of them was wrong.
    ///
    /// # Panics
    /// There is no [room](Self::new) for them.
    pub fn read_on(&mut self, tokens: &[T]) -> Option<RollBack> {
        assert!(tokens.len() <= self.capacity - self.wanted, "no room");
        let guessed = self.drafts().iter().zip(tokens);
        let right = guessed.take_while(|(draft, token)| draft == token).count();
        let wrong = right < tokens.len() && right < self.drafts().len();
        let rolled_back = wrong.then(|| self.cut(self.wanted));
        let known = tokens.len().min(self.drafts().len());
        self.tokens.extend_from_slice(&tokens[known..]);
        self.wanted += tokens.len();
        rolled_back
    }

    /// Only the first `len` tokens are wanted.
    pub fn truncate(&mut self, len: usize) -> Option<RollBack> {
        (len < self.wanted).then(|| self.cut(len))
    }

    /// What has not gone through all layers is not wanted any more.
    pub fn give_up(&mut self) -> Option<RollBack> {
        (self.read() < self.tokens.len()).then(|| self.cut(self.read()))
    }

    fn cut(&mut self, len: usize) -> RollBack {
        self.tokens.truncate(len);
        self.wanted = self.wanted.min(len);
        self.roll_back(len)
    }

    /// Rows from `len` on are not in the pipeline any more.
    fn roll_back(&mut self, len: usize) -> RollBack {
        self.read = self.read.min(len);
        self.came.retain(|(end, _)| *end <= len);
        if let Some(flow) = &mut self.flow {
            flow.next = flow.next.min(len);
            flow.due.clear();
        }
        self.rolling_back += 1;
        RollBack(position(len))
    }

    /// What was rolled back is dropped: answers from here on are of what is wanted.
    pub fn rolled_back(&mut self) {
        self.rolling_back = self.rolling_back.saturating_sub(1);
    }

    /// The pipeline broke or is being replaced: nothing is submitted until [`ready`](Self::ready).
    pub fn interrupted(&mut self) {
        let flow = self.flow.take();
        self.unsettled |= flow.is_some_and(|flow| !flow.due.is_empty());
    }

    /// The pipeline is gone with everything that it held, and answers nothing any more: the next one that
    /// is [ready](Self::ready) holds nothing.
    pub fn lost(&mut self) {
        self.flow = None;
        self.unsettled = false;
        self.rolling_back = 0;
    }

    /// Rows from `from` on can be submitted, in prefill steps of `prefill_rows`.
    ///
    /// Drafts and unanswered rows are rolled back: the new pipeline may have accepted rows that were
    /// submitted after it was ready and before that was known here, in other steps than the next ones.
    pub fn ready(&mut self, from: u32, prefill_rows: u32) -> Option<RollBack> {
        self.interrupted();
        // A roll-back that is on its way is not in it.
        let next = (from as usize).min(self.read());
        let drafted = self.wanted < self.tokens.len();
        self.tokens.truncate(self.wanted);
        let behind = next < from as usize;
        let rolled_back = (self.unsettled || drafted || behind).then(|| self.roll_back(next));
        self.unsettled = false;
        self.flow = Some(Flow {
            next,
            due: VecDeque::new(),
            rows: (prefill_rows as usize).max(1),
        });
        rolled_back
    }

    /// The next step, while there is one and not too many are on their way. When all that is wanted is,
    /// at most `drafts` guesses follow: `guess` is given the tokens, drafts included, and how many of
    /// them are wanted.
    pub fn next_step(
        &mut self,
        drafts: usize,
        guess: &mut dyn FnMut(&[T], usize) -> Option<T>,
    ) -> Option<FeedStep<'_, T>> {
        let ready = |flow: &&mut Flow| flow.due.len() < STEPS_ON_THE_WAY;
        let flow = self.flow.as_mut().filter(ready)?;
        let start = flow.next;
        if start == self.tokens.len() {
            let room = start < self.capacity && start - self.wanted < drafts;
            let draft = room.then(|| guess(&self.tokens, self.wanted)).flatten()?;
            self.tokens.push(draft);
        }
        let end = self.tokens.len().min(start + flow.rows);
        flow.next = end;
        flow.due.push_back(start..end);
        Some(FeedStep {
            start_position: position(start),
            tokens: &self.tokens[start..end],
            answer: if end >= self.wanted {
                Answer::LastRow
            } else {
                Answer::Done
            },
        })
    }

    /// Rows went through all layers: the first position and the hidden states. False if it is not the answer
    /// that is due, and is ignored.
    pub fn answered(&mut self, start_position: u32, hidden: Vec<u8>) -> bool {
        let flow = self.flow.as_mut().filter(|_| self.rolling_back == 0);
        // Hidden states that come back are those of the last row.
        let first = |due: &Range<usize>| match hidden.is_empty() {
            true => due.start,
            false => due.end - 1,
        };
        let is_due = |due: &mut Range<usize>| first(due) == start_position as usize;
        let Some(due) = flow.and_then(|flow| flow.due.pop_front_if(is_due)) else {
            return false;
        };
        // Rows that a new stage lacked are read again.
        self.read = self.read.max(due.end);
        if !hidden.is_empty() {
            self.came.push_back((due.end, hidden));
        }
        true
    }

    /// The hidden states behind the last of [`tokens`](Self::tokens), once they have arrived.
    pub fn take_hidden(&mut self) -> Option<Vec<u8>> {
        while let Some((end, hidden)) = self.came.pop_front_if(|(end, _)| *end <= self.wanted) {
            if end == self.wanted {
                return Some(hidden);
            }
        }
        None
    }
}

/// A position, or how many, as the protocol counts.
fn position(of: usize) -> u32 {
    u32::try_from(of).expect("no position is beyond the capacity")
}
