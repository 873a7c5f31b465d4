//! Bounds of the checkers.

use serde::{Deserialize, Serialize};

use crate::units::{ByteCount, Span};

/// Bounds of the checkers, which are all on in every run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Checks {
    /// A session that has a placement, on devices of which none was disturbed meanwhile, gets on
    /// within this.
    pub progress_within: Span,
    /// The most that may wait to be sent to one peer.
    pub queued: ByteCount,
}

impl Default for Checks {
    fn default() -> Self {
        Self {
            progress_within: Span::seconds(60),
            queued: ByteCount(48 << 20),
        }
    }
}
