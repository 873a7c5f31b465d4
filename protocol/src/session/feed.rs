//! The requester's bookkeeping: which rows to submit next, and which rows an answer belongs to.

use std::collections::VecDeque;
use std::ops::Range;

use crate::wire::Answer;

/// Maximum steps under way: enough to keep every stage of a small circle busy, few enough to keep
/// queues short.
pub const STEPS_ON_THE_WAY: usize = 6;

/// A requester's tokens, and the pipeline's progress through them: which rows to
/// [submit](crate::machine::Machine::submit) next, and which rows the answers belong to.
///
/// The wanted tokens may be followed by *drafts*, guesses of the next tokens, one step each. While
/// one token passes round the ring, the stages that it has left or not yet reached compute the
/// drafts. If the next token was guessed right, its row is already under way; otherwise it is
/// rolled back with the rows after it. Because the arithmetic is exact, drafts change no bit of any
/// token.
///
/// Events must be passed on in order. If rows and events can cross each other, as with a session in
/// another process, a mark shows the end of a roll-back: answers before
/// [`rolled_back`](Self::rolled_back) may belong to dropped rows, and are ignored.
#[derive(Debug, Clone)]
pub struct Feed<T> {
    /// Wanted tokens, followed by drafts.
    tokens: Vec<T>,
    /// INVARIANT: at most `tokens.len()`; so is `read`.
    wanted: usize,
    /// Number of tokens that passed through all layers and were answered.
    read: usize,
    /// Maximum number of positions, including drafts.
    capacity: usize,
    /// Whether a failure may have prevented answers of submitted steps.
    unsettled: bool,
    /// The pipeline, while it accepts rows.
    flow: Option<Flow>,
    /// Roll-backs whose mark has not arrived.
    rolling_back: usize,
    /// Received hidden states, each with the position after it, ascending.
    came: VecDeque<(usize, Vec<u8>)>,
}

/// The rows submitted to a working pipeline.
#[derive(Debug, Clone)]
struct Flow {
    /// The next position.
    next: usize,
    /// Steps that wait for their answer.
    due: VecDeque<Range<usize>>,
    /// Rows per prefill step.
    rows: usize,
}

/// Rows to submit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FeedStep<'a, T> {
    /// Position of the first row.
    pub start_position: u32,
    /// At least one.
    pub tokens: &'a [T],
    /// The requested answer.
    pub answer: Answer,
}

impl<T> FeedStep<'_, T> {
    /// Number of rows.
    pub fn rows(&self) -> u32 {
        position(self.tokens.len())
    }
}

/// The position to which the pipeline must be [rolled back](crate::machine::Machine::roll_back)
/// before anything else is submitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "the pipeline holds rows that are not wanted"]
pub struct RollBack(pub u32);

impl<T: Copy + PartialEq> Feed<T> {
    /// Creates an empty feed for at most `capacity` positions, and no more than `u32` can count.
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

    /// The tokens already read or to be read, without drafts.
    pub fn tokens(&self) -> &[T] {
        &self.tokens[..self.wanted]
    }

    /// How many of [`tokens`](Self::tokens) are known to have passed through all layers.
    pub fn read(&self) -> usize {
        self.read.min(self.wanted)
    }

    /// Drafts not yet confirmed or rejected.
    pub fn drafts(&self) -> &[T] {
        &self.tokens[self.wanted..]
    }

    /// Appends tokens to read. The rows of correct drafts are already under way, unless a draft was
    /// wrong.
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

    /// Keeps only the first `len` tokens.
    pub fn truncate(&mut self, len: usize) -> Option<RollBack> {
        (len < self.wanted).then(|| self.cut(len))
    }

    /// Drops all tokens that have not passed through all layers.
    pub fn give_up(&mut self) -> Option<RollBack> {
        (self.read() < self.tokens.len()).then(|| self.cut(self.read()))
    }

    fn cut(&mut self, len: usize) -> RollBack {
        self.tokens.truncate(len);
        self.wanted = self.wanted.min(len);
        self.roll_back(len)
    }

    /// Drops rows from `len` on from the pipeline.
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

    /// Notes the mark of a roll-back: later answers do not belong to dropped rows.
    pub fn rolled_back(&mut self) {
        self.rolling_back = self.rolling_back.saturating_sub(1);
    }

    /// The pipeline broke or is being replaced: submit nothing until [`ready`](Self::ready).
    pub fn interrupted(&mut self) {
        let flow = self.flow.take();
        self.unsettled |= flow.is_some_and(|flow| !flow.due.is_empty());
    }

    /// The pipeline is gone with its whole state, and will send no answers. The next one that is
    /// [ready](Self::ready) starts empty.
    pub fn lost(&mut self) {
        self.flow = None;
        self.unsettled = false;
        self.rolling_back = 0;
    }

    /// Rows from `from` on can be submitted, in prefill steps of `prefill_rows`.
    ///
    /// Rolls back drafts and unanswered rows: the new pipeline may have accepted rows that were
    /// submitted after it was ready but before this was known here, in other steps than the next
    /// ones.
    pub fn ready(&mut self, from: u32, prefill_rows: u32) -> Option<RollBack> {
        self.interrupted();
        // A roll-back on its way may not be reflected in `from`.
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

    /// The next step, if there is one and not too many are under way. Once all wanted tokens are
    /// submitted, at most `drafts` guesses follow: `guess` receives the tokens, including drafts,
    /// and the number of wanted ones.
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

    /// Handles an answer: the first position and the hidden states. Returns false and ignores it if
    /// it is not the expected one.
    pub fn answered(&mut self, start_position: u32, hidden: Vec<u8>) -> bool {
        let flow = self.flow.as_mut().filter(|_| self.rolling_back == 0);
        // Returned hidden states are those of the last row.
        let first = |due: &Range<usize>| match hidden.is_empty() {
            true => due.start,
            false => due.end - 1,
        };
        let is_due = |due: &mut Range<usize>| first(due) == start_position as usize;
        let Some(due) = flow.and_then(|flow| flow.due.pop_front_if(is_due)) else {
            return false;
        };
        // Rows that a new stage lacked are read twice.
        self.read = self.read.max(due.end);
        if !hidden.is_empty() {
            self.came.push_back((due.end, hidden));
        }
        true
    }

    /// The hidden states after the last of [`tokens`](Self::tokens), once received.
    pub fn take_hidden(&mut self) -> Option<Vec<u8>> {
        while let Some((end, hidden)) = self.came.pop_front_if(|(end, _)| *end <= self.wanted) {
            if end == self.wanted {
                return Some(hidden);
            }
        }
        None
    }
}

/// Converts a position or count to the protocol's type.
fn position(of: usize) -> u32 {
    u32::try_from(of).expect("no position is beyond the capacity")
}
