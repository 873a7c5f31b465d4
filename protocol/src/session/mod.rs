//! A conversation over a pipeline, from the requester's side.
//!
//! [`Session`] opens the stages of a placement, sends rows of hidden states into the ring, receives the
//! answers, notices when a stage fails, and continues over another placement. It does not compute, and it
//! keeps no hidden states: its driver makes them again from the tokens, one table lookup a row.
//! [`machine`](crate::machine) decides which placements it uses. What the requester is told are
//! [`SessionEvent`]s.
//!
//! # States
//! - **Opening.** Each stage of the epoch was told what to hold ([`Session::place`]), and not all have
//!   answered. When all have, [`SessionOutput::Opened`] gives the position from which to submit rows: the
//!   minimum of what the stages hold, but not beyond the first row whose answer is missing or that was
//!   rolled back, as a stage may not have heard of that. A new stage holds nothing, so after a failure the
//!   whole conversation passes through the pipeline again, in prefill steps. What a stage says about
//!   weights that it fetches first is passed on ([`SessionEvent::Fetching`]) and decides nothing.
//! - **Running.** Rows may be [submitted](Session::submit); answers arrive in the same order.
//! - **Broken.** A stage failed or refused: [`SessionEvent::Broken`] says which and why. The session waits
//!   for another placement, for as long as it takes; no answer is lost.
//!
//! While a pipeline runs, devices outside it may [stand by](Session::stand_by): they have loaded the layers
//! that another placement would give them, and take no rows until that placement is in force.
//!
//! [`Feed`] does the requester's bookkeeping: which rows to submit, drafts among them, which rows the
//! answers belong to, and from where to start again. The driver of a session has one, even if it runs in
//! another process.
//!
//! A stage on the requester's own node is treated as any other: its messages are addressed to the requester.
//! The kind of a message says whether it is for the session or for a stage. A frame does not: frames that
//! the session sends are for the stages, and frames that stages send are for the session. A frame from
//! another node is offered to the session first, so that a stage that another peer opened here cannot
//! intercept its answers.
//!
//! # Liveness
//! A stage sends something every [`KEEP_ALIVE`](crate::stage::KEEP_ALIVE) while it is made ready, and while
//! it has rows or rows are on their way to it. A stage without rows is silent until it is asked. When a
//! stage has failed:
//!
//! | condition | time | effect |
//! |---|---|---|
//! | nothing of this session arrives from it | [`PROBE_AFTER`] | it is asked what it holds |
//! | nothing at all arrives from its peer, for any session | [`FAIL_AFTER`]; twice its longest recent silence, at most [`MOST_PATIENCE`] | [`Cause::Silent`] |
//! | it opens, its peer is heard, and nothing of this session arrives | [`STUCK_AFTER`] | [`Cause::Stuck`] |
//! | it says that it opens | [`LOAD_WITHIN`] | [`Cause::Stuck`] |
//! | it says that its weights arrive, and not another thousandth of them does | [`FETCH_WITHIN`] | [`Cause::Stuck`] |
//! | an answer is due; all stages reply, none computes it, none progresses | [`LOST_AFTER`], plus what the least steady stage has beyond [`FAIL_AFTER`] | [`Cause::RowsLost`], of the first stage that lacks the rows |
//! | an answer is due, stages compute, and none gets beyond its best position | [`STUCK_AFTER`] | [`Cause::Stuck`], of the first that lacks the rows |
//! | an answer is due, whatever stages say | [`ANSWER_WITHIN`] | [`Cause::Stuck`], likewise |
//! | its answer is not the one that is due | at once | [`Cause::Faulty`] |
//! | its rows are not numbers, as the next stage or the requester sees | at once | [`Cause::NotFinite`] |
//!
//! A silence counts while something is due, even one that ends after the stage was given up. It is
//! remembered for half a minute to a minute, across sessions ([`Patience`]). So a link that stalls fails
//! once and not repeatedly, and on steady links a dead device is noticed soon. While parts of a frame arrive
//! at a stage or at the requester, neither it nor the frames behind it count as lost, whatever session it
//! is of. Time in which the requester did not run is nobody's silence. Rows of the requester's own stage
//! that are not numbers, as those of a damaged model, are no failure of a stage: they are passed on and end
//! the answer.

mod awaited;
mod event;
mod feed;
mod fetching;
mod liveness;
mod patience;
mod requester;
mod ring;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub use event::{Cause, SessionEvent};
pub use feed::{Feed, FeedStep, RollBack, STEPS_ON_THE_WAY};
pub use patience::Patience;
pub use requester::Session;

use crate::placement::Stage;
use crate::wire::{ContentHash, Control, Frame, FrameError, HiddenShape};
use crate::{Arithmetic, PeerId, SessionId};

/// A stage that has been silent for so long is queried.
pub const PROBE_AFTER: Duration = Duration::from_millis(300);
/// A stage that has been silent for so long has failed, if it never was silent for long before.
pub const FAIL_AFTER: Duration = Duration::from_millis(750);
/// A stage that has been silent for so long has failed, whatever it was like before.
pub const MOST_PATIENCE: Duration = Duration::from_secs(3);
/// Rows that no stage computes for so long, and that do not arrive at one, are lost.
pub const LOST_AFTER: Duration = Duration::from_secs(2);
/// A pipeline in which no row makes progress for so long is given up, whatever its stages say.
pub const STUCK_AFTER: Duration = Duration::from_secs(30);
/// A pipeline whose answer is due for so long is given up, whatever progress its stages report.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(300);
/// A stage that has its weights has failed if it is not ready after so long.
pub const LOAD_WITHIN: Duration = Duration::from_secs(60);
/// A stage that fetches weights has failed if no other thousandth of them arrives for so long.
pub const FETCH_WITHIN: Duration = Duration::from_secs(300);

/// How long a requester sends no drafts after it heard that a stage has rows of others, too.
pub const DRAFTS_PAUSE: Duration = Duration::from_secs(1);

/// What stays the same for a whole session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionSetup {
    /// Chosen at random.
    pub id: SessionId,
    /// The requester.
    pub requester: PeerId,
    /// The model.
    pub manifest: ContentHash,
    /// What frames carry.
    pub shape: HiddenShape,
    /// Positions to reserve, at least 1.
    pub context: u32,
    /// How all stages compute.
    pub arithmetic: Arithmetic,
}

/// A stage, and what it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlacedStage {
    /// Who runs which layers.
    pub stage: Stage,
    /// Weights and KV caches, as the requester counts them.
    pub memory_bytes: u64,
}

/// Outputs of a session.
#[derive(Debug, Clone, PartialEq)]
pub enum SessionOutput {
    /// Send a message to a peer, or to this node's own [`Stages`](crate::stage::Stages).
    Send(PeerId, Control),
    /// Send a frame to the first stage: to this node's own [`Stages`](crate::stage::Stages) if that
    /// is its peer, never to this session.
    SendFrame(PeerId, Frame),
    /// All stages are open: rows from this position on are to be submitted, those before are held. The
    /// machine tells it as [`SessionEvent::Ready`].
    Opened {
        /// At most what was submitted before, and before all that was not answered or was
        /// [rolled back](Session::roll_back) since.
        from: u32,
    },
    /// What the requester should know. A session alone tells `Fetching`, `Answered`, `RolledBack`,
    /// `Shared`, `Leaving` and `Broken`.
    Event(SessionEvent),
}

/// Why a placement cannot be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// There is no stage.
    #[error("a placement has at least one stage")]
    Empty,
    /// Two stages are on one node.
    #[error("a node has at most one stage of a session, {0} has two")]
    Twice(PeerId),
    /// A stage has no layers, or not those that follow.
    #[error("the layers of the stages do not follow each other")]
    Gap,
}

/// Why rows cannot be submitted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// Not all stages are open.
    #[error("the pipeline is not ready")]
    NotReady,
    /// The rows do not follow those before.
    #[error("the next row is that of position {0}")]
    NotNext(u32),
    /// More positions than were reserved.
    #[error("only {0} positions are reserved")]
    BeyondContext(u32),
    /// Not whole rows, or too many.
    #[error(transparent)]
    Frame(#[from] FrameError),
}
