//! What a node computes for others: the stages that requesters opened on it.
//!
//! [`Stages`] decides which frame is computed when, for whoever drives it with times, messages and
//! the results of computation; it computes nothing itself. The page of [`wire`](crate::wire) says
//! what a stage does with a frame; what this adds:
//!
//! - **One step at a time.** While a step is computed, frames queue. The next step takes the front
//!   frame of each session that has one, as long as their rows fit, so sessions share the reading of
//!   weights; by the exactness of the arithmetic that changes nobody's bits.
//! - **The owner first.** While conversations of this node's own are computed, or its owner computes
//!   something else here, rows of others wait until they have had no more than a fifth of the time;
//!   two seconds at most.
//! - **The requester is the only writer.** Frames come from the predecessor that the requester
//!   named, in the epoch that is in force. A frame whose start lies below rows that are queued takes
//!   their place; rows that were rolled back while they were computed go nowhere. One that starts
//!   beyond what is there cannot be computed: the requester is told what is held, and sends the rest
//!   again.
//! - **Shared.** When rows of several sessions wait for each other, or for the owner, requesters other
//!   than the owner hear of it, at most every [`SHARED_EVERY`], and send no drafts for a while.
//! - **A stage is known by requester and session**, as two requesters may choose the same number. Frames
//!   say only the number and from whom they come: a second stage that they could be of is refused.
//! - **Fair.** The next step takes first the rows of the requester for whom least was computed, however
//!   many sessions it has; of its sessions, that which waits for longest. Who was idle has saved nothing
//!   up.
//! - **Bounded.** Sessions, together and of each requester, and for each the bytes that wait. Before a
//!   session is full its predecessor is not [read from](Stages::has_room_for) any more, and feels it.
//! - **A slow successor** slows the sessions that go to it and no other: while too much waits to be sent
//!   to it, their rows are not computed, and their queues fill.
//! - **Standbys give way.** A stage that only stands by takes no rows, and fetches no weights. It is
//!   freed, and its requester told, when a stage that is to work lacks its memory or its place.
//! - **The owner takes memory and places.** A stage for this node's own session takes those of others
//!   that it lacks, the one first that was not heard of for longest; its requester is told, and goes
//!   elsewhere.
//!
//!   | the owner's stage | takes from |
//!   |---|---|
//!   | is all of its model | any other |
//!   | needs other devices, too | stages that stand by, and those that [rest](RESTS_AFTER) |
//!
//!   Two owners that took from each other what is at work would do so for ever: of two rings that each
//!   need both devices, the one that is at work goes on.
//! - **Signs of life.** While rows come in, wait or are computed, or the stage is being made ready, which
//!   takes as long as fetching its weights, the requester hears something at least every [`KEEP_ALIVE`],
//!   with how late this node itself was woken.
//! - **Nothing stays for ever.** A session that nobody used for [`StageLimits::idle`] is freed. Of one
//!   whose requester's connection ended, what waits to be computed is dropped at once: it comes again if
//!   the requester does. The rest is freed if it is not opened again:
//!
//!   | the connection | within |
//!   |---|---|
//!   | was given up, as its requester was silent: it may be out of reach for a while | [`ORPHANED_FOR`] |
//!   | was closed by the other side, as that of a process that ends is | [`CLOSED_FOR`] |
//!   | is there again by then, the first time: its session may go on | [`BACK_FOR`], from then on |
//!
//!   What a requester lost so is freed at once if something else that it opens lacks place or memory.

mod computing;
mod gone;
mod held;
mod owner;
mod room;
#[cfg(test)]
mod sequences;
mod shares;
mod stages;
mod steps;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub use stages::Stages;

use crate::wire::{ContentHash, Control, Frame, HiddenShape};
use crate::{LayerRange, PeerId, PlanEpoch, StageId};

/// How often a requester that waits for a stage, or for rows of it, hears of it.
pub const KEEP_ALIVE: Duration = Duration::from_millis(100);

/// A requester hears again after so long that its rows and those of others wait for each other.
pub const SHARED_EVERY: Duration = Duration::from_millis(500);

/// A session whose requester was silent for too long stays for so long: one that lost its way opens it
/// again sooner.
pub const ORPHANED_FOR: Duration = Duration::from_secs(30);

/// A session whose requester closed the connection stays for so long: one that was killed does not keep
/// the memory, and one that lives connects again sooner.
pub const CLOSED_FOR: Duration = Duration::from_secs(2);

/// Its requester is connected again: longer than a session does without a device that failed it.
pub const BACK_FOR: Duration = Duration::from_secs(8);

/// A stage rests when its requester was not heard of for so long and none of its rows waits: a person
/// reads or writes meanwhile. Its memory may go to the owner of the device.
pub const RESTS_AFTER: Duration = Duration::from_secs(10);

/// What requesters may have here, together and each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StageLimits {
    /// Sessions at once.
    pub sessions: usize,
    /// Of them those of one requester, but for the device's owner.
    pub each: usize,
    /// Bytes of hidden states that wait in one session; one frame more is taken.
    pub queued_bytes: usize,
    /// Rows of a step of several sessions; one session's frame may have more.
    pub step_rows: u32,
    /// After so long without a word of its requester a session is freed.
    pub idle: Duration,
}

impl Default for StageLimits {
    fn default() -> Self {
        Self {
            sessions: 32,
            each: 16,
            queued_bytes: 4 << 20,
            step_rows: 64,
            idle: Duration::from_secs(600),
        }
    }
}

/// What is to be done for the stages, in this order: a [`Load`](Self::Load) or
/// [`Free`](Self::Free) waits for the step that is being computed.
#[derive(Debug, Clone, PartialEq)]
pub enum StageOutput {
    /// Send a message to a peer.
    Send(PeerId, Control),
    /// Send a frame to a neighbour of a ring. If that is this node, it is the requester: the frame
    /// is for its [`Session`](crate::session::Session), never for these stages.
    SendFrame(PeerId, Frame),
    /// Map the weights and reserve the KV caches, then call [`Stages::loaded`]. A session that had
    /// the same layers of the same model keeps its caches.
    Load(Load),
    /// Compute, then call [`Stages::computed`].
    Compute(Step),
    /// Free the session's caches, and its weights if no other has them.
    Free(StageId),
}

/// A stage to be made ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Load {
    /// Whose caches.
    pub stage: StageId,
    /// The placement that the stage is of.
    pub epoch: PlanEpoch,
    /// The model.
    pub manifest: ContentHash,
    /// The layers.
    pub layers: LayerRange,
    /// Positions to reserve.
    pub context: u32,
    /// Values of a hidden state.
    pub d_model: u32,
}

/// Rows of one or several sessions that go through their layers together.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Counts up.
    pub number: u64,
    /// At least one, of different sessions.
    pub parts: Vec<StepPart>,
}

/// One session's rows of a step.
#[derive(Debug, Clone, PartialEq)]
pub struct StepPart {
    /// Whose caches.
    pub stage: StageId,
    /// Position of the first row: what the caches hold from there on is dropped.
    pub start_position: u32,
    /// How many.
    pub rows: u32,
    /// How the hidden states are written.
    pub shape: HiddenShape,
    /// The hidden states, `[rows, d_model]`.
    pub hidden: Vec<u8>,
}
