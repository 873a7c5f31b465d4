//! Bounds of the checkers.

use serde::{Deserialize, Serialize};

use crate::units::{ByteCount, Span};

/// Bounds of the checkers, which are all on in every run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Checks {
    /// A session that has a placement, and whose devices nothing disturbs, makes progress within this.
    pub progress_within: Span,
    /// The most bytes that may wait to be sent to one peer.
    pub queued: ByteCount,
    /// Whether every session must complete, unless its requester's program ended: for scenarios whose
    /// faults end early enough, and in which a placement is possible then.
    pub all_complete: bool,
}

impl Default for Checks {
    fn default() -> Self {
        Self {
            progress_within: Span::seconds(60),
            queued: ByteCount(48 << 20),
            all_complete: false,
        }
    }
}
