//! What a device's processor does, and what waits for it.
//!
//! Work is done one after the other, in the order in which it was requested, as in a real node's executor.
//! The head, which makes tokens, takes its turn among the steps.

use std::collections::VecDeque;

use potluck_protocol::machine::LoadRefused;
use potluck_protocol::stage::{Load, Step};
use potluck_protocol::{PlanEpoch, SessionId, StageId};

/// Something for the processor.
#[derive(Debug)]
pub(crate) enum Work {
    Load(Load),
    /// A load under way, and its result.
    Loading(StageId, PlanEpoch, Result<(), LoadRefused>),
    /// With whether it was ordered while the device's owner needed it.
    Step(Step, bool),
    /// A step under way: its number and its result.
    Computing(u64, Vec<Vec<u8>>),
    Free(StageId),
    /// Makes a token of a hidden state.
    Ends(SessionId, Vec<u8>),
}

/// The processor.
#[derive(Debug, Default)]
pub(crate) struct Bench {
    pub(crate) waiting: VecDeque<Work>,
    /// The work under way, and until when it takes; while suspended, the time that is left.
    pub(crate) at: Option<(Work, u64)>,
    /// Steps whose result is held back while too much waits to be sent.
    pub(crate) held_back: VecDeque<(u64, Vec<Vec<u8>>)>,
    /// Its speed when it began that.
    pub(crate) speed: f64,
    /// When it began that, or ran on.
    pub(crate) began_at: u64,
    /// Counts what it began: whoever says that something is done names it.
    pub(crate) number: u32,
    /// When the last step with rows of others ended, and how long it took.
    pub(crate) of_others: Option<(u64, u64)>,
    /// Whether the step under way has rows of others.
    pub(crate) at_others: bool,
    pub(crate) busy_us: u64,
    pub(crate) steps: u64,
    pub(crate) rows: u64,
}

impl Bench {
    /// The program ends: nothing waits any more, and what it was at is nobody's.
    pub(crate) fn end(&mut self) {
        self.waiting.clear();
        self.held_back.clear();
        self.at = None;
        self.of_others = None;
        self.number += 1;
    }
}
