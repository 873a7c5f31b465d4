//! Guests: people who use this device's API from devices without a node.
//!
//! | module | what |
//! |---|---|
//! | `limits` | what a guest may use |
//! | `book` | the guests of a home, in a file that commands change and a running server follows |
//! | `usage` | what they used today, in a file of the server's |
//! | `desk` | what a running server knows of them: tokens, limits, places |
//! | `joining` | PINs and keys by which people become guests |
//! | `share` | all of it, as `potluck serve --share` has it |
//!
//! - A guest's token is made once and shown once; what is kept is its SHA-256. It has 256 random bits, so
//!   no slower hash is needed.
//! - A guest that is removed is refused at its next request, and its running answers end within a step.
//! - Tokens count when they are read or written, and are on the disk within a second: a restart hands out
//!   none of a day again.

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
