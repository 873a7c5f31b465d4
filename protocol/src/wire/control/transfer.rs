//! Offers of weights, and requests for them.

use std::fmt;

use data_encoding::HEXLOWER;

use super::proto;
use crate::LayerRange;
use crate::wire::check::{
    Checked, Malformed, Problem, apart, bytes_32, layers, length, memory_bytes, required, within,
};
use crate::wire::limits::{MAX_MANIFEST_BYTES, MAX_PIECE_BYTES, MAX_RANGES};

/// What content is named by: its BLAKE3 hash.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContentHash(pub [u8; 32]);

impl ContentHash {
    pub(super) fn read(field: &'static str, bytes: &[u8]) -> Checked<Self> {
        bytes_32(field, bytes).map(Self)
    }
}

impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&HEXLOWER.encode_display(&self.0), f)
    }
}

impl fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What do you have of this model?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModelQuery {
    /// The model.
    pub manifest: ContentHash,
}

impl From<&ModelQuery> for proto::ModelQuery {
    fn from(query: &ModelQuery) -> Self {
        Self {
            manifest: query.manifest.0.to_vec(),
        }
    }
}

impl TryFrom<proto::ModelQuery> for ModelQuery {
    type Error = Malformed;

    fn try_from(query: proto::ModelQuery) -> Checked<Self> {
        Ok(Self {
            manifest: ContentHash::read("ModelQuery.manifest", &query.manifest)?,
        })
    }
}

/// What the sender can give of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelOffer {
    /// The model.
    pub manifest: ContentHash,
    /// Layers that it has whole: ascending, none empty, none touching the next, at most
    /// [`MAX_RANGES`](crate::wire::limits::MAX_RANGES).
    pub layers: Vec<LayerRange>,
    /// Whether it has embedding, output norm and head.
    pub ends: bool,
    /// Length of the manifest; 0 only if it has nothing of the model, at most
    /// [`MAX_MANIFEST_BYTES`](crate::wire::limits::MAX_MANIFEST_BYTES).
    pub manifest_bytes: u64,
}

impl ModelOffer {
    /// Whether nothing of the model is offered.
    pub fn is_empty(&self) -> bool {
        self.manifest_bytes == 0
    }
}

impl From<&ModelOffer> for proto::ModelOffer {
    fn from(offer: &ModelOffer) -> Self {
        let layers = offer.layers.iter().map(|range| proto::LayerRange {
            first_layer: range.first(),
            end_layer: range.end(),
        });
        Self {
            manifest: offer.manifest.0.to_vec(),
            layers: layers.collect(),
            ends: offer.ends,
            manifest_bytes: offer.manifest_bytes,
        }
    }
}

impl TryFrom<proto::ModelOffer> for ModelOffer {
    type Error = Malformed;

    fn try_from(offer: proto::ModelOffer) -> Checked<Self> {
        const LAYERS: &str = "ModelOffer.layers";
        const BYTES: &str = "ModelOffer.manifest_bytes";
        length(LAYERS, offer.layers.len(), 0..=MAX_RANGES)?;
        let ranges = offer.layers.iter();
        apart(
            LAYERS,
            ranges.map(|range| (range.first_layer, range.end_layer)),
        )?;
        let ranges = offer.layers.iter();
        let ranges = ranges.map(|range| layers(LAYERS, range.first_layer, range.end_layer));
        let manifest_bytes = within(BYTES, offer.manifest_bytes, 0..=MAX_MANIFEST_BYTES)?;
        if manifest_bytes == 0 && (offer.ends || !offer.layers.is_empty()) {
            return Err(Problem::Contradiction.of(BYTES));
        }
        Ok(Self {
            manifest: ContentHash::read("ModelOffer.manifest", &offer.manifest)?,
            layers: ranges.collect::<Checked<_>>()?,
            ends: offer.ends,
            manifest_bytes,
        })
    }
}

/// Bytes `first..end` of an object, at least one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByteRange {
    first: u64,
    end: u64,
}

impl ByteRange {
    /// The bytes `first..end`; `None` if there are none or they end beyond
    /// [`MAX_BYTES`](crate::wire::limits::MAX_BYTES).
    pub fn new(first: u64, end: u64) -> Option<Self> {
        let range = first < end && end <= crate::wire::limits::MAX_BYTES;
        range.then_some(Self { first, end })
    }

    /// The first byte.
    pub fn first(self) -> u64 {
        self.first
    }

    /// The byte after the last.
    pub fn end(self) -> u64 {
        self.end
    }

    /// How many bytes.
    pub fn bytes(self) -> u64 {
        self.end - self.first
    }

    fn read(field: &'static str, range: &proto::ByteRange) -> Checked<Self> {
        memory_bytes(field, range.end)?;
        Self::new(range.first, range.end).ok_or(Problem::Order.of(field))
    }

    fn to_proto(self) -> proto::ByteRange {
        proto::ByteRange {
            first: self.first,
            end: self.end,
        }
    }
}

/// Asks for bytes of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShardRequest {
    /// Comes back with the answer.
    pub id: u64,
    /// The object, of a manifest, or a manifest itself.
    pub content: ContentHash,
    /// What is wanted: at most [`MAX_PIECE_BYTES`](crate::wire::limits::MAX_PIECE_BYTES).
    pub range: ByteRange,
}

impl From<&ShardRequest> for proto::ShardRequest {
    fn from(request: &ShardRequest) -> Self {
        Self {
            id: request.id,
            content: request.content.0.to_vec(),
            range: Some(request.range.to_proto()),
        }
    }
}

impl TryFrom<proto::ShardRequest> for ShardRequest {
    type Error = Malformed;

    fn try_from(request: proto::ShardRequest) -> Checked<Self> {
        const RANGE: &str = "ShardRequest.range";
        let range = ByteRange::read(RANGE, &required(RANGE, request.range)?)?;
        within(RANGE, range.bytes(), 1..=MAX_PIECE_BYTES)?;
        Ok(Self {
            id: request.id,
            content: ContentHash::read("ShardRequest.content", &request.content)?,
            range,
        })
    }
}

/// The bytes that were asked for follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShardHeader {
    /// The request's.
    pub id: u64,
    /// As many as were asked for: 1 to
    /// [`MAX_PIECE_BYTES`](crate::wire::limits::MAX_PIECE_BYTES).
    pub bytes: u64,
}

impl From<&ShardHeader> for proto::ShardHeader {
    fn from(header: &ShardHeader) -> Self {
        Self {
            id: header.id,
            bytes: header.bytes,
        }
    }
}

impl TryFrom<proto::ShardHeader> for ShardHeader {
    type Error = Malformed;

    fn try_from(header: proto::ShardHeader) -> Checked<Self> {
        Ok(Self {
            id: header.id,
            bytes: within("ShardHeader.bytes", header.bytes, 1..=MAX_PIECE_BYTES)?,
        })
    }
}

/// The bytes do not come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShardRefused {
    /// The request's.
    pub id: u64,
    /// Why.
    pub code: ShardRefusedCode,
}

/// Why bytes of an object do not come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShardRefusedCode {
    /// Not here, or no longer.
    NotHere,
    /// Too many transfers: ask another peer, or later.
    Busy,
    /// Beyond the object's end.
    Range,
    /// A reason that a newer minor version added.
    Other(i32),
}

open_code!(ShardRefusedCode, proto::ShardRefusedCode, "ShardRefused.code", {
    NotHere, Busy, Range,
});

impl From<&ShardRefused> for proto::ShardRefused {
    fn from(refused: &ShardRefused) -> Self {
        Self {
            id: refused.id,
            code: refused.code.number(),
        }
    }
}

impl TryFrom<proto::ShardRefused> for ShardRefused {
    type Error = Malformed;

    fn try_from(refused: proto::ShardRefused) -> Checked<Self> {
        Ok(Self {
            id: refused.id,
            code: ShardRefusedCode::from_number(refused.code)?,
        })
    }
}
