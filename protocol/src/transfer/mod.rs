//! Transfer of weights to devices that lack them.
//!
//! A node that is to be a stage and lacks its layers fetches them, and only them, from the peers that have
//! them. [`Transfers`] decides which bytes to request from which peer, and serves what is here. Where bytes
//! are stored, and whether they are right, is up to its driver, which carries out the [`StoreOrder`]s in
//! order and answers each but [`StoreOrder::End`] with a [`StoreAnswer`].
//!
//! # What travels
//! A model is named by the hash of its manifest, which lists its objects: what every device needs
//! ([`Part::Common`]) and each layer ([`Part::Layer`]); embedding and head stay with requesters. The
//! manifest has the hash of each *piece* of an object; pieces are [`MAX_PIECE_BYTES`] long, except for the
//! last. A piece is requested whole, checked when it has arrived, and only then kept: nothing unchecked is
//! stored or mapped. The manifest travels the same way, all of it from one peer, and is checked whole.
//!
//! # A fetch
//! 1. **Preparing.** The store says what is missing ([`StoreOrder::Prepare`]) and makes room. Meanwhile all
//!    peers get a `ModelQuery`, also those that connect later, and all again every [`ASK_EVERY`], as they
//!    may be fetching as well.
//! 2. **The manifest**, if it is not here.
//! 3. **Pieces**, from all peers that offer them at once. [`Transfers::ask`] is told how many may be under
//!    way from each peer. A peer is asked for the part that the fewest peers offer.
//! 4. **Done** when everything is kept: [`TransferOutput::Fetched`]. If a fetch ends in another way, the
//!    pieces stay, and the next fetch continues from there.
//!
//! | what | then |
//! |---|---|
//! | a piece does not match its hash | its sender is left out for this model, and another is asked |
//! | a connection ends | others are asked for its pieces |
//! | nothing arrives from a peer for [`STALLED_AFTER`] | others are asked for its pieces; it is asked again when it sends |
//! | no pieces are left to request from an idle peer | it is asked for those that others have owed for [`HEDGE_AFTER`] |
//! | a peer is busy | it is asked again after [`BUSY_FOR`] |
//! | a peer does not have what it offered | its offer is forgotten |
//! | nobody has the model | [`TransferOutput::Failed`], as soon as all have said so |
//! | something is missing that nobody offers | the same after [`STARVED_AFTER`] |
//! | nothing could be kept for [`STUCK_AFTER`] | the same |
//!
//! # Giving
//! Weights are given to connected peers, which are members. A peer has at most [`MOST_READ_FOR_PEER`] pieces
//! under way, all peers together [`MOST_READ`]; further requests are refused as busy. The driver reads a
//! piece only when the pieces before it were sent, so a peer that asks and does not read costs nothing.

mod channel;
mod fetch;
mod object;
#[cfg(test)]
mod tests;
mod transfers;

use std::time::Duration;

pub use channel::ChannelError;
pub use transfers::{TooMany, Transfers};

use crate::wire::limits::MAX_PIECE_BYTES;
use crate::wire::{ByteRange, ContentHash, Control, ModelOffer, ShardRefusedCode};
use crate::{LayerRange, PeerId};

/// How often peers are asked again what they have.
pub const ASK_EVERY: Duration = Duration::from_secs(3);
/// A peer that owes pieces and sends nothing for so long counts as stalled.
pub const STALLED_AFTER: Duration = Duration::from_secs(2);
/// An idle peer is also asked for a piece that another has owed for so long.
pub const HEDGE_AFTER: Duration = Duration::from_secs(1);
/// How long a busy peer is not asked.
pub const BUSY_FOR: Duration = Duration::from_millis(500);
/// How long missing pieces may be offered by nobody, as devices join and leave.
pub const STARVED_AFTER: Duration = Duration::from_secs(3);
/// A fetch that has kept nothing for so long fails.
pub const STUCK_AFTER: Duration = Duration::from_secs(30);

/// The most pieces that are read for a peer at a time, including those that wait for earlier ones.
pub const MOST_READ_FOR_PEER: usize = 32;
/// The most pieces that are read for all peers together.
pub const MOST_READ: usize = 128;
/// The most models that are fetched at a time.
pub const MOST_FETCHES: u32 = 4;
/// The mean time between the starts of two fetches, as each asks all peers; as many as may be under way
/// may start at once.
pub const FETCH_PAUSE: Duration = Duration::from_millis(100);

/// How often a fetch checks the times above.
const TICK: Duration = Duration::from_millis(250);

/// The part of a model that an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// What every device needs.
    Common,
    /// A layer.
    Layer(u32),
}

/// An object with missing pieces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lacking {
    /// Its name: a hash.
    pub content: ContentHash,
    /// The part that it is.
    pub part: Part,
    /// Its length.
    pub bytes: u64,
    /// Numbers of the pieces that are not here.
    pub missing: Vec<u32>,
}

/// The byte range of a piece in an object of so many bytes; `None` if it has no such piece.
pub fn piece_range(object_bytes: u64, piece: u32) -> Option<ByteRange> {
    let first = u64::from(piece) * MAX_PIECE_BYTES;
    ByteRange::new(first, object_bytes.min(first + MAX_PIECE_BYTES))
}

/// What is to be done for transfers, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TransferOutput {
    /// Send a message on the control stream.
    Send(PeerId, Control),
    /// Send bytes on the stream for weights.
    SendBytes(PeerId, Vec<u8>),
    /// For the store.
    Store(StoreOrder),
    /// All that was wanted of this model is kept.
    Fetched(ContentHash),
    /// It cannot be fetched: why, in words.
    Failed(ContentHash, String),
    /// Progress of a fetch.
    Progress(Progress),
}

/// Progress of a fetch: told every quarter of a second, if there is any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// The model.
    pub manifest: ContentHash,
    /// Bytes of pieces that this fetch has kept.
    pub kept_bytes: u64,
    /// Those, and what is still missing.
    pub of_bytes: u64,
}

/// Orders to the store of weights on this device.
#[derive(Clone, PartialEq, Eq)]
pub enum StoreOrder {
    /// Say what can be given of a model: [`StoreAnswer::Has`].
    Tell {
        /// Who asks.
        to: PeerId,
        /// The model.
        manifest: ContentHash,
    },
    /// Say what is missing of these layers and of what every device needs, make room for it, and
    /// remove nothing of this model until its [`End`](Self::End): [`StoreAnswer::Prepared`].
    Prepare {
        /// The model.
        manifest: ContentHash,
        /// The layers: ascending, none touching the next.
        layers: Vec<LayerRange>,
    },
    /// Check a manifest, and keep it if it is right: [`StoreAnswer::ManifestKept`].
    KeepManifest {
        /// What its hash should be.
        manifest: ContentHash,
        /// What came.
        bytes: Vec<u8>,
    },
    /// Check a piece, and keep it if it is right: [`StoreAnswer::Kept`].
    Keep {
        /// The model.
        manifest: ContentHash,
        /// The object.
        content: ContentHash,
        /// Which piece.
        piece: u32,
        /// What came.
        bytes: Vec<u8>,
    },
    /// Read bytes of an object or a manifest that is here, once what was given to this peer before
    /// has gone: [`StoreAnswer::Read`].
    Read {
        /// Who asks.
        to: PeerId,
        /// Of its request.
        id: u64,
        /// The object, or manifest.
        content: ContentHash,
        /// Which bytes, at most a piece.
        range: ByteRange,
    },
    /// The fetch of this model has ended.
    End {
        /// The model.
        manifest: ContentHash,
    },
}

impl std::fmt::Debug for StoreOrder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tell { to, manifest } => write!(f, "Tell({to}, {manifest})"),
            Self::Prepare { manifest, layers } => write!(f, "Prepare({manifest}, {layers:?})"),
            Self::KeepManifest { manifest, bytes } => {
                write!(f, "KeepManifest({manifest}, {} bytes)", bytes.len())
            }
            Self::Keep { content, piece, .. } => write!(f, "Keep({content}, {piece})"),
            Self::Read { to, content, .. } => write!(f, "Read({to}, {content})"),
            Self::End { manifest } => write!(f, "End({manifest})"),
        }
    }
}

/// Results of a [`StoreOrder`].
#[derive(Clone, PartialEq, Eq)]
pub enum StoreAnswer {
    /// What can be given of a model.
    Has {
        /// Who asked.
        to: PeerId,
        /// What to tell it.
        offer: ModelOffer,
    },
    /// What is missing, or why it cannot be kept, in words.
    Prepared {
        /// The model.
        manifest: ContentHash,
        /// What is missing.
        result: Result<Missing, String>,
    },
    /// Whether a manifest was kept.
    ManifestKept {
        /// The model.
        manifest: ContentHash,
        /// What became of it.
        kept: Kept,
    },
    /// Whether a piece was kept.
    Kept {
        /// The model.
        manifest: ContentHash,
        /// The object.
        content: ContentHash,
        /// Which piece.
        piece: u32,
        /// What became of it.
        kept: Kept,
    },
    /// Bytes for a peer.
    Read {
        /// Who asked.
        to: PeerId,
        /// Of its request.
        id: u64,
        /// As many as it asked for, or why not.
        result: Result<Vec<u8>, ShardRefusedCode>,
    },
}

impl std::fmt::Debug for StoreAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Has { to, offer } => write!(f, "Has({to}, {offer:?})"),
            Self::Prepared { manifest, result } => write!(f, "Prepared({manifest}, {result:?})"),
            Self::ManifestKept { manifest, kept } => write!(f, "Kept({manifest}, {kept:?})"),
            Self::Kept {
                content,
                piece,
                kept,
                ..
            } => write!(f, "Kept({content}, {piece}, {kept:?})"),
            Self::Read { to, id, result } => {
                write!(f, "Read({to}, {id}, {:?})", result.as_ref().map(Vec::len))
            }
        }
    }
}

/// What a store lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Missing {
    /// The manifest, so that it cannot say more.
    Manifest,
    /// These pieces; none if all is here.
    Pieces(Vec<Lacking>),
}

/// Whether bytes that arrived were kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    /// It is right, and kept.
    Kept,
    /// It does not match its hash.
    Corrupt,
    /// It cannot be kept: why, in words.
    Failed(String),
}
