//! A conversation that a device's user asks for, as `potluck` has it: hidden states of tokens in,
//! tokens of what comes back, and again from where a pipeline that was replaced says. Behind a token
//! may go guesses of those that follow: they are rolled back from the first wrong one on.

use potluck_protocol::SessionId;
use potluck_protocol::machine::{Machine, SessionEvent};
use potluck_protocol::wire::Answer;

use std::rc::Rc;

use super::arithmetic::{Arithmetic, mix};

/// Prefill steps that are on their way at a time, as in a real node.
const STEPS_ON_THE_WAY: u32 = 6;

/// A conversation.
#[derive(Debug)]
pub(crate) struct Talk {
    pub(crate) id: SessionId,
    /// Its index in the record.
    pub(crate) index: usize,
    /// The request that it is of.
    pub(crate) request: usize,
    prompt: u32,
    wanted: u32,
    arithmetic: Rc<dyn Arithmetic>,
    /// The prompt and what was generated.
    tokens: Vec<u64>,
    /// What one device would have generated.
    expected: Vec<u64>,
    /// Placements so far, which is the one in force.
    epoch: u32,
    flow: Option<Flow>,
    /// Tokens that are guessed behind each one.
    guesses: u32,
    /// Guesses that are in the pipeline, or have come back.
    draft: Vec<u64>,
    /// Hidden states that came back and are to be sampled after the one that the head is at.
    came: Vec<u8>,
    /// Whether the head is at what came.
    sampling: bool,
    pub(crate) waiting: Option<String>,
    /// When it last got on.
    pub(crate) progress_at: u64,
}

/// How far a pipeline that works was given rows.
#[derive(Debug, Clone, Copy)]
struct Flow {
    next: u32,
    due: u32,
    rows: u32,
}

/// What a conversation's device is to do, or its checkers should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Heard {
    Nothing,
    /// The head makes a token of this.
    Sample(Vec<u8>),
    /// What came is not what was asked for.
    Wrong {
        /// The position that came.
        came: u32,
        /// The position that was due.
        due: u32,
    },
}

impl Talk {
    pub(crate) fn new(
        id: SessionId,
        (index, request): (usize, usize),
        (rows, wanted, guesses): (u32, u32, u32),
        arithmetic: Rc<dyn Arithmetic>,
        now: u64,
    ) -> Self {
        let tokens = arithmetic.prompt(id.0, rows);
        Self {
            id,
            index,
            request,
            prompt: rows,
            wanted,
            expected: arithmetic.alone(&tokens, wanted),
            arithmetic,
            tokens,
            epoch: 0,
            flow: None,
            guesses,
            draft: Vec::new(),
            came: Vec::new(),
            sampling: false,
            waiting: None,
            progress_at: now,
        }
    }

    /// Tokens that it has of those wanted.
    pub(crate) fn generated(&self) -> u32 {
        self.tokens.len() as u32 - self.prompt
    }

    pub(crate) fn is_done(&self) -> bool {
        self.generated() >= self.wanted
    }

    /// Takes in what the machine says of it.
    pub(crate) fn told(&mut self, now: u64, event: &SessionEvent, machine: &mut Machine) -> Heard {
        match event {
            SessionEvent::Placed(_) => {
                self.epoch += 1;
                self.flow = None;
                self.waiting = None;
                self.progress_at = now;
            }
            SessionEvent::Ready { from, prefill_rows } => {
                self.flow = Some(Flow {
                    next: *from,
                    due: 0,
                    rows: prefill_rows.get(),
                });
                self.progress_at = now;
                self.submit(now, machine);
            }
            SessionEvent::Answered {
                start_position,
                hidden,
            } => return self.answered(now, *start_position, hidden, machine),
            SessionEvent::Broken { .. } => {
                self.flow = None;
                self.progress_at = now;
            }
            SessionEvent::Waiting(why) => self.waiting = Some(why.clone()),
            SessionEvent::Leaving { .. } | SessionEvent::Fetching { .. } => {}
        }
        Heard::Nothing
    }

    fn answered(&mut self, now: u64, start: u32, hidden: &[u8], machine: &mut Machine) -> Heard {
        self.progress_at = now;
        if let Some(flow) = &mut self.flow {
            flow.due = flow.due.saturating_sub(1);
        }
        if hidden.is_empty() {
            self.submit(now, machine);
            return Heard::Nothing;
        }
        let due = self.tokens.len() as u32 - 1;
        let rows = 1 + self.draft.len();
        let row_bytes = hidden.len() / rows;
        let says = self.arithmetic.position(hidden).unwrap_or(due);
        if start != due || says != due || self.sampling || row_bytes * rows != hidden.len() {
            return Heard::Wrong { came: start, due };
        }
        self.sampling = true;
        let (first, rest) = hidden.split_at(row_bytes);
        self.came = rest.to_vec();
        Heard::Sample(first.to_vec())
    }

    /// What the head is to sample next, if the guess before was right.
    pub(crate) fn next_sample(&mut self) -> Option<Vec<u8>> {
        let rows = self.draft.len();
        if self.came.is_empty() || self.is_done() {
            return None;
        }
        if self.tokens.last() != self.draft.first() {
            return None;
        }
        self.draft.remove(0);
        let row_bytes = self.came.len() / rows.max(1);
        let rest = self.came.split_off(row_bytes);
        Some(std::mem::replace(&mut self.came, rest))
    }

    /// The head has made this token; whether it is the right one.
    pub(crate) fn token(&mut self, now: u64, token: u64) -> bool {
        let at = self.generated() as usize;
        let right = self.expected.get(at) == Some(&token);
        self.tokens.push(token);
        self.progress_at = now;
        right
    }

    /// The head has no more to do.
    pub(crate) fn sampled(&mut self, now: u64, machine: &mut Machine) {
        self.sampling = false;
        self.came.clear();
        self.draft.clear();
        // Guesses behind the last token are wrong, or not of use any more.
        let last = self.tokens.len() as u32 - 1;
        machine.roll_back(std::time::Duration::from_micros(now), self.id, last);
        if let Some(flow) = &mut self.flow {
            flow.next = flow.next.min(last);
        }
        self.submit(now, machine);
    }

    /// All rows that are not in the pipeline, of which the last shall come back.
    fn submit(&mut self, now: u64, machine: &mut Machine) {
        if self.sampling || self.is_done() {
            return;
        }
        let end = self.tokens.len() as u32;
        while let Some(flow) = self
            .flow
            .filter(|f| f.due < STEPS_ON_THE_WAY && f.next < end)
        {
            let to = end.min(flow.next + flow.rows);
            let mut answer = match to == end {
                true => Answer::LastRow,
                false => Answer::Done,
            };
            let mut hidden = self.embed(flow.next, to);
            let mut to = to;
            self.draft.clear();
            if flow.next + 1 == end && self.guesses > 0 {
                answer = Answer::AllRows;
                self.draft = self.guess(end, flow.rows - 1);
                to += self.draft.len() as u32;
                hidden.extend(self.arithmetic.embed(&self.draft, end, self.epoch));
            }
            let now = std::time::Duration::from_micros(now);
            let rows = to - flow.next;
            if machine
                .submit(now, self.id, flow.next, rows, answer, hidden)
                .is_err()
            {
                // Placed anew before this was told: the next `Ready` says what is missing.
                self.flow = None;
                self.draft.clear();
                return;
            }
            self.flow = Some(Flow {
                next: to,
                due: flow.due + 1,
                ..flow
            });
        }
    }

    /// Guesses of the tokens from a position on, at most so many, of which two in three are right.
    fn guess(&self, position: u32, most: u32) -> Vec<u64> {
        let left = self.wanted - self.generated();
        // The answer's last token does not go through the pipeline.
        let count = self.guesses.min(most).min(left.saturating_sub(1));
        let guess = |position: u32| {
            let right = self.expected.get((position - self.prompt) as usize);
            let wrong = mix(self.id.0, u64::from(position)).is_multiple_of(3);
            right.copied().unwrap_or(0) ^ u64::from(wrong)
        };
        (position..position + count).map(guess).collect()
    }

    fn embed(&self, first: u32, end: u32) -> Vec<u8> {
        let tokens = &self.tokens[first as usize..end as usize];
        self.arithmetic.embed(tokens, first, self.epoch)
    }
}
