//! The stages that a node computes: for other requesters, and for its own sessions.
//!
//! [`Stages`] decides which frames are computed when; its driver supplies times, messages and the results
//! of computation. [`wire`](crate::wire) specifies what a stage does with a frame. In addition:
//!
//! - **One step at a time.** Frames queue while a step is computed. The next step takes the front frame of
//!   each session, as many as fit, so that sessions share one pass over the weights. By the exactness of
//!   the arithmetic that changes no bit.
//! - **The owner first.** While this node's own sessions are computed, or its owner computes something else
//!   here, rows of others wait until their share of the time is below a fifth; two seconds at most.
//! - **The requester is the only writer.** Frames are accepted from the predecessor that the requester
//!   named, in the epoch in force. A frame that starts below queued rows replaces them, and rows that were
//!   rolled back during their computation are dropped. A frame that starts beyond the rows that are here
//!   cannot be computed: the requester is told what the stage holds, and sends the rest again. So is one
//!   that starts so far back that caches [have overwritten](Stages::overwritten) what it sees: the stage
//!   then holds nothing.
//! - **Shared.** When rows of several sessions wait for each other, or for the owner, all requesters but
//!   the owner are told, at most every [`SHARED_EVERY`], and pause their drafts.
//! - **Identity.** A stage is identified by requester and session, as two requesters may choose the same
//!   session number. A frame carries only the number and its sender: a second stage that it could belong to
//!   is refused.
//! - **Fair.** The next step takes the rows of the requester that has used the least computing time,
//!   however many sessions it has, and of its sessions the one that waits longest. Idle time earns no
//!   credit.
//! - **Bounded.** The number of sessions, in all and for each requester, and the bytes that wait for each
//!   session are bounded. Before a queue is full, its predecessor is [no longer read
//!   from](Stages::has_room_for), so that the sender slows down.
//! - **A slow successor** slows only the sessions that send to it: while too much waits to be sent to it,
//!   their rows are not computed, and their queues fill.
//! - **Standbys give way.** A standby stage takes no rows and fetches no weights. It is freed, and its
//!   requester told, when a working stage lacks its memory or its place.
//! - **The owner takes memory and places.** A stage of this node's own session takes what it lacks from
//!   stages of others, the least recently used first; their requesters are told, and place them elsewhere.
//!
//!   | the owner's stage | takes from |
//!   |---|---|
//!   | holds all layers of its model | any other |
//!   | needs other devices, too | standby stages, and those that [rest](RESTS_AFTER) |
//!
//!   If two owners took working stages from each other, neither would ever finish: of two rings that both
//!   need the same two devices, the one that works goes on.
//! - **Signs of life.** While rows arrive, wait or are computed, or the stage is loaded or fetches weights,
//!   the requester gets a message at least every [`KEEP_ALIVE`].
//! - **Nothing is kept for ever.** A session that nobody used for [`StageLimits::idle`] is freed. When the
//!   connection to a requester ends, its queued rows are dropped at once, as it sends them again if it
//!   returns. The rest is freed unless it is opened again in time:
//!
//!   | the connection | in time is |
//!   |---|---|
//!   | was given up, as the requester was silent: it may be out of reach for a while | [`ORPHANED_FOR`] |
//!   | was closed by the other side, as when its process ends | [`CLOSED_FOR`] |
//!   | was restored by then, for the first time: its session may go on | [`BACK_FOR`], from then on |
//!
//!   Such a stage is freed at once if its requester opens something else that lacks its place or memory.

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

/// How often a requester that waits for a stage, or for its rows, gets a message.
pub const KEEP_ALIVE: Duration = Duration::from_millis(100);

/// The least time between two messages that rows of the session and of others wait for each other.
pub const SHARED_EVERY: Duration = Duration::from_millis(500);

/// How long a session is kept whose requester was silent for too long: a requester that only lost its
/// connection opens it again earlier.
pub const ORPHANED_FOR: Duration = Duration::from_secs(30);

/// How long a session is kept whose requester closed the connection: a killed requester does not keep
/// the memory, and one that lives connects again earlier.
pub const CLOSED_FOR: Duration = Duration::from_secs(2);

/// How long it is kept when its requester is connected again: longer than a session excludes a device
/// that failed.
pub const BACK_FOR: Duration = Duration::from_secs(8);

/// A stage rests when its requester was silent for so long and none of its rows waits, as while a person
/// reads or writes. Its memory may go to the owner of the device.
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
    /// A session whose requester was silent for so long is freed.
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
