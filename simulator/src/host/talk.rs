//! A conversation that a device's user asks for, as `potluck` has it: hidden states of tokens in,
//! tokens of what comes back, and again from where a pipeline that was replaced says.

use potluck_protocol::SessionId;
use potluck_protocol::machine::{Machine, SessionEvent};
use potluck_protocol::wire::Answer;

use std::rc::Rc;

use super::arithmetic::Arithmetic;

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
        (rows, wanted): (u32, u32),
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
                    next: (*from).min(self.tokens.len() as u32),
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
            SessionEvent::Leaving { .. } => {}
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
        let says = self.arithmetic.position(hidden).unwrap_or(due);
        if start != due || says != due || self.sampling {
            return Heard::Wrong { came: start, due };
        }
        self.sampling = true;
        Heard::Sample(hidden.to_vec())
    }

    /// The head has made this token; whether it is the right one.
    pub(crate) fn token(&mut self, now: u64, token: u64, machine: &mut Machine) -> bool {
        let at = self.generated() as usize;
        let right = self.expected.get(at) == Some(&token);
        self.tokens.push(token);
        self.sampling = false;
        self.progress_at = now;
        self.submit(now, machine);
        right
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
            let answer = if to == end {
                Answer::LastRow
            } else {
                Answer::Done
            };
            let hidden = self.embed(flow.next, to);
            let now = std::time::Duration::from_micros(now);
            let rows = to - flow.next;
            if machine
                .submit(now, self.id, flow.next, rows, answer, hidden)
                .is_err()
            {
                // Placed anew before this was told: the next `Ready` says what is missing.
                self.flow = None;
                return;
            }
            self.flow = Some(Flow {
                next: to,
                due: flow.due + 1,
                ..flow
            });
        }
    }

    fn embed(&self, first: u32, end: u32) -> Vec<u8> {
        let tokens = &self.tokens[first as usize..end as usize];
        self.arithmetic.embed(tokens, first, self.epoch)
    }
}
