//! What a model is to peers: the manifest of its file, and the hash that names it.
//!
//! A manifest lists the *objects* that a model file consists of, each a whole that peers pass on and
//! check: what every device needs ([`Part::Common`]), what stays with the requester ([`Part::Ends`])
//! and each layer ([`Part::Layer`]). The model's name on the wire, its [`ContentHash`], is the BLAKE3
//! hash of the manifest's bytes. So files that differ in any byte that matters are different models,
//! and who has a manifest can check every object, from whomever it comes.
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
//! | 32 | BLAKE3 of its bytes |
//! | 4 | number of its ranges, at least 1 |
//! | 16 each | range: the first byte in the file (8), the byte after the last (8) |
//!
//! Ranges of an object are ascending, none empty, none touching the next (they are merged), none
//! beyond the file; no byte is of two objects. Nothing follows the last object. At most
//! [`MAX_MANIFEST_BYTES`]. So one file has one manifest, to the byte.

mod bytes;
mod file;
mod files;
mod known;
#[cfg(test)]
mod tests;

use potluck_protocol::wire::{ByteRange, ContentHash};

pub use bytes::{MAX_MANIFEST_BYTES, Malformed};
pub use file::ManifestError;
pub use files::Manifests;
pub use known::KnownFiles;

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
    /// BLAKE3 of its bytes.
    pub content: ContentHash,
    /// Where they are in the file: ascending, none touching the next, at least one.
    pub ranges: Vec<ByteRange>,
}

impl Object {
    /// How many bytes.
    pub fn bytes(&self) -> u64 {
        let lengths = self.ranges.iter().map(|range| range.end() - range.first());
        lengths.sum()
    }
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
fn index(part: Part) -> usize {
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
