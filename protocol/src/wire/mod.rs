//! The wire format between paired nodes, in enough detail for a second implementation.
//!
//! This module turns bytes into checked messages, and back; [`machine`](crate::machine) specifies when
//! they are sent. `proto/potluck.proto` gives every control message with its units and limits,
//! [`limits`] every bound with its reason.
//!
//! # Streams
//! Two nodes have long-lived streams in each direction, over an encrypted connection that has proved
//! both PeerIds: one for control, one for data to each neighbour of a ring, one for weights. The
//! connection identifies the sender, so messages do not repeat it. Order is kept within a stream and not
//! between streams: a data frame may arrive after the control message that closed its session, and is
//! then ignored.
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
//! The first message of each direction is a `Hello`, or a `Refuse` if the sender does not accept the
//! peer. Neither side waits for the other's. [`ControlReader`] checks all of this, from pieces of any
//! size. [`Control::encode`] writes messages, and refuses to write what a peer would refuse to read.
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
//! `ShardRequest` and its answers use a stream of their own in each direction, so that hidden states do
//! not wait behind them. A node opens its stream when it has something to send there, and greets on it
//! first as well. The bytes after a `ShardHeader` are not framed: their number is in the header, and
//! [`ControlReader::read`] leaves them in its input if they arrive in the same piece.
//! [`transfer`](crate::transfer) specifies who requests what.
//!
//! # Data
//! A stream of frames, each a header of 32 bytes, whose layout [`FrameHeader`] gives, and its
//! payload: `rows` rows of `d_model` values of the agreed dtype, row after row, little-endian. A
//! receiver checks a header whole before it allocates: version, kind, dtype, flags, rows, positions,
//! then that the payload is exactly `rows · d_model · bytes of the dtype` with at most the rows that
//! `OpenStage` agreed to for this session. Payloads of unknown sessions and epochs are skipped without
//! allocating memory. [`FrameReader`] does all of this.
//!
//! What a stage does with a frame:
//! - It drops a frame of an epoch below its own, or of a branch below the highest that it saw in
//!   this epoch.
//! - It truncates its KV caches to the start position, if they hold more. A frame that starts beyond
//!   the rows of the caches and the queued frames is dropped, as rows between are missing: the stage
//!   sends the requester an unsolicited `SessionState`, and the requester continues under a higher
//!   epoch.
//! - It computes the rows and sends them on with the same session, epoch, branch and positions, as
//!   the frame's [`Answer`] says. Only the stage that `OpenStage` calls the last treats the answers
//!   but [`Answer::Nothing`] differently. That its successor is the requester does not make a stage
//!   the last: the requester may have a stage of its own there.
//!
//! What a requester does:
//! - It gives every placement a higher epoch, and sends rows when all stages have answered
//!   `StageOpened`: from the lowest position that they hold, but not beyond the first row whose answer is
//!   missing, as a stage that did not get that row may hold another one that was rolled back.
//! - It closes the stage of a peer that leaves the placement. In case that message was lost, it closes it
//!   again when the peer returns, before it opens a stage there: the caches may hold rows that were
//!   rolled back meanwhile.
//! - It sends a `SessionQuery` to a stage that is silent too long; the answer shows that the stage lives
//!   and what it holds. A stage that does not answer, or no longer has the session, is replaced.
//!
//! Within a step, frames show that a neighbour lives. Where there is no frame to send, a
//! [`Kind::KeepAlive`] frame may replace it between two neighbours. While rows wait or are computed, parts
//! of a frame arrive from the predecessor, or the stage is made ready, it also sends its requester a
//! `KeepAlive` control message every [`KEEP_ALIVE`](crate::stage::KEEP_ALIVE), whether or not the two are
//! neighbours. A stage that has to fetch weights first reports its progress with `StageFetching`. That is
//! for people: a requester that does not understand it loses nothing else.
//!
//! *Drafts* are rows of guessed tokens that follow the row whose answer is due. Each is a frame of its
//! own, in the branch in force. A wrong draft is rolled back, with all rows after it, by the next branch;
//! a stage does not pass on rows that were rolled back while it computed them. When rows of several
//! sessions wait for each other at a stage, or for the device's owner, it tells their requesters by a
//! `KeepAlive` with `shared`, at most every [`SHARED_EVERY`](crate::stage::SHARED_EVERY), and they send no
//! drafts for [`DRAFTS_PAUSE`](crate::session::DRAFTS_PAUSE). A requester that ignores it only loses time.
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
//! All stages of a session compute with one [`Arithmetic`](crate::Arithmetic); otherwise the answer would
//! differ from that of a single device. A profile names the device's arithmetic, `OpenStage` the
//! requester's. Layers are placed only on devices with the requester's arithmetic, and a device that is
//! asked for another refuses with `UNSUPPORTED` and words that name both. No name stands for
//! `canonical-1`: programs of a minor version below 5 compute with it, ignore the name in an `OpenStage`,
//! and are asked for no other. A new arithmetic, or a change of one that may change a bit, gets a new
//! name; it needs no new version.
//!
//! # Failures
//! An error of a reader ends its stream, as nothing after it can be parsed; from then on the reader
//! returns the same error. For control, [`ControlError::refusal`] is what to send before closing. A peer
//! that sends what no correct node sends is faulty and dropped, with its other streams; sessions of
//! others go on. Words of a peer contain no control characters and can be shown as they are.

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
