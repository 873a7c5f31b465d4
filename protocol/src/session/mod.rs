//! A conversation over a pipeline, as its requester sees it.
//!
//! [`Session`] opens the stages of a placement, sends rows of hidden states into the ring and takes
//! what comes back, notices when a stage fails, and goes on over another placement. It neither
//! computes nor remembers hidden states: whoever drives it makes them again from the tokens, which is
//! one table lookup a row. Which placements it goes over, [`machine`](crate::machine) decides.
//!
//! # States
//! - **Opening.** Every stage of the epoch was told what to hold ([`Session::place`]), not all have
//!   answered. When all have, [`SessionOutput::Opened`] says from which position on rows are to be
//!   submitted: what the stage with the fewest positions holds, but before any row whose answer has
//!   not come, and before any that was rolled back, as a stage may not have heard of that. After a
//!   failure a stage that is new holds none, so the whole conversation goes through the pipeline
//!   again, in prefill steps. What a stage says of the weights that it has to fetch first is told
//!   ([`SessionEvent::Fetching`]), and decides nothing.
//! - **Running.** Rows may be [submitted](Session::submit); answers come in the same order.
//! - **Broken.** A stage failed or refused: [`SessionEvent::Broken`] says which and why. The session
//!   waits for another placement, for as long as it takes; nothing that was answered is lost.
//!
//! While a pipeline runs, devices that are not in it may [stand by](Session::stand_by): they have
//! loaded what another placement would need of them, and take no rows before that is in force.
//!
//! [`Feed`] keeps the requester's books: which rows are to be submitted, drafts of tokens to come among
//! them, what the answers are of, and from where on all goes again. Whoever drives a session has one for
//! it, be it in another process.
//!
//! A stage may be the requester's own and is treated as any other: the messages to it are addressed
//! to the requester. A message tells by its kind which of the two it is for. A frame between the two
//! does not: one that the session sends is for the stages, one that the stages send is for the
//! session. Of a frame from another node the session is asked first, so that no stage that another
//! peer opens here can take its answers.
//!
//! # Liveness
//! While a stage is made ready, and while an answer is due of one that has rows or to which they come,
//! it is heard every [`KEEP_ALIVE`](crate::stage::KEEP_ALIVE). A stage that has no rows yet says nothing
//! until it is asked. When a stage has failed:
//!
//! | condition | time | effect |
//! |---|---|---|
//! | it says nothing of the session | [`PROBE_AFTER`] | it is asked what it holds |
//! | nothing at all comes of its peer, of no session | [`FAIL_AFTER`]; twice its longest silence of late, at most [`MOST_PATIENCE`] | [`Cause::Silent`] |
//! | it opens, its peer is heard, and it says nothing of the session | [`STUCK_AFTER`] | [`Cause::Stuck`] |
//! | it says that it opens | [`LOAD_WITHIN`] | [`Cause::Stuck`] |
//! | it says that its weights come, and no other thousandth of them comes | [`FETCH_WITHIN`] | [`Cause::Stuck`] |
//! | an answer is due; all stages answer, none is at it, none comes further | [`LOST_AFTER`], and what the least steady stage has more than [`FAIL_AFTER`] | [`Cause::RowsLost`], of the first stage that lacks the rows |
//! | an answer is due, stages are at it, none comes further than ever since | [`STUCK_AFTER`] | [`Cause::Stuck`], of the first that lacks the rows |
//! | an answer is due, whatever stages say | [`ANSWER_WITHIN`] | [`Cause::Stuck`], likewise |
//! | its answer is not the one that is due | at once | [`Cause::Faulty`] |
//! | its rows are not numbers, as the stage behind it says, or the requester sees | at once | [`Cause::NotFinite`] |
//!
//! A silence counts while something is due, also one that ended when the stage had been given up; it is
//! remembered for half a minute to a minute, from one session to the next ([`Patience`]). So ways that
//! stall fail once and not again and again, and on others a device that dies is noticed soon. A frame of
//! which parts come, to a stage or to the requester, is not lost, nor are those behind it, of whatever
//! session. Time in which the requester itself did not run is nobody's silence. Rows that are not
//! numbers and come of the requester's own stage, as of a damaged model, are no fault of a stage: they
//! are handed on, and end the answer.

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

/// A stage that has been silent for so long is asked whether it is there.
pub const PROBE_AFTER: Duration = Duration::from_millis(300);
/// A stage that has been silent for so long has failed, if it never was silent for long before.
pub const FAIL_AFTER: Duration = Duration::from_millis(750);
/// A stage that has been silent for so long has failed, whatever it was like before.
pub const MOST_PATIENCE: Duration = Duration::from_secs(3);
/// Rows that no stage has been at for so long, and that do not arrive at one, are lost.
pub const LOST_AFTER: Duration = Duration::from_secs(2);
/// After so long without a row that came further a pipeline is given up, whatever its stages say.
pub const STUCK_AFTER: Duration = Duration::from_secs(30);
/// An answer that has not come after so long does not come, however far stages say that they are.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(300);
/// A stage that has its weights is ready after so long, or has failed.
pub const LOAD_WITHIN: Duration = Duration::from_secs(60);
/// A stage whose weights come has another thousandth of them after so long, or has failed.
pub const FETCH_WITHIN: Duration = Duration::from_secs(300);

/// So long a requester sends no drafts after it has heard that a stage has rows of others, too.
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

/// What is to be done for a session, and what came of it.
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
