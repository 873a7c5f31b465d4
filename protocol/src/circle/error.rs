//! Why an entry or a log is refused.

use super::{MAX_ADMISSIONS_PER_AUTHOR, MAX_LOG_BYTES, MAX_MEMBERS, MAX_NAMES_PER_AUTHOR};

/// Why one entry is not taken into the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// Cut off, too much of it, or a field that must not be so.
    #[error("the membership entry is damaged: it was left out")]
    Malformed,
    /// Longer than any entry.
    #[error("the membership entry is longer than any may be: it was left out")]
    Oversize,
    /// Of a version that this program does not know.
    #[error("the membership entry is of version {0}: update Potluck on this device")]
    Newer(u8),
    /// Not signed by its author.
    #[error("the membership entry is forged: it was left out")]
    Forged,
    /// It builds on entries that are not here.
    #[error("the membership entry builds on ones that are missing: fetch those first")]
    MissingParents,
    /// A founding within a circle, or of another circle.
    #[error("the membership entry belongs to another circle: it was left out")]
    OtherCircle,
    /// Its author was not a member in what it builds on.
    #[error(
        "the device is in no circle any more: pair it again, or `potluck circle new` begins one"
    )]
    AuthorNotMember,
    /// Its number does not follow its author's last in what it builds on.
    #[error("the membership entry is out of its author's sequence: it was left out")]
    OutOfSequence,
    /// It admits a member.
    #[error("this device is a member already: nothing to do")]
    AlreadyMember,
    /// It revokes a device that is no member.
    #[error("this device is not a member: `potluck peers` lists the members")]
    NotAMember,
    /// It admits one more than there may be.
    #[error("a circle has at most {MAX_MEMBERS} members: forget one first")]
    CircleFull,
    /// Its author has written as many as it may.
    #[error(
        "this device has admitted {MAX_ADMISSIONS_PER_AUTHOR} devices, the most that one may: pair \
         on another member, or begin a new circle with `potluck circle new`"
    )]
    AuthorFull,
    /// Its author has renamed itself as often as it may.
    #[error(
        "this device was renamed {MAX_NAMES_PER_AUTHOR} times, the most in one circle: \
         `potluck circle new` begins a new one"
    )]
    TooManyNames,
    /// The log has no room for it.
    #[error(
        "the circle's membership log is full: `potluck circle new` begins a new circle, and \
         `potluck forget NAME --with-admitted` still removes a device"
    )]
    LogFull,
}

/// Why bytes are not entries or not a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// Longer than any log.
    #[error("the membership log has more than {MAX_LOG_BYTES} bytes: pair this device anew")]
    Oversize,
    /// Not whole.
    #[error("the membership log is damaged: pair this device anew")]
    Malformed,
    /// Of a version that this program does not know.
    #[error("the membership log is of version {0}: update Potluck on this device")]
    Newer(u8),
    /// One of its entries is refused.
    #[error("entry {place} of the membership log is refused: {why}")]
    Entry {
        /// Its place, from 0.
        place: usize,
        /// Why.
        why: EntryError,
    },
}
