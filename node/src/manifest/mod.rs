//! What a model is to peers: the manifest of its file, and the hash that names it.
//!
//! A manifest lists the *objects* that a model file consists of, each a whole that peers pass on and
//! check: what every device needs ([`Part::Common`]), what stays with the requester ([`Part::Ends`])
//! and each layer ([`Part::Layer`]). The model's name on the wire, its [`ContentHash`], is the BLAKE3
//! hash of the manifest's bytes. So files that differ in any byte that matters are different models,
//! and who has a manifest can check every piece of every object, from whomever it comes.
//!
//! # Objects
//! An object is some byte ranges of the file, and its bytes are theirs, one after the other:
//! - *common*: the file from its start to the data section (header, metadata, tensor entries and
//!   padding), and the tensors of no other part, such as `rope_freqs.weight`;
//! - *ends*: the tensors `token_embd.*`, `output_norm.*` and `output.*`;
//! - *layer N*: the tensors `blk.N.*`, for N below the model's number of layers
//!   (`<architecture>.block_count`).
//!
//! Padding between tensors is of no object, and not part of a model's identity.
//!
//! A model that is split into several GGUF files counts as the one file that they would be when put
//! together ([`potluck_model::gguf::files_at`]). So a device with the parts and one with the single
//! file know it by the same name, and can give each other its layers.
//!
//! An object's *pieces* are its bytes cut every [`MAX_PIECE_BYTES`](potluck_protocol::wire::limits),
//! 262,144; the last may be shorter. It is named by the BLAKE3 hash of its pieces' hashes, one after the
//! other.
//!
//! A device that has common and some layers has a working file of them: as long as the original, with
//! the ranges in their places and anything between.
//!
//! # Bytes
//! Numbers are unsigned and little-endian.
//!
//! | bytes | what |
//! |---|---|
//! | 16 | `potluck-manifest` |
//! | 4 | version, 1 |
//! | 4 | number of layers, 1 to 256 |
//! | 8 | length of the file, at most 2^50 |
//! | then | the objects: common, ends, layer 0, layer 1, … |
//!
//! Each object:
//!
//! | bytes | what |
//! |---|---|
//! | 4 | number of its ranges, at least 1 |
//! | 16 each | range: the first byte in the file (8), the byte after the last (8) |
//! | 32 each | BLAKE3 of each of its pieces |
//!
//! Ranges of an object are ascending, none empty, none touching the next (they are merged), none
//! beyond the file; no byte is of two objects. Nothing follows the last object. At most
//! [`MAX_MANIFEST_BYTES`](potluck_protocol::wire::limits). So one file has one manifest, to the byte.

mod cache;
mod encoding;
mod from_file;
mod known_files;
mod mapped_file;
#[cfg(test)]
mod tests;

use potluck_protocol::transfer::piece_range;
use potluck_protocol::wire::limits::MAX_PIECE_BYTES;
use potluck_protocol::wire::{ByteRange, ContentHash};

pub(crate) use cache::Look;
pub use cache::ManifestCache;
pub use encoding::Malformed;
pub use from_file::ManifestError;
pub use known_files::KnownFiles;
pub use mapped_file::MappedFile;

use crate::Part;

/// The objects of a model file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    file_bytes: u64,
    /// Common, ends, and each layer.
    // INVARIANT: what the module's page says of ranges.
    objects: Vec<Object>,
}

/// Byte ranges of a file that are passed on as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    content: ContentHash,
    ranges: Vec<ByteRange>,
    /// BLAKE3 of each.
    pieces: Vec<[u8; 32]>,
    bytes: u64,
}

impl Object {
    /// Of these ranges, and these hashes of its pieces.
    fn new(ranges: Vec<ByteRange>, pieces: Vec<[u8; 32]>) -> Self {
        Self {
            content: content_of(pieces.as_flattened()),
            bytes: bytes_of(&ranges),
            ranges,
            pieces,
        }
    }

    /// What it is named by.
    pub fn content(&self) -> ContentHash {
        self.content
    }

    /// Where its bytes are in the file: ascending, none touching the next, at least one.
    pub fn ranges(&self) -> &[ByteRange] {
        &self.ranges
    }

    /// How many bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How many pieces.
    pub fn pieces(&self) -> u32 {
        u32::try_from(self.pieces.len()).unwrap_or(u32::MAX)
    }

    /// Where a piece is in it; `None` if it has no such piece.
    pub fn piece(&self, piece: u32) -> Option<ByteRange> {
        piece_range(self.bytes, piece)
    }

    /// Whether these bytes are a piece of it.
    pub fn is_piece(&self, piece: u32, bytes: &[u8]) -> bool {
        let hash = self.pieces.get(piece as usize);
        hash.is_some_and(|hash| blake3::hash(bytes) == *hash)
    }

    /// Where bytes of it are in the file: each place's first byte and length, in order.
    pub fn places(&self, range: ByteRange) -> impl Iterator<Item = (u64, usize)> {
        let mut before = 0;
        self.ranges.iter().filter_map(move |place| {
            let begin = before;
            before += place.bytes();
            let first = range.first().max(begin);
            let end = range.end().min(before);
            let length = usize::try_from(end.checked_sub(first)?).ok()?;
            (length > 0).then_some((place.first() + (first - begin), length))
        })
    }
}

/// Bytes of ranges, of which nothing is known.
fn bytes_of(ranges: &[ByteRange]) -> u64 {
    let lengths = ranges.iter().map(|range| range.bytes());
    lengths.fold(0, u64::saturating_add)
}

/// How many pieces an object of so many bytes has.
fn pieces_of(bytes: u64) -> u64 {
    bytes.div_ceil(MAX_PIECE_BYTES)
}

impl Manifest {
    /// Bytes of the whole file.
    pub fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// Layers of the model.
    pub fn layers(&self) -> usize {
        self.objects.len() - 2
    }

    /// The object of a part; `None` if the model has no such layer.
    pub fn object(&self, part: Part) -> Option<&Object> {
        self.objects.get(index(part))
    }

    /// All objects with their parts: common, ends, layer 0 and on.
    pub fn objects(&self) -> impl Iterator<Item = (Part, &Object)> {
        let parts = [Part::Common, Part::Ends].into_iter();
        let parts = parts.chain((0..self.layers()).map(Part::Layer));
        parts.zip(&self.objects)
    }

    /// What the model is named by: BLAKE3 of [`to_bytes`](Self::to_bytes).
    pub fn content(&self) -> ContentHash {
        content_of(&self.to_bytes())
    }
}

/// The place of a part among the objects.
pub(crate) fn index(part: Part) -> usize {
    match part {
        Part::Common => 0,
        Part::Ends => 1,
        Part::Layer(layer) => layer.saturating_add(2),
    }
}

/// What content is named by.
pub fn content_of(bytes: &[u8]) -> ContentHash {
    ContentHash(*blake3::hash(bytes).as_bytes())
}
