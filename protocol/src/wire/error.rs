//! Errors that end a control stream.

use super::check::Malformed;
use super::limits::{MAX_CONTROL_BYTES, MAX_FIELDS};
use super::version::OtherMajor;

/// Why a control stream is over: nothing that follows on it can be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// A length beyond [`MAX_CONTROL_BYTES`].
    #[error(
        "a control message of more than {MAX_CONTROL_BYTES} bytes: the peer is faulty, drop it"
    )]
    Oversize,
    /// More than [`MAX_FIELDS`] fields.
    #[error("a control message of more than {MAX_FIELDS} fields: the peer is faulty, drop it")]
    TooManyFields,
    /// Bytes that are no protobuf message.
    #[error("bytes that are no control message: the peer is faulty, drop it")]
    NotAMessage,
    /// A field that breaks its limits.
    #[error("a malformed control message: {0}; the peer is faulty, drop it")]
    Malformed(#[from] Malformed),
    /// Something else before the greeting.
    #[error("a control stream that does not begin with a greeting: the peer is faulty, drop it")]
    NoGreeting,
    /// A peer of another major version.
    #[error(transparent)]
    OtherMajor(#[from] OtherMajor),
}
