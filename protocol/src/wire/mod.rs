//! What travels between paired nodes, for whoever writes a second implementation.
//!
//! This module turns bytes into messages that can be trusted, and back; when they are sent is what
//! [`machine`](crate::machine) says. `proto/potluck.proto` gives every control message with its units
//! and limits, [`limits`] every bound with its reason.
//!
//! # Streams
//! Two nodes have long-lived streams in each direction, over a connection that has proved both
//! PeerIds and hides what it carries: one for control, one for data to each neighbour of a ring, one
//! for weights.
//! Whoever sends on a stream is known before its first byte, so messages do not repeat it. Streams
//! keep order within themselves and none between each other: a data frame may come after the control
//! message that closed its session, and is then passed over.
//!
//! # Control
//! A stream of `potluck.v1.Control` messages, each behind its length: a base-128 varint of at most 4
//! bytes. A receiver refuses, in this order,
//! 1. a length beyond [`limits::MAX_CONTROL_BYTES`], before it allocates anything;
//! 2. more than [`limits::MAX_FIELDS`] fields in the envelope and its message, and groups, before it
//!    parses;
//! 3. bytes that are no protobuf, and a greeting of another major version;
//! 4. a field beyond its limits, an enumeration's number that is unspecified or, unless it is one of
//!    the `…Code`s, unknown;
//! 5. anything before the greeting but a refusal.
//!
//! The first message of each direction is a `Hello`, or a `Refuse` if the sender does not want to
//! talk. Neither side waits for the other's. [`ControlReader`] does all of this from pieces of any
//! size, [`Control::encode`] writes, and refuses to write what a peer would refuse to read.
//!
//! All control messages are idempotent: repeating one changes nothing.
//!
//! | message | answer |
//! |---|---|
//! | `Hello`, `ProfileUpdate`, `PeerAddresses`, `CircleEntries`, `KeepAlive`, `CloseStage`, `HandOver`, `StageFetching` | none |
//! | `Ping` | `Pong`, at once |
//! | `CircleDigest` | `CircleEntries` that its sender lacks, if any |
//! | `OpenStage` | `StageOpened` or `StageRefused` |
//! | `SessionQuery` | `SessionState`, which a stage also sends unasked when rows are missing |
//! | `ModelQuery` | `ModelOffer` |
//! | `ShardRequest` | `ShardHeader` and the bytes, or `ShardRefused` |
//! | `Refuse` | none: the stream is over |
//!
//! # Weights
//! `ShardRequest` and its answers go on a stream of their own in each direction, so that hidden states
//! do not wait behind them. A node opens its own when it has something to send there, and greets on it
//! first, too. The bytes behind a `ShardHeader` are not framed; they are as many as it says, and
//! [`ControlReader::read`] leaves them in its input if they come in the same piece.
//! [`transfer`](crate::transfer) says who asks for what.
//!
//! # Data
//! A stream of frames, each a header of 32 bytes, whose layout [`FrameHeader`] gives, and its
//! payload: `rows` rows of `d_model` values of the agreed dtype, row after row, little-endian. A
//! receiver checks a header whole before it allocates: version, kind, dtype, flags, rows, positions,
//! then that the payload is exactly `rows · d_model · bytes of the dtype` with at most the rows that
//! `OpenStage` agreed to for this session. Payloads of sessions and epochs that it does not have are
//! passed over without memory. [`FrameReader`] does all of this.
//!
//! What a stage does with a frame:
//! - It drops a frame of an epoch below its own, or of a branch below the highest that it saw in
//!   this epoch.
//! - It truncates its KV caches to the start position, if they hold more. A frame that starts beyond
//!   what they and the frames before it hold is dropped, as rows between would be missing: the stage
//!   tells the requester what it holds, with a `SessionState` that nobody asked for, and the requester
//!   goes on under a higher epoch.
//! - It computes the rows and sends them on with the same session, epoch, branch and positions, as
//!   the frame's [`Answer`] says. Only the stage that `OpenStage` calls the last treats the answers
//!   but [`Answer::Nothing`] differently. That its successor is the requester does not make a stage
//!   the last: the requester may have a stage of its own there.
//!
//! What a requester does:
//! - It gives every placement a higher epoch, and sends rows when all its stages have answered
//!   `StageOpened`: from the least position that they hold, but before every row whose answer it does
//!   not have. That answer is missing, and a stage that did not get the row may hold another that was
//!   rolled back.
//! - It closes the stage of a peer that leaves the placement, and, in case that did not arrive, again
//!   when the peer comes back, before it opens: the caches may be of what was rolled back meanwhile.
//! - It asks a stage that is silent too long with a `SessionQuery`, which shows that it lives and what
//!   it holds. A stage that does not answer, or no longer has the session, is replaced.
//!
//! Within a step, frames show that a neighbour lives; where there is none to send, a
//! [`Kind::KeepAlive`] may do for the way between two neighbours. While rows wait or are computed, parts
//! of a frame come of the predecessor, or the stage is being made ready, it sends its requester a
//! `KeepAlive` control message every [`KEEP_ALIVE`](crate::stage::KEEP_ALIVE); they need not be
//! neighbours. A stage that is made ready and has to fetch weights first tells its requester with
//! `StageFetching` how far that is: for people, so that who does not understand it loses nothing else.
//!
//! *Drafts* are rows of tokens that the requester guessed, behind the row whose answer it waits for: each
//! a frame of its own, in the branch in force. One that was wrong is rolled back, with all behind it, by
//! the next branch. A stage passes on nothing of rows that were rolled back while it computed them. When
//! rows of several sessions wait for each other at a stage, or for the device's owner, it tells their
//! requesters by a `KeepAlive` that is `shared`, at most every
//! [`SHARED_EVERY`](crate::stage::SHARED_EVERY), and they send no drafts for
//! [`DRAFTS_PAUSE`](crate::session::DRAFTS_PAUSE). Who does not understand that only gets less done.
//!
//! # Versions
//! A `Hello` carries the major and minor version, a frame the major one. Nodes of one major version
//! understand each other: what a newer minor version added is passed over (fields, messages, codes)
//! or not sent to a node whose `Hello` has a lower one (frame kinds, dtypes, flags). A node of another
//! major version is refused, with words that say which side to update. One whose minor version
//! is below 3 stays in the circle and shares weights, but no layers are placed on it: its program
//! would leave out the biases and scales of newer models.
//!
//! # Arithmetic
//! All stages of a session compute by one [`Arithmetic`](crate::Arithmetic), or the answer would not be
//! the one that a device alone gives. A profile names the device's, `OpenStage` that of the requester.
//! Layers are placed only on devices whose arithmetic is the requester's, and a device that is asked
//! for another refuses with `UNSUPPORTED` and words that name both. Who names none computes by
//! `canonical-1`, as all programs do whose minor version is below 5: they do not read the name that an
//! `OpenStage` has, and are asked for that one only. A new kind of arithmetic, or a change of one that
//! may change a bit, takes a new name; no version is needed for it.
//!
//! # Failures
//! An error of a reader ends its stream, as nothing that follows can be understood; the reader gives
//! the same error ever after. For control, [`ControlError::refusal`] is what to send before closing.
//! A peer that sends what no correct node sends is faulty and dropped, with its other streams; the
//! sessions of others go on. Words of a peer have no control characters and can be shown as they are.

mod check;
mod control;
mod control_reader;
mod error;
mod fields;
mod frame;
pub mod limits;
mod proto;
#[cfg(test)]
mod tests;
mod version;

pub use check::{Malformed, Problem};
pub use control::{
    ByteRange, CircleDigest, CircleEntries, CloseStage, ContentHash, Control, HandOver,
    HandOverReason, Hello, KeepAlive, ModelOffer, ModelQuery, OpenStage, PeerAddresses, Ping, Pong,
    ProfileUpdate, Refuse, RefuseCode, SessionQuery, SessionState, ShardHeader, ShardRefused,
    ShardRefusedCode, ShardRequest, StageFetching, StageOpened, StageRefused, StageRefusedCode,
};
pub use control_reader::{ControlReader, Received};
pub use error::ControlError;
pub use frame::{
    Answer, Arrived, Dtype, Frame, FrameError, FrameHeader, FrameReader, HEADER_BYTES, HiddenShape,
    Kind,
};
pub(crate) use version::COMPUTES_SINCE;
pub use version::{MAJOR, MINOR, OtherMajor};
