//! Digests and entries of the membership log, as bytes that only the log reads.

use super::proto;
use crate::wire::check::{Checked, Malformed, length};
use crate::wire::limits::MAX_OPAQUE_BYTES;

/// What the sender has of the membership log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CircleDigest {
    /// In the log's own encoding; 1 to
    /// [`MAX_OPAQUE_BYTES`](crate::wire::limits::MAX_OPAQUE_BYTES) bytes.
    pub digest: Vec<u8>,
}

impl From<&CircleDigest> for proto::CircleDigest {
    fn from(message: &CircleDigest) -> Self {
        Self {
            digest: message.digest.clone(),
        }
    }
}

impl TryFrom<proto::CircleDigest> for CircleDigest {
    type Error = Malformed;

    fn try_from(message: proto::CircleDigest) -> Checked<Self> {
        let digest = message.digest;
        length("CircleDigest.digest", digest.len(), 1..=MAX_OPAQUE_BYTES)?;
        Ok(Self { digest })
    }
}

/// Entries of the membership log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CircleEntries {
    /// In the log's own encoding; 1 to
    /// [`MAX_OPAQUE_BYTES`](crate::wire::limits::MAX_OPAQUE_BYTES) bytes.
    pub entries: Vec<u8>,
}

impl From<&CircleEntries> for proto::CircleEntries {
    fn from(message: &CircleEntries) -> Self {
        Self {
            entries: message.entries.clone(),
        }
    }
}

impl TryFrom<proto::CircleEntries> for CircleEntries {
    type Error = Malformed;

    fn try_from(message: proto::CircleEntries) -> Checked<Self> {
        let entries = message.entries;
        length("CircleEntries.entries", entries.len(), 1..=MAX_OPAQUE_BYTES)?;
        Ok(Self { entries })
    }
}
