//! A conversation that generates tokens through a machine.

use std::time::Duration;

use crate::machine::Machine;
use crate::made_up::{embed, sample};
use crate::session::SessionEvent;
use crate::wire::Answer;
use crate::world::{alone, prompt};
use crate::{PeerId, SessionId};

pub(super) const PROMPT: usize = 50;

pub(super) struct Talk {
    /// The prompt and what was generated.
    pub(super) tokens: Vec<u64>,
    wanted: usize,
    /// What happened, but for answers.
    pub(super) events: Vec<(Duration, SessionEvent)>,
    pub(super) answered_at: Vec<Duration>,
    prefill_rows: usize,
    /// The position after the last row that was submitted.
    submitted: usize,
}

impl Talk {
    pub(super) fn new(wanted: usize) -> Self {
        Self {
            tokens: prompt(PROMPT),
            wanted,
            events: Vec::new(),
            answered_at: Vec::new(),
            prefill_rows: 1,
            submitted: 0,
        }
    }

    pub(super) fn is_done(&self) -> bool {
        self.tokens.len() >= PROMPT + self.wanted
    }

    /// Whether it has the tokens that one device gives.
    pub(super) fn is_right(&self) -> bool {
        self.tokens == alone(&prompt(PROMPT), self.wanted)
    }

    pub(super) fn told(
        &mut self,
        now: Duration,
        id: SessionId,
        event: SessionEvent,
        machine: &mut Machine,
    ) {
        match &event {
            SessionEvent::Ready { from, prefill_rows } => {
                self.submitted = *from as usize;
                self.prefill_rows = prefill_rows.get() as usize;
                self.submit(now, id, machine);
            }
            SessionEvent::Answered { hidden, .. } => {
                if let Ok(hidden) = hidden.as_slice().try_into() {
                    self.answered_at.push(now);
                    self.tokens.push(sample(u64::from_le_bytes(hidden)));
                    self.submit(now, id, machine);
                }
                return;
            }
            _ => {}
        }
        self.events.push((now, event));
    }

    /// Its user goes back to the prompt, and asks again.
    pub(super) fn again(&mut self, now: Duration, id: SessionId, machine: &mut Machine) {
        self.tokens.truncate(PROMPT);
        // The last of the prompt goes again, as its answer is wanted.
        self.submitted = PROMPT - 1;
        machine.roll_back(now, id, PROMPT as u32 - 1);
        self.submit(now, id, machine);
    }

    /// All rows that are not in the pipeline, of which the last shall come back.
    fn submit(&mut self, now: Duration, id: SessionId, machine: &mut Machine) {
        while self.submitted < self.tokens.len() && !self.is_done() {
            let end = (self.submitted + self.prefill_rows).min(self.tokens.len());
            let last = end == self.tokens.len();
            let answer = if last { Answer::LastRow } else { Answer::Done };
            let rows = self.tokens[self.submitted..end].iter();
            let hidden = rows.flat_map(|&token| embed(token).to_le_bytes()).collect();
            let (start, rows) = (self.submitted as u32, (end - self.submitted) as u32);
            if machine
                .submit(now, id, start, rows, answer, hidden)
                .is_err()
            {
                // Placed anew before this was told: the next `Ready` says what is missing.
                return;
            }
            self.submitted = end;
        }
    }

    /// Over whom each placement went.
    pub(super) fn placements(&self) -> Vec<Vec<PeerId>> {
        let placed = |(_, event): &(Duration, SessionEvent)| match event {
            SessionEvent::Placed(prediction) => Some(
                prediction
                    .stages
                    .iter()
                    .map(|placed| placed.stage.peer)
                    .collect(),
            ),
            _ => None,
        };
        self.events.iter().filter_map(placed).collect()
    }

    /// Why it waited.
    pub(super) fn waited(&self) -> Vec<&str> {
        self.events
            .iter()
            .filter_map(|(_, event)| match event {
                SessionEvent::Waiting(why) => Some(why.as_str()),
                _ => None,
            })
            .collect()
    }

    /// Who failed.
    pub(super) fn broken(&self) -> Vec<PeerId> {
        let broken = |(_, event): &(Duration, SessionEvent)| match event {
            SessionEvent::Broken { peer, .. } => Some(*peer),
            _ => None,
        };
        self.events.iter().filter_map(broken).collect()
    }

    /// The longest time between two answers.
    pub(super) fn stall(&self) -> Duration {
        let gaps = self.answered_at.windows(2).map(|pair| pair[1] - pair[0]);
        gaps.max().unwrap_or_default()
    }
}
