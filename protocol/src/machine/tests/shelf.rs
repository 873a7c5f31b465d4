//! What a device of the world has of the one model: its pieces, by number, and their made-up bytes.

use std::collections::{BTreeMap, BTreeSet};

use crate::LayerRange;
use crate::transfer::{Kept, Lacking, Missing, Part, StoreAnswer, StoreOrder, piece_range};
use crate::wire::limits::MAX_PIECE_BYTES;
use crate::wire::{ByteRange, ContentHash, ModelOffer, ShardRefusedCode};
use crate::world::{LAYERS, content};

pub(super) const MANIFEST: ContentHash = ContentHash([7; 32]);
/// A little more than a piece.
const MANIFEST_BYTES: u64 = MAX_PIECE_BYTES + 5_000;
const COMMON_BYTES: u64 = 100_000;
/// As the shape says.
pub(super) const LAYER_BYTES: u64 = 4 << 20;
const PIECES_OF_LAYER: u32 = 16;

#[derive(Debug, Clone, Default)]
pub(super) struct Shelf {
    pub(super) manifest: bool,
    common: bool,
    /// Pieces of each layer.
    layers: BTreeMap<u32, BTreeSet<u32>>,
    /// Whether what it gives is wrong.
    pub(super) corrupts: bool,
    /// Why it keeps nothing.
    pub(super) full: Option<String>,
    /// Bytes that were given to others, and kept.
    pub(super) given_bytes: u64,
    pub(super) kept_bytes: u64,
    /// Pieces that were not right.
    pub(super) refused: usize,
    /// Whether it is being filled.
    pub(super) pinned: bool,
}

fn part(content: ContentHash) -> Option<Part> {
    match content.0[0] {
        100 => Some(Part::Common),
        named @ 101.. => Some(Part::Layer(u32::from(named) - 101)).filter(|_| {
            let layer = u32::from(named) - 101;
            layer < LAYERS
        }),
        _ => None,
    }
}

fn length(content: ContentHash) -> Option<u64> {
    if content == MANIFEST {
        return Some(MANIFEST_BYTES);
    }
    Some(match part(content)? {
        Part::Common => COMMON_BYTES,
        Part::Layer(_) => LAYER_BYTES,
    })
}

/// The bytes of an object.
fn truth(content: ContentHash, range: ByteRange) -> Vec<u8> {
    let first = range.first() / 8;
    let words = first..range.end().div_ceil(8);
    let name = u64::from(content.0[0]) << 40;
    let bytes: Vec<u8> = words.flat_map(|word| (name ^ word).to_le_bytes()).collect();
    let skipped = (range.first() - 8 * first) as usize;
    bytes[skipped..skipped + range.bytes() as usize].to_vec()
}

impl Shelf {
    pub(super) fn whole() -> Self {
        Self::with(0..LAYERS)
    }

    pub(super) fn empty() -> Self {
        Self::default()
    }

    pub(super) fn with(layers: std::ops::Range<u32>) -> Self {
        let all: BTreeSet<_> = (0..PIECES_OF_LAYER).collect();
        Self {
            manifest: true,
            common: true,
            layers: layers.map(|layer| (layer, all.clone())).collect(),
            ..Self::default()
        }
    }

    fn has_layer(&self, layer: u32) -> bool {
        let pieces = self.layers.get(&layer);
        self.common && pieces.is_some_and(|pieces| pieces.len() == PIECES_OF_LAYER as usize)
    }

    pub(super) fn has(&self, layers: LayerRange) -> bool {
        (layers.first()..layers.end()).all(|layer| self.has_layer(layer))
    }

    /// Layers of which it has anything.
    pub(super) fn layers(&self) -> Vec<u32> {
        self.layers.keys().copied().collect()
    }

    pub(super) fn follow(&mut self, order: StoreOrder) -> Option<StoreAnswer> {
        Some(match order {
            StoreOrder::Tell { to, manifest } => StoreAnswer::Has {
                to,
                offer: self.offer(manifest),
            },
            StoreOrder::Prepare { manifest, layers } => {
                assert_eq!(manifest, MANIFEST);
                self.pinned = true;
                let result = self
                    .full
                    .clone()
                    .map_or_else(|| Ok(self.missing(&layers)), Err);
                StoreAnswer::Prepared { manifest, result }
            }
            StoreOrder::KeepManifest { manifest, bytes } => {
                let all = ByteRange::new(0, MANIFEST_BYTES).expect("some");
                let right = bytes == truth(MANIFEST, all);
                self.manifest |= right;
                StoreAnswer::ManifestKept {
                    manifest,
                    kept: self.judge(right, 0),
                }
            }
            StoreOrder::Keep {
                manifest,
                content,
                piece,
                bytes,
            } => {
                let range = length(content).and_then(|length| piece_range(length, piece));
                let right = bytes == truth(content, range.expect("it was missing"));
                if right {
                    match part(content).expect("it was missing") {
                        Part::Common => self.common = true,
                        Part::Layer(layer) => {
                            let new = self.layers.entry(layer).or_default().insert(piece);
                            assert!(new, "it was kept before");
                        }
                    }
                }
                StoreAnswer::Kept {
                    manifest,
                    content,
                    piece,
                    kept: self.judge(right, bytes.len()),
                }
            }
            StoreOrder::Read {
                to,
                id,
                content,
                range,
            } => StoreAnswer::Read {
                to,
                id,
                result: self.read(content, range),
            },
            StoreOrder::End { .. } => {
                self.pinned = false;
                return None;
            }
        })
    }

    fn judge(&mut self, right: bool, bytes: usize) -> Kept {
        if right {
            self.kept_bytes += bytes as u64;
            Kept::Kept
        } else {
            self.refused += 1;
            Kept::Corrupt
        }
    }

    fn offer(&self, manifest: ContentHash) -> ModelOffer {
        let known = manifest == MANIFEST && self.manifest;
        let layers = (0..LAYERS).filter(|layer| known && self.has_layer(*layer));
        let mut ranges: Vec<LayerRange> = Vec::new();
        for layer in layers {
            let before = ranges.pop_if(|last| last.end() == layer);
            let first = before.map_or(layer, LayerRange::first);
            ranges.push(LayerRange::new(first, layer + 1).expect("forwards"));
        }
        ModelOffer {
            manifest,
            layers: ranges,
            ends: false,
            manifest_bytes: if known { MANIFEST_BYTES } else { 0 },
        }
    }

    fn missing(&self, layers: &[LayerRange]) -> Missing {
        if !self.manifest {
            return Missing::Manifest;
        }
        let common = (!self.common).then(|| Lacking {
            content: content(Part::Common),
            part: Part::Common,
            bytes: COMMON_BYTES,
            missing: vec![0],
        });
        let layers = layers.iter().flat_map(|range| range.first()..range.end());
        let layers = layers.map(|layer| {
            let here = self.layers.get(&layer).cloned().unwrap_or_default();
            Lacking {
                content: content(Part::Layer(layer)),
                part: Part::Layer(layer),
                bytes: LAYER_BYTES,
                missing: (0..PIECES_OF_LAYER)
                    .filter(|piece| !here.contains(piece))
                    .collect(),
            }
        });
        Missing::Pieces(common.into_iter().chain(layers).collect())
    }

    fn read(&mut self, of: ContentHash, range: ByteRange) -> Result<Vec<u8>, ShardRefusedCode> {
        let here = match part(of) {
            None => of == MANIFEST && self.manifest,
            Some(Part::Common) => self.common,
            Some(Part::Layer(layer)) => self.has_layer(layer),
        };
        let length = length(of).filter(|_| here);
        let length = length.ok_or(ShardRefusedCode::NotHere)?;
        if range.end() > length {
            return Err(ShardRefusedCode::Range);
        }
        self.given_bytes += range.bytes();
        let mut bytes = truth(of, range);
        if self.corrupts {
            let last = bytes.len() - 1;
            bytes[last] ^= 1;
        }
        Ok(bytes)
    }
}
