//! Every bound of the wire, and why it is what it is.
//!
//! A peer that needs more than one of these is refused before anything is allocated for it.

use std::time::Duration;

/// The longest control message, in bytes behind its length: what is longest, a batch of membership
/// entries or a padded ping, and room for what a newer minor version adds.
pub const MAX_CONTROL_BYTES: usize = MAX_OPAQUE_BYTES + (4 << 10);

/// The most fields of a control message, repeated ones each: empty elements of two bytes would
/// otherwise become fifty times as many in memory. The longest message, a profile with all its
/// rates and links, has 130.
pub const MAX_FIELDS: usize = 256;

/// The longest bytes that the wire carries without looking into them. The membership log's batches
/// are cut to this; as padding, it takes 5 ms at 100 Mbit/s, long enough to measure.
pub const MAX_OPAQUE_BYTES: usize = 64 << 10;

/// The longest text for people, in bytes: two lines of a phone's screen, several times over.
pub const MAX_WORDS_BYTES: usize = 512;

/// The longest name of a program, in bytes.
pub const MAX_SOFTWARE_BYTES: usize = 64;

/// The most addresses that a member is told to have.
pub const MAX_ADDRESSES: usize = 8;

/// The most formats of weights in a profile; GGUF has about 40.
pub const MAX_QUANTISATIONS: usize = 64;

/// The most links in a profile: one to each member of the largest circle.
pub const MAX_LINKS: usize = 64;

/// The most ranges in an offer: who has more leaves the last ones out.
pub const MAX_RANGES: usize = 64;

/// Layers are below this, as placement has it.
pub const MAX_LAYERS: u32 = 256;
const _: () = assert!(MAX_LAYERS as usize == crate::placement::MOST_LAYERS);

/// Positions are below this: the longest context that models claim.
pub const MAX_POSITIONS: u32 = 1 << 20;

/// The most bytes of memory, a file or an object: a pebibyte, which sums of a few thousand cannot
/// overflow.
pub const MAX_BYTES: u64 = 1 << 50;

/// The longest span of time; whoever is slower than this does not take part.
pub const MAX_DURATION: Duration = Duration::from_secs(3600);

/// The largest hidden state, in values; models have up to 16,384.
pub const MAX_D_MODEL: u32 = 1 << 16;

/// The most rows of a frame: prefill gains nothing from more, and stages wait for each other longer.
pub const MAX_ROWS: u32 = 1 << 12;

/// The longest payload of a frame, in bytes: 512 rows of the widest model in use, 1.3 s at
/// 100 Mbit/s. A reader allocates at most one of these, and only for a session that agreed to it.
pub const MAX_PAYLOAD_BYTES: u32 = 16 << 20;

/// The longest piece of an object, in bytes: what is asked for at once, and checked at once. 21 ms at
/// 100 Mbit/s, so that a row of a session does not wait longer behind one, and long enough that one
/// on its way while another is asked for fills the link.
pub const MAX_PIECE_BYTES: u64 = 256 << 10;

/// The longest manifest, in bytes: of a model of about 60 GiB, of each piece of which it has a hash of
/// 32 bytes.
pub const MAX_MANIFEST_BYTES: u64 = 8 << 20;
