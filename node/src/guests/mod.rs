//! Guests: people who use this device's API from devices without a node.
//!
//! | module | contents |
//! |---|---|
//! | `limits` | what a guest may use |
//! | `book` | the guests of a home, in a file that commands change and a running server follows |
//! | `usage` | tokens used today, in a file that the server writes |
//! | `desk` | the running server's state: tokens, limits, concurrent answers |
//! | `joining` | PINs and keys for becoming a guest |
//! | `share` | the interface for `potluck serve --share`, built from the other modules |
//!
//! - A guest's token is generated once and shown once; only its SHA-256 is stored. It has 256
//!   random bits, so a slower hash is not needed.
//! - After a guest is removed, its next request is refused and its running answers end within a
//!   step.
//! - Tokens count as soon as they are processed or generated, and are saved to disk within a
//!   second, so a restart does not give a guest the same day's tokens twice.

mod book;
mod desk;
mod joining;
mod limits;
mod share;
mod usage;

pub use book::{Guest, GuestBook, GuestError, NewToken};
pub use desk::{NotAdmitted, OverLimit, Places, Visit};
pub use joining::{Invitation, NotJoined, Proof};
pub use limits::{ALL_MODELS, DEFAULT_MODEL, Limits};
pub use share::{Joined, Share, ShareEvent, remember_url, shared_url};
pub use usage::Usage;

use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds since 1970.
fn unix(now: SystemTime) -> u64 {
    now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
