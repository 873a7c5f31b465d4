//! The circle: who is paired with whom, as a signed, append-only log that members gossip.
//!
//! There is no server and no leader. One device founds a *circle*; pairing with any member makes a device
//! a member of the whole circle. Every such act is an [`Entry`] that its author signs and cannot take
//! back. Each member keeps all entries that it has received, and the membership is a pure function of that
//! set. So members with the same entries agree, in whatever order the entries arrived.
//!
//! # Rules
//! An entry names its *parents*, the entries that nothing else built on when it was written. Its
//! *past* is its parents, their parents, and so on; two entries of which neither is in the other's
//! past are *concurrent*. `Members(S)` below is the membership by a set `S` that holds the past of
//! each of its entries.
//!
//! **What may be written.** An entry `e` is taken into the log if by its past alone it was right to
//! write, so that all members judge it alike:
//! - all its parents are in the log (else it waits for them), and only the first entry is a founding;
//! - its sequence number is one more than the highest of its author in `past(e)`, or 0;
//! - its author is in `Members(past(e))`: **any member may admit, revoke and rename itself**, and
//!   **whoever knows that it was revoked can write nothing more**;
//! - an admission is of a device that is not in `Members(past(e))`, which has fewer than
//!   [`MAX_MEMBERS`]; a revocation is of one that is in it (oneself included: to leave), an expulsion
//!   of one that was admitted in `past(e)`, whether or not it is a member still.
//!
//! **Who is a member.** In `Members(S)`:
//! 1. The founding *stands*. An admission `a` by `q` *stands* if no revocation of `q` in `S` is
//!    concurrent with `a`, all expulsions of `q` in `S` are in `past(a)`, and a standing admission
//!    `a'` of `q` is in `past(a)` such that every revocation of `q` in `past(a)` is in `past(a')`.
//!    An expulsion is a revocation, too.
//! 2. An admission of `p` is *live* if it stands and every revocation of `p` in `S` is in its past.
//! 3. `p` is a member if it has a live admission. Its name is the one given by the highest (longest
//!    way to the founding, then hash) of its live admissions and its own renamings.
//!
//! What follows:
//! - *Removal wins.* Of an admission and a revocation of the same device that are concurrent, the
//!   revocation holds.
//! - *A revoked device cannot reach back.* It may sign entries that pretend not to know of its
//!   revocation. An admission among them is concurrent with the revocation and does not stand, nor do
//!   admissions by devices that it admitted so. The price: a device that was honestly admitted at the
//!   time when another member revoked its admitter is out as well, and pairs again.
//! - Devices that a device admitted before its *revocation* stay. An *expulsion* removes the device and
//!   all that it admitted, directly or through others, at any time: after a theft, one entry is enough.
//! - *Revocations always hold*, even those that a revoked device wrote concurrently with its own
//!   revocation: two members that revoke each other are both out. So no device gets back in by revoking
//!   the one that revoked it. The price: a stolen device that reaches a member without the revocation
//!   can remove others, though never admit any. They pair again.
//! - *Pairing anew* writes an admission that has the revocation in its past, and so is live. If a
//!   revocation that its author had not heard of turns up, removal wins, and they pair once more.
//! - A device that writes two entries with one number (restored from a backup, or lying) does no
//!   harm: entries are known by their hashes, and both count.
//!
//! **When.** A revocation takes effect at once where it is written, and on every other member when it is
//! merged; [`Merged::left`] lists the devices whose links are to end. A member accepts entries only from
//! devices that its own log has as members.
//!
//! # Bounds
//! At most [`MAX_MEMBERS`] members (concurrent admissions may together exceed it), [`MAX_ENTRIES`]
//! entries, [`MAX_PARENTS`] parents, [`MAX_LOG_BYTES`] in all, [`MAX_WAITING`] entries that wait for
//! their parents, 64 bytes a name; of one author [`MAX_ENTRIES_PER_AUTHOR`] entries, at most
//! [`MAX_ADMISSIONS_PER_AUTHOR`] admissions and [`MAX_NAMES_PER_AUTHOR`] renamings among them.
//!
//! | entry | taken while the log, with all that is reserved, has at most |
//! |---|---|
//! | founding, admission, renaming | three quarters of the entries and bytes |
//! | revocation, expulsion | all entries and bytes |
//! | the first [`RESERVED_REVOCATIONS`] revocations or expulsions of a device | always, with at most four parents |
//!
//! Reserved is what each device that ever was a member has not used of the last line. So no device can
//! prevent its expulsion, however many devices it admits and branches it writes: an expulsion has only
//! those parents that made its author and its subject members, and every member that has these accepts
//! it. Other entries may differ between members once the log is full, as only the bounds on the whole log
//! depend on the order of arrival: the members then expel the device that filled it, or begin a new
//! circle. An entry beyond the other bounds, like one that is forged, truncated, oversize or not right to
//! write, is refused, counted and dropped, and the others of its batch are accepted. A batch that is
//! itself truncated or too long is refused whole.
//!
//! A log that this device stored under earlier, wider bounds is read whole ([`Circle::from_log`]): the
//! shares, the reserve and the bounds of one author only limit what is accepted from then on, and a
//! reserved revocation is accepted as long as there is any room. The log that another device sends when
//! it pairs has to keep to all bounds ([`Circle::from_peers_log`]).
//!
//! # Bytes
//! Numbers are little-endian; a *name* is one byte of length and UTF-8 that [`DeviceName`] accepts; a
//! *peer* is the 32 bytes of an Ed25519 public key.
//!
//! ```text
//! entry      body · signature [64]
//! body       version u8, 2 of kind 4, else 1 · kind u8 · author peer · sequence u32 · parents u8 ·
//!            parent [32] … · rest
//! rest       kind 0, founding (no parents): nonce [16] · name     kind 1, admission: peer · name
//!            kind 2, revocation: peer                             kind 3, renaming: name
//!            kind 4, expulsion: peer
//! hash       BLAKE2s-256 ("potluck circle entry v1\0" · body)
//! signature  Ed25519, strictly verified, of "potluck circle entry v1\0" · body
//! batch      (length u16 · entry) …       at most MAX_BATCH_BYTES
//! log        version u8 = 1 · (length u16 · entry) …, parents first; at most MAX_LOG_BYTES
//! digest     version u8 = 1 · circle [32] · heads u16 · hash [32] … · earlier u16 · hash [32] …
//! ```
//! Parents, heads and earlier hashes ascend strictly; the circle is the founding's hash. `earlier`
//! are the entries 1, 2, 4, 8, … before the last of the sender's log, less the heads.
//!
//! # Gossip
//! When a link to a member opens, and when the log changes, each side sends its [`Digest`]. The receiver
//! answers with [`Circle::batches_for`] the digest: all entries but those that it names and their pasts.
//! If [`Circle::lacks`] says that the sender has more, it also sends its own digest. Sending too much or
//! twice does no harm.

#[expect(
    clippy::module_inception,
    reason = "the file of the type that the module is about"
)]
mod circle;
mod entry;
mod error;
mod gossip;
mod identity;
mod log;
mod membership;
mod name;
mod past;
mod room;
#[cfg(test)]
mod tests;

pub use circle::{Circle, Merged};
pub use entry::{Act, Entry, EntryHash};
pub use error::{EntryError, LogError};
pub use gossip::Digest;
pub use identity::Identity;
pub use name::{DeviceName, NotAName};

use crate::PeerId;

/// The most members of a circle.
pub const MAX_MEMBERS: usize = 64;
/// The most entries of a log.
pub const MAX_ENTRIES: usize = 1024;
/// The most entries that one author writes.
pub const MAX_ENTRIES_PER_AUTHOR: u32 = 512;
/// The most devices that one author admits, counting each time.
pub const MAX_ADMISSIONS_PER_AUTHOR: usize = 128;
/// The most times that one author renames itself.
pub const MAX_NAMES_PER_AUTHOR: usize = 16;
/// Revocations that each device may write however full the log is.
pub const RESERVED_REVOCATIONS: usize = 4;
/// The most entries that one builds on directly.
pub const MAX_PARENTS: usize = 64;
/// The longest log in bytes.
pub const MAX_LOG_BYTES: usize = 512 << 10;
/// The longest batch in bytes.
pub const MAX_BATCH_BYTES: usize = 64 << 10;
/// The most entries that wait for what they build on.
pub const MAX_WAITING: usize = 128;

/// A circle's name: the hash of the entry that founded it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CircleId(EntryHash);

impl CircleId {
    /// The circle whose founding has this hash.
    pub fn from_bytes(hash: [u8; 32]) -> Self {
        Self(EntryHash(hash))
    }

    /// The 32 bytes of the hash.
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }
}

/// A member of a circle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The device.
    pub peer: PeerId,
    /// What people call it.
    pub name: DeviceName,
    /// Who made it a member; itself if it founded the circle.
    pub admitted_by: PeerId,
}
