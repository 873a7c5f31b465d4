//! Pairing: one device shows an invitation, another reads it, and both are in one circle.
//!
//! The link below has proved to each side the other's PeerId; pairing proves that the joiner saw the
//! inviter's screen. An [`Inviter`] serves an invitation, a [`Joiner`] uses it. Both are machines
//! without clock, randomness or sockets: bytes, times and random bytes go in, [`Output`]s come out.
//!
//! # The invitation
//! `POTLUCK:` and the RFC 4648 base32, unpadded, of (numbers little-endian)
//! ```text
//! version u8 = 2 · peer [32] · secret [16] · expires u64, Unix seconds · addresses u8, at most 8 ·
//! address … · checksum [4], the first bytes of BLAKE2s-256 ("potluck invitation\0" · all before)
//! address    kind 0: length u8 · text     kind 1: IPv4 [4] · TCP port u16     kind 2: IPv6 [16] · port
//! ```
//! An address of kind 0 is a multiaddr text that kinds 1 and 2 cannot give back exactly. Case and
//! ASCII white space in the text do not matter. Every version ends with that checksum, so a damaged
//! invitation is told from an older or newer one. Its version is also that of the exchange: devices
//! that cannot pair with each other refuse the invitation by that name.
//!
//! Base32, not base45: both stay within a QR code's alphanumeric mode, where base45 would save 3 % of
//! the length, but it needs spaces, `$`, `%` and `*`, which chat programs, shells and people who copy
//! by hand change. With an IPv4 and an IPv6 address the text has about 150 characters, a QR code of
//! version 5 at the lowest level of correction.
//!
//! # The stream
//! ```text
//! frame      length u16, of what follows · kind u8 · body
//! kind 0     a Noise message, frames at most 512 bytes in the handshake, 16 KiB after it
//! kind 1     refusal: code u8 (see Refusal). The sender is gone; sent in the clear on the link
//! ```
//! The Noise messages are those of `Noise_NNpsk0_25519_ChaChaPoly_BLAKE2s`, the joiner the initiator:
//! ```text
//! psk        BLAKE2s-256 ("potluck pairing psk v2\0" · secret)
//! prologue   "potluck pairing v2\0" · inviter's public key [32] · joiner's public key [32]
//! payload of both handshake messages
//!            introduction: standing u8 (0 alone in its circle, 1 in company, 2 no member of it any
//!            more) · wish u8 (0 asks, 1 admits, 2 joins) · circle [32] · name (length u8 · UTF-8) ·
//!            clock u64, Unix seconds (older versions end before it) · what newer versions add,
//!            ignored; at most 256 bytes
//! plaintext after it
//!            1 · bytes of a log      2: the log is complete      3: the log has been taken
//!            4 · members u8, at most 128 · (peer [32] · name) …, by their peers ascending
//!            5 · choice [32], BLAKE2s-256 ("potluck pairing choice v2\0" · who admits u8 (0 inviter,
//!            1 inviter into the circle of both, 2 joiner) · inviter [32] · joiner [32] · circle [32]
//!            · members of the circle that is joined, as in 4)
//! ```
//! The two introductions say who admits whom, to both sides alike; see the table. A device's owner
//! may have said beforehand which way it is to be (`--admit`, `--join`): a wish that does not fit is
//! refused with code 16. Where both ways are possible, the inviter admits.
//!
//! Then each side sends the members of its circle (message 4; none of a circle it is no member of),
//! the joiner first. Each owner is shown the other device's name and id, who joins whom and the
//! members of the circle that is joined ([`Event::Proposed`]), and agrees or does not within
//! [`CONFIRM_TIMEOUT`]. Agreement is message 5, which names all that was shown; a no is code 15, and
//! ends the invitation if the inviter's owner says it. Only when both have agreed does anything change.
//! (Names and ids of a circle's members are told before that to whoever pairs with one of them: who
//! decides has to see them.)
//!
//! Each introduction has what the sender's clock shows. If the two differ by more than
//! [`TOLERATED_SKEW`], each owner is shown by how much the other device's clock is ahead or behind
//! ([`Proposal::clock`]). Pairing goes on: nothing that one device dates is judged by the other.
//!
//! | circles | who admits | joiner sends | inviter sends | joiner sends |
//! |---|---|---|---|---|
//! | the joiner is alone, or no member | inviter | 2 | log, 2 | 3 |
//! | both the same, and the joiner knows the inviter as a member | inviter, if needed | log, 2 | log, 2 | 3 |
//! | both the same, by what the inviter says | inviter, if needed | 2 | log, 2 | 3 |
//! | only the inviter is alone, or both are and wish so | joiner | log, 2 | 3 | |
//! | both have company | refused, code 10 | | | |
//!
//! The log that is sent has the admission in it. The taker checks all of it, that it is of the circle
//! of the introduction, that both devices are members, and that nobody is whom its owner was not shown
//! (else code 17); then it leaves its own circle for that one. What either changes is stored before the
//! other side hears of it, or undone (code 18). If the exchange breaks off after the admission, the
//! same joiner may try again with the same invitation.
//!
//! # What is refused
//! - Another secret, another joiner's or inviter's PeerId in the prologue (someone who relays), bytes
//!   recorded earlier: the first message does not authenticate, or, replayed by the same device, the
//!   next one does not, since it needs the joiner's fresh key. Until then the owner is asked nothing.
//! - A stream on which no whole message came within [`FIRST_WITHIN`] (15), or that begins with anything
//!   else (7): strangers that wait so have [`MOST_WAITING`] places, the oldest loses its own (5), and none
//!   of them counts as a try.
//! - A first message while one that authenticated is served (code 5), anyone else once one has proved to have the secret
//!   (3), anyone after success (3), expiry (2), cancelling (14) or [`TRIES`] failed tries (4). An
//!   invitation expires by the clock that machines count by and by the system's, whichever is first:
//!   the former stands still while a device sleeps. If the system's is first, because the device slept or
//!   a clock that was wrong was set, the owner is told so. The joiner's clock decides nothing. A first
//!   message that does not authenticate is a failed try, and so is one that did and did not end in
//!   pairing, whatever the reason; each is over within [`ATTEMPT_TIMEOUT`] before and after the
//!   owners are asked, and [`CONFIRM_TIMEOUT`] while they are. So a stranger on the network can spoil
//!   an invitation, which its owner sees, but has three guesses at 128 bits.
//! - What an owner was not asked, in one circle, too: a device is shown as being in it already only if
//!   this side knows it as a member, a change that is the other way than a wish is refused (16), and
//!   so is a joiner that was shown as a member and is none any more once the inviter has its log (17).
//! - A frame longer than its limit, by its length, before its bytes are taken; a log longer than
//!   [`MAX_LOG_BYTES`](crate::circle::MAX_LOG_BYTES), as soon as it is.

mod address;
mod base32;
mod clock;
mod exchange;
mod frame;
mod invitation;
mod invitation_error;
mod inviter;
mod joiner;
mod noise;
mod proposal;
mod reach;
mod refusal;
mod standing;
#[cfg(test)]
mod tests;
mod waiting;

use std::time::Duration;

pub use address::Address;
pub use clock::{ClockSkew, TOLERATED_SKEW};
pub use exchange::{Introduction, Local};
pub use invitation::{Invitation, Secret};
pub use invitation_error::InvitationError;
pub use inviter::Inviter;
pub use joiner::Joiner;
pub use proposal::{Change, Proposal};
pub use reach::by_reach;
pub use refusal::{BeginError, Refusal};
pub use standing::{Listed, Standing, Wish};
pub use waiting::{FIRST_WITHIN, MOST_WAITING};
pub(crate) use waiting::{First, Waiting};

use crate::PeerId;
use crate::circle::DeviceName;

/// How many tries may fail before an invitation is burnt.
pub const TRIES: u8 = 3;
/// How long both owners have to agree, from when they are asked.
pub const CONFIRM_TIMEOUT: Duration = Duration::from_secs(120);
/// How long one try may take, but for the time in which owners are asked.
pub const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(20);

/// What the owner of an [`Inviter`] or a [`Joiner`] is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Send these bytes on the stream.
    Send(Vec<u8>),
    /// Close the stream, after what was to be sent.
    Close,
    /// Tell the person.
    Event(Event),
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The owner is to be asked; the answer is for [`Inviter::answer`] or [`Joiner::answer`].
    Proposed(Box<Proposal>),
    /// Both devices are in one circle now.
    Paired {
        /// The other device.
        peer: PeerId,
        /// What it calls itself.
        name: DeviceName,
    },
    /// One try failed.
    Failed {
        /// The device that tried, or that was tried.
        peer: PeerId,
        /// Why.
        why: Refusal,
    },
    /// The invitation cannot be used any more. Only of an [`Inviter`], and its last.
    Over {
        /// Why; [`Refusal::Used`] after pairing.
        why: Refusal,
    },
}
