//! A conversation of a device's user, as `potluck` has it: tokens go in as hidden states, and answers
//! become tokens. When the pipeline is replaced, rows are sent again from the position that it names. Guesses
//! of the next tokens may follow a token, one step each; from the first wrong one on they are rolled back.

use std::rc::Rc;

use potluck_protocol::SessionId;
use potluck_protocol::machine::Machine;
use potluck_protocol::made_up::mix;
use potluck_protocol::session::{DRAFTS_PAUSE, Feed, RollBack, SessionEvent};

use super::arithmetic::Arithmetic;
use super::duration;

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
    /// The prompt and what was generated, and how far the pipeline is with it.
    feed: Feed<u64>,
    generated: u32,
    /// What one device would have generated.
    expected: Vec<u64>,
    /// Placements so far, which is the one in force.
    epoch: u32,
    /// Tokens that are guessed behind each one.
    guesses: usize,
    /// Others need the stages until then.
    no_guesses_until: u64,
    /// Whether the head computes a token now.
    sampling: bool,
    pub(crate) waiting: Option<String>,
    /// When it last made progress.
    pub(crate) progress_at: u64,
}

/// What a conversation's device is to do, or its checkers should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Heard {
    Nothing,
    /// The head makes a token of this.
    Sample(Vec<u8>),
    /// An answer that was not due.
    Wrong {
        /// Its position.
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
        // The answer's last token does not go through the pipeline.
        let mut feed = Feed::new((rows + wanted).saturating_sub(1) as usize);
        let nothing_before = feed.read_on(&tokens);
        debug_assert_eq!(nothing_before, None);
        Self {
            id,
            index,
            request,
            prompt: rows,
            wanted,
            expected: arithmetic.alone(&tokens, wanted),
            arithmetic,
            feed,
            generated: 0,
            epoch: 0,
            guesses: guesses as usize,
            no_guesses_until: 0,
            sampling: false,
            waiting: None,
            progress_at: now,
        }
    }

    /// Tokens that it has of those wanted.
    pub(crate) fn generated(&self) -> u32 {
        self.generated
    }

    pub(crate) fn is_done(&self) -> bool {
        self.generated >= self.wanted
    }

    /// Takes in what the machine says of it.
    pub(crate) fn told(&mut self, now: u64, event: &SessionEvent, machine: &mut Machine) -> Heard {
        match event {
            SessionEvent::Placed(_) => {
                self.epoch += 1;
                self.feed.interrupted();
                self.waiting = None;
                self.progress_at = now;
            }
            SessionEvent::Ready { from, prefill_rows } => {
                let back = self.feed.ready(*from, prefill_rows.get());
                self.roll_back(now, back, machine);
                self.progress_at = now;
                self.submit(now, machine);
            }
            SessionEvent::Answered {
                start_position,
                hidden,
            } => return self.answered(now, *start_position, hidden, machine),
            SessionEvent::Broken { .. } => {
                self.feed.interrupted();
                self.progress_at = now;
            }
            SessionEvent::RolledBack => self.feed.rolled_back(),
            SessionEvent::Shared { .. } => {
                self.no_guesses_until = now + DRAFTS_PAUSE.as_micros() as u64
            }
            SessionEvent::Waiting(why) | SessionEvent::GivenUp(why) => {
                self.waiting = Some(why.clone());
            }
            SessionEvent::Leaving { .. } | SessionEvent::Fetching { .. } => {}
        }
        Heard::Nothing
    }

    fn answered(&mut self, now: u64, start: u32, hidden: &[u8], machine: &mut Machine) -> Heard {
        self.progress_at = now;
        let due = self.feed.read() as u32;
        let says = self.arithmetic.position(hidden).unwrap_or(start);
        if says != start || !self.feed.answered(start, hidden.to_vec()) {
            return Heard::Wrong { came: start, due };
        }
        self.submit(now, machine);
        self.next_sample().map_or(Heard::Nothing, Heard::Sample)
    }

    /// The hidden states from which the head is to make a token now, if it is free and they have arrived.
    fn next_sample(&mut self) -> Option<Vec<u8>> {
        if self.sampling || self.is_done() {
            return None;
        }
        let hidden = self.feed.take_hidden();
        self.sampling = hidden.is_some();
        hidden
    }

    /// The head has made this token: whether it is the right one, and what the head is to do next, as
    /// what follows was guessed and has come.
    pub(crate) fn token(
        &mut self,
        now: u64,
        token: u64,
        machine: &mut Machine,
    ) -> (bool, Option<Vec<u8>>) {
        let right = self.expected.get(self.generated as usize) == Some(&token);
        self.generated += 1;
        self.progress_at = now;
        self.sampling = false;
        if !self.is_done() {
            let back = self.feed.read_on(&[token]);
            self.roll_back(now, back, machine);
            self.submit(now, machine);
        }
        (right, self.next_sample())
    }

    fn roll_back(&mut self, now: u64, back: Option<RollBack>, machine: &mut Machine) {
        if let Some(RollBack(position)) = back {
            machine.roll_back(duration(now), self.id, position);
        }
    }

    /// Submits all rows that are not in the pipeline, the last of which is to be answered, and guesses.
    fn submit(&mut self, now: u64, machine: &mut Machine) {
        if self.sampling || self.is_done() {
            return;
        }
        let guesses = match self.generated > 0 && self.no_guesses_until <= now {
            true => self.guesses,
            false => 0,
        };
        let (id, prompt, expected) = (self.id.0, self.prompt as usize, &self.expected);
        let mut guess = |tokens: &[u64], _| {
            // Two in three are right.
            let wrong = mix(id, tokens.len() as u64).is_multiple_of(3);
            let right = expected.get(tokens.len() - prompt);
            right.map(|right| right ^ u64::from(wrong))
        };
        while let Some(step) = self.feed.next_step(guesses, &mut guess) {
            let (start, rows) = (step.start_position, step.rows());
            let hidden = self.arithmetic.embed(step.tokens, start, self.epoch);
            let submitted =
                machine.submit(duration(now), self.id, start, rows, step.answer, hidden);
            if submitted.is_err() {
                // Placed anew before this was told: the next `Ready` says what is missing.
                self.feed.interrupted();
                return;
            }
        }
    }
}
