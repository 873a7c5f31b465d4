//! A conversation over a pipeline, from the requester's side.
//!
//! [`Session`] opens the stages of a placement, sends rows of hidden states into the ring, receives
//! the answers, notices when a stage fails, and continues over another placement. It does not
//! compute, and it keeps no hidden states: its driver recreates them from the tokens, one table
//! lookup per row. [`machine`](crate::machine) decides which placements it uses. The requester
//! receives [`SessionEvent`]s.
//!
//! # States
//! - **Opening.** Each stage of the epoch was asked to open ([`Session::place`]), and not all have
//!   answered. When all have, [`SessionOutput::Opened`] gives the position from which to submit
//!   rows: the minimum of what the stages hold, but not beyond the first row whose answer is
//!   missing or that was rolled back, because a stage may not know of that. A new stage holds
//!   nothing, so after a failure the whole conversation passes through the pipeline again, in
//!   prefill steps. A stage's reports about weights that it fetches first are passed on
//!   ([`SessionEvent::Fetching`]) and do not affect the position.
//! - **Running.** Rows may be [submitted](Session::submit); answers arrive in the same order.
//! - **Broken.** A stage failed or refused: [`SessionEvent::Broken`] reports which and why. The
//!   session waits for another placement without a time limit; no answer is lost.
//!
//! While a pipeline runs, devices outside it may [stand by](Session::stand_by): they have loaded
//! the layers that another placement would give them, and take no rows until that placement is in
//! force.
//!
//! [`Feed`] does the requester's bookkeeping: which rows to submit, drafts among them, which rows
//! the answers belong to, and from where to start again. The driver of a session has one, even if
//! it runs in another process.
//!
//! A stage on the requester's own node is treated as any other: its messages are addressed to the
//! requester. The kind of a message determines whether it is for the session or for a stage. A
//! frame does not: frames that the session sends are for the stages, and frames that stages send
//! are for the session. A frame from another node is offered to the session first, so that a stage
//! that another peer opened here cannot intercept its answers.
//!
//! # Liveness
//! A stage sends something every [`KEEP_ALIVE`](crate::stage::KEEP_ALIVE) while it is made ready,
//! and while it has rows or rows are on their way to it. A stage without rows is silent until it is
//! asked. When a stage has failed:
//!
//! | condition | time | effect |
//! |---|---|---|
//! | nothing of this session arrives from it | [`PROBE_AFTER`] | it is queried for its state |
//! | nothing at all arrives from its peer, for any session | [`FAIL_AFTER`]; twice its longest recent silence, at most [`MOST_PATIENCE`] | [`Cause::Silent`] |
//! | it opens, its peer is heard, and nothing of this session arrives | [`STUCK_AFTER`] | [`Cause::Stuck`] |
//! | it reports that it opens | [`LOAD_WITHIN`] | [`Cause::Stuck`] |
//! | it reports that its weights arrive, but not another thousandth of them does | [`FETCH_WITHIN`] | [`Cause::Stuck`] |
//! | an answer is due; all stages reply, none computes it, none progresses | [`LOST_AFTER`], plus the longest allowed silence of a stage minus [`FAIL_AFTER`] | [`Cause::RowsLost`], of the first stage that lacks the rows |
//! | an answer is due, stages compute, and none gets beyond its best position | [`STUCK_AFTER`] | [`Cause::Stuck`], of the first that lacks the rows |
//! | an answer is due, whatever stages report | [`ANSWER_WITHIN`] | [`Cause::Stuck`], likewise |
//! | its answer is not the expected one | at once | [`Cause::Faulty`] |
//! | its rows are not numbers, as detected by the next stage or the requester | at once | [`Cause::NotFinite`] |
//!
//! A silence counts while something is due, even one that ends after the stage was given up. It is
//! remembered for half a minute to a minute, across sessions ([`Patience`]). So a link that stalls
//! fails once and not repeatedly, and on steady links a dead device is noticed soon. While parts of
//! a frame arrive at a stage or at the requester, neither it nor the frames behind it count as
//! lost, whatever session they belong to. Time in which the requester did not run does not count as
//! silence. If rows of the requester's own stage are not numbers, as with a damaged model, no stage
//! has failed: they are passed on and end the answer.

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

/// A stage that has been silent for this long is queried.
pub const PROBE_AFTER: Duration = Duration::from_millis(300);
/// A stage that has been silent for this long has failed, unless it had long silences before.
pub const FAIL_AFTER: Duration = Duration::from_millis(750);
/// A stage that has been silent for this long has failed in any case.
pub const MOST_PATIENCE: Duration = Duration::from_secs(3);
/// Rows that no stage computes or receives for this long are lost.
pub const LOST_AFTER: Duration = Duration::from_secs(2);
/// A pipeline without progress for this long is given up, whatever its stages report.
pub const STUCK_AFTER: Duration = Duration::from_secs(30);
/// A pipeline whose answer is due for this long is given up, whatever progress its stages report.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(300);
/// A stage that has its weights has failed if it is not ready after this time.
pub const LOAD_WITHIN: Duration = Duration::from_secs(60);
/// A stage that fetches weights has failed if no other thousandth of them arrives within this time.
pub const FETCH_WITHIN: Duration = Duration::from_secs(300);

/// How long a requester sends no drafts after a stage reported rows of other sessions.
pub const DRAFTS_PAUSE: Duration = Duration::from_secs(1);

/// The constant parameters of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionSetup {
    /// A random id.
    pub id: SessionId,
    /// The requester.
    pub requester: PeerId,
    /// The model.
    pub manifest: ContentHash,
    /// The shape of frames.
    pub shape: HiddenShape,
    /// Positions to reserve, at least 1.
    pub context: u32,
    /// The arithmetic of all stages.
    pub arithmetic: Arithmetic,
}

/// A stage and its memory requirement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlacedStage {
    /// The device and its layers.
    pub stage: Stage,
    /// Memory for weights and KV caches, by the requester's calculation.
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
    /// All stages are open: submit rows from this position on; the stages hold those before. The
    /// machine reports this as [`SessionEvent::Ready`].
    Opened {
        /// At most the end of the submitted rows, and before all rows that were not answered or
        /// were [rolled back](Session::roll_back) since.
        from: u32,
    },
    /// An event for the requester. The session itself reports only `Fetching`, `Answered`,
    /// `RolledBack`, `Shared`, `Leaving` and `Broken`.
    Event(SessionEvent),
}

/// Why a placement is invalid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// There is no stage.
    #[error("a placement has at least one stage")]
    Empty,
    /// Two stages are on one node.
    #[error("a node has at most one stage of a session, {0} has two")]
    Twice(PeerId),
    /// A stage has no layers, or not the next ones.
    #[error("the layers of the stages do not follow each other")]
    Gap,
}

/// Why rows cannot be submitted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// Not all stages are open.
    #[error("the pipeline is not ready")]
    NotReady,
    /// The rows do not follow the previous ones.
    #[error("the next row is that of position {0}")]
    NotNext(u32),
    /// More positions than were reserved.
    #[error("only {0} positions are reserved")]
    BeyondContext(u32),
    /// The payload is not whole rows, or there are too many.
    #[error(transparent)]
    Frame(#[from] FrameError),
}
