//! What travels between paired nodes.

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
    HandOverReason, Hello, KeepAlive, ModelOffer, ModelQuery, OpenStage, Ping, Pong, ProfileUpdate,
    Refuse, RefuseCode, SessionQuery, SessionState, ShardHeader, ShardRefused, ShardRefusedCode,
    ShardRequest, StageOpened, StageRefused, StageRefusedCode,
};
pub use control_reader::{ControlReader, Received};
pub use error::ControlError;
pub use frame::{
    Answer, Arrived, Dtype, Frame, FrameError, FrameHeader, FrameReader, HEADER_BYTES, HiddenShape,
    Kind,
};
pub use version::{MAJOR, MINOR, OtherMajor};
