//! The arithmetic of simulated hosts: the made-up model, or a real one.

mod made_up;

use std::fmt::Debug;

use potluck_protocol::LayerRange;

pub(crate) use made_up::MadeUp;

/// A model's arithmetic: the requester's part, and the layers of stages.
pub(crate) trait Arithmetic: Debug {
    /// A prompt of so many tokens, of what a session is named by.
    fn prompt(&self, session: u64, rows: u32) -> Vec<u64>;

    /// The tokens that one device gives.
    fn alone(&self, prompt: &[u64], wanted: u32) -> Vec<u64>;

    /// Hidden states before the first layer of tokens from a position on, made for a placement.
    fn embed(&self, tokens: &[u64], first: u32, epoch: u32) -> Vec<u8>;

    /// The token of a hidden state behind the last layer.
    fn sample(&self, hidden: &[u8]) -> u64;

    /// The position that a row says it is of, if it does.
    fn position(&self, row: &[u8]) -> Option<u32>;

    /// Empty caches of a stage.
    fn caches(&self, layers: LayerRange, context: u32) -> Box<dyn Caches>;
}

/// A session's caches of some layers.
pub(crate) trait Caches: Debug {
    /// Positions that they hold.
    fn filled(&self) -> u32;

    /// Sends rows, from a position that follows what is held, through the layers, as they are in
    /// force for a placement; what was held from there on is dropped.
    fn pass(&mut self, start: u32, rows: u32, hidden: Vec<u8>, epoch: u32) -> Passed;

    /// Empty caches of other layers of the same session. What is known of
    /// layers that stay may be of use.
    fn of_layers(self: Box<Self>, layers: LayerRange) -> Box<dyn Caches>;
}

/// The result of rows that went through layers.
#[derive(Debug)]
pub(crate) struct Passed {
    /// The hidden states behind them; none if they could not be computed.
    pub(crate) hidden: Vec<u8>,
    /// What is wrong, for the checkers.
    pub(crate) fault: Option<Fault>,
    /// The layers that were really computed: not those whose result was known.
    pub(crate) computed: [Option<LayerRange>; 2],
}

/// What is wrong with rows that were computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Rows before them are missing.
    Gap {
        /// Rows that are held.
        held: u32,
    },
    /// They were made for an older placement than the one that the stage was loaded for.
    Stale {
        /// Theirs.
        made_for: u32,
        /// The stage's.
        in_force: u32,
    },
    /// One is not at its position.
    Misplaced {
        /// The position that it was made for.
        made_for: u32,
        /// The position at which it arrived.
        came_as: u32,
    },
}
