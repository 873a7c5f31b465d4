//! Errors that end a data stream.

use crate::wire::limits::{MAX_PAYLOAD_BYTES, MAX_POSITIONS, MAX_ROWS};
use crate::wire::version::{MAJOR, OtherMajor};

/// Why a data stream is over: nothing that follows on it can be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A frame of another major version.
    #[error(transparent)]
    OtherMajor(OtherMajor),
    /// A kind that is not of version [`MAJOR`].
    #[error(
        "a frame of kind {0}, which version {MAJOR} does not have: the peer is faulty, drop it"
    )]
    Kind(u8),
    /// A dtype that is not understood here, or that a frame of this kind does not have.
    #[error("a frame with values of dtype {0}, which was not agreed: the peer is faulty, drop it")]
    Dtype(u8),
    /// Flags that a frame of this kind does not have.
    #[error(
        "a frame with the flags {0:#04x}, which mean nothing here: the peer is faulty, drop it"
    )]
    Flags(u8),
    /// Rows beyond [`MAX_ROWS`], or none where there must be some, or the reverse.
    #[error(
        "a frame of {0} rows, outside what its kind allows up to {MAX_ROWS}: the peer is faulty, drop it"
    )]
    Rows(u32),
    /// Positions beyond [`MAX_POSITIONS`].
    #[error("a frame of positions beyond {MAX_POSITIONS}: the peer is faulty, drop it")]
    Positions,
    /// A payload beyond [`MAX_PAYLOAD_BYTES`], or of a length that its rows cannot have.
    #[error(
        "a frame of {0} bytes, which its rows cannot have up to {MAX_PAYLOAD_BYTES}: the peer is faulty, drop it"
    )]
    Length(u32),
    /// A frame that is not of the shape that its session agreed to.
    #[error(
        "a frame of {rows} rows in {payload_bytes} bytes, which its session did not agree to: the peer is \
         faulty, drop it"
    )]
    NotAgreed {
        /// Rows of the frame.
        rows: u32,
        /// The length of its payload.
        payload_bytes: u32,
    },
}
