//! Weights in a device's storage: its own, and those that it keeps of others.
//!
//! The bytes are made up, and really travel on the wire. Whoever has a piece can compare another with it,
//! which stands in for the hash. The store survives a restart of the program.

use std::collections::BTreeSet;
use std::rc::Rc;

use potluck_protocol::LayerRange;
use potluck_protocol::made_up::mix;
use potluck_protocol::placement::ModelShape;
use potluck_protocol::transfer::{
    Kept, Lacking, Missing, Part, StoreAnswer, StoreOrder, piece_range,
};
use potluck_protocol::wire::limits::{MAX_LAYERS, MAX_PIECE_BYTES, MAX_RANGES};
use potluck_protocol::wire::{ByteRange, ContentHash, ModelOffer, ShardRefusedCode};

/// The one model of a scenario.
pub(crate) const MANIFEST: ContentHash = ContentHash([0x51; 32]);
/// What a file has for each token of its vocabulary beside the tensors: its text and length, its
/// kind, and a merge.
const VOCABULARY_BYTES: u64 = 34;
/// What a manifest has, and has for each object, each range and each piece.
const MANIFEST_BYTES: [u64; 4] = [32, 4, 16, 32];

/// How long the objects are that a model's file consists of.
#[derive(Debug)]
pub(crate) struct Objects {
    manifest: u64,
    common: u64,
    layers: Vec<u64>,
}

impl Objects {
    pub(crate) fn of(model: &ModelShape) -> Self {
        let layers = model.layers.iter().map(|layer| layer.memory_bytes(0));
        let layers: Vec<_> = layers.collect();
        let vocabulary = model.embedding_bytes / model.embedding_row_bytes.max(1);
        let common = VOCABULARY_BYTES * vocabulary.max(1);
        let [header, object, range, piece] = MANIFEST_BYTES;
        let objects = layers.iter().copied().chain([common, model.ends_bytes()]);
        let bytes =
            |object_bytes: u64| object + range + piece * object_bytes.div_ceil(MAX_PIECE_BYTES);
        Self {
            manifest: header + objects.map(bytes).sum::<u64>(),
            common,
            layers,
        }
    }

    fn parts(&self) -> impl Iterator<Item = Part> {
        let layers = (0..MAX_LAYERS).zip(&self.layers);
        let layers = layers.map(|(layer, _)| Part::Layer(layer));
        [Part::Common].into_iter().chain(layers)
    }

    fn bytes(&self, part: Part) -> Option<u64> {
        match part {
            Part::Common => Some(self.common),
            Part::Layer(layer) => self.layers.get(layer as usize).copied(),
        }
    }

    /// Bytes of an object or the manifest.
    fn length(&self, content: ContentHash) -> Option<u64> {
        if content == MANIFEST {
            return Some(self.manifest);
        }
        self.bytes(part_of(content)?)
    }

    fn pieces(&self, part: Part) -> std::ops::Range<u32> {
        let bytes = self.bytes(part).unwrap_or(0);
        0..u32::try_from(bytes.div_ceil(MAX_PIECE_BYTES)).unwrap_or(u32::MAX)
    }
}

/// What a part is named by: a number from 0 on.
fn content_of(part: Part) -> ContentHash {
    let number = match part {
        Part::Common => 0,
        Part::Layer(layer) => layer.saturating_add(1),
    };
    let mut hash = [0x52; 32];
    hash[..4].copy_from_slice(&number.to_le_bytes());
    ContentHash(hash)
}

/// The part that is named so.
pub(crate) fn part_of(content: ContentHash) -> Option<Part> {
    let number = content.0.first_chunk().copied().map(u32::from_le_bytes)?;
    let part = number.checked_sub(1).map_or(Part::Common, Part::Layer);
    (content_of(part) == content).then_some(part)
}

/// The bytes of an object, as they should be.
fn truth(content: ContentHash, range: ByteRange) -> Vec<u8> {
    let [a, b, c, d, ..] = content.0;
    let name = mix(u64::from(u32::from_le_bytes([a, b, c, d])), 1);
    let words = range.first() / 8..range.end().div_ceil(8);
    let before = usize::try_from(range.first() % 8).unwrap_or(0);
    let length = usize::try_from(range.bytes()).unwrap_or(0);
    let mut bytes = Vec::with_capacity(length + 16);
    for word in words {
        let word = (name ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        bytes.extend_from_slice(&word.to_le_bytes());
    }
    bytes.truncate(before + length);
    bytes.drain(..before);
    bytes
}

/// The weights of a device.
#[derive(Debug)]
pub(crate) struct Store {
    objects: Rc<Objects>,
    /// Whether the whole file is here, embedding and head as well.
    pub(crate) whole: bool,
    /// Bytes that its owner lets it keep for others.
    quota: u64,
    manifest: bool,
    /// Right pieces that arrived.
    pieces: BTreeSet<(Part, u32)>,
    kept_bytes: u64,
    /// Whether what it gives is wrong, as its storage is.
    pub(crate) spoilt: bool,
    /// What is being fetched.
    wanted: Vec<LayerRange>,
    /// Layers that it was asked to hold, whether or not they were there.
    asked: BTreeSet<u32>,
    /// Wrong pieces that arrived, and how many of them in the fetch under way.
    pub(crate) refused: u64,
    pub(crate) refused_now: u64,
}

impl Store {
    pub(crate) fn new(objects: &Rc<Objects>, whole: bool, quota: u64) -> Self {
        Self {
            objects: Rc::clone(objects),
            whole,
            quota,
            manifest: false,
            pieces: BTreeSet::new(),
            kept_bytes: 0,
            spoilt: false,
            wanted: Vec::new(),
            asked: BTreeSet::new(),
            refused: 0,
            refused_now: 0,
        }
    }

    /// Bytes of others' weights that are kept.
    pub(crate) fn kept_bytes(&self) -> u64 {
        self.kept_bytes
    }

    /// A stage of these layers is to be made ready.
    pub(crate) fn ask(&mut self, layers: LayerRange) {
        self.asked.extend(layers.first()..layers.end());
    }

    /// Whether a stage needs this object.
    pub(crate) fn is_asked(&self, content: ContentHash) -> bool {
        match part_of(content) {
            Some(Part::Common) => !self.asked.is_empty(),
            Some(Part::Layer(layer)) => self.asked.contains(&layer),
            None => false,
        }
    }

    pub(crate) fn has_piece(&self, content: ContentHash, piece: u32) -> bool {
        let part = part_of(content);
        self.whole || part.is_some_and(|part| self.pieces.contains(&(part, piece)))
    }

    fn has_part(&self, part: Part) -> bool {
        let mut pieces = self.objects.pieces(part);
        self.whole || pieces.all(|piece| self.pieces.contains(&(part, piece)))
    }

    /// Whether the weights of these layers are here.
    pub(crate) fn has(&self, layers: LayerRange) -> bool {
        let mut layers = layers.first()..layers.end();
        self.has_part(Part::Common) && layers.all(|layer| self.has_part(Part::Layer(layer)))
    }

    /// Whether all is here that was being fetched.
    pub(crate) fn has_all_wanted(&self) -> bool {
        self.wanted.iter().all(|layers| self.has(*layers))
    }

    /// Bytes that doing an order reads or writes.
    pub(crate) fn effort(order: &StoreOrder) -> u64 {
        match order {
            StoreOrder::KeepManifest { bytes, .. } | StoreOrder::Keep { bytes, .. } => {
                bytes.len() as u64
            }
            StoreOrder::Read { range, .. } => range.bytes(),
            StoreOrder::Tell { .. } | StoreOrder::Prepare { .. } | StoreOrder::End { .. } => 0,
        }
    }

    /// Does what the machine wants done.
    pub(crate) fn follow(&mut self, order: StoreOrder) -> Option<StoreAnswer> {
        Some(match order {
            StoreOrder::Tell { to, manifest } => StoreAnswer::Has {
                to,
                offer: self.offer(manifest),
            },
            StoreOrder::Prepare { manifest, layers } => {
                let result = self.prepare(&layers);
                self.wanted = layers;
                StoreAnswer::Prepared { manifest, result }
            }
            StoreOrder::KeepManifest { manifest, bytes } => {
                let all = ByteRange::new(0, self.objects.manifest);
                let right = all.is_some_and(|all| bytes == truth(MANIFEST, all));
                self.manifest |= right;
                StoreAnswer::ManifestKept {
                    manifest,
                    kept: self.judge(right),
                }
            }
            StoreOrder::Keep {
                manifest,
                content,
                piece,
                bytes,
            } => StoreAnswer::Kept {
                manifest,
                content,
                piece,
                kept: self.keep(content, piece, &bytes),
            },
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
                self.wanted.clear();
                self.refused_now = 0;
                return None;
            }
        })
    }

    fn keep(&mut self, content: ContentHash, piece: u32, bytes: &[u8]) -> Kept {
        let range = self.objects.length(content);
        let range = range.and_then(|length| piece_range(length, piece));
        let right = range.is_some_and(|range| bytes == truth(content, range));
        if right
            && let Some(part) = part_of(content)
            && self.pieces.insert((part, piece))
        {
            self.kept_bytes += bytes.len() as u64;
        }
        self.judge(right)
    }

    fn judge(&mut self, right: bool) -> Kept {
        if right {
            return Kept::Kept;
        }
        self.refused += 1;
        self.refused_now += 1;
        Kept::Corrupt
    }

    /// What of the model can be given.
    fn offer(&self, manifest: ContentHash) -> ModelOffer {
        let known = manifest == MANIFEST && (self.whole || self.manifest);
        let mut layers: Vec<LayerRange> = Vec::new();
        let all = self.objects.parts().filter(|_| known);
        for part in all.filter(|part| self.has_part(*part)) {
            let Part::Layer(layer) = part else {
                continue;
            };
            let before = layers.pop_if(|last| last.end() == layer);
            let first = before.map_or(layer, LayerRange::first);
            layers.extend(LayerRange::new(first, layer + 1));
        }
        if !self.has_part(Part::Common) {
            layers.clear();
        }
        layers.truncate(MAX_RANGES);
        ModelOffer {
            manifest,
            layers,
            ends: self.whole,
            manifest_bytes: if known { self.objects.manifest } else { 0 },
        }
    }

    /// What is missing of these layers, if there is room for it.
    fn prepare(&self, layers: &[LayerRange]) -> Result<Missing, String> {
        if !self.whole && !self.manifest {
            return Ok(Missing::Manifest);
        }
        let layers = layers.iter().flat_map(|range| range.first()..range.end());
        let parts = [Part::Common].into_iter().chain(layers.map(Part::Layer));
        let mut lacking = Vec::new();
        let mut needed = self.kept_bytes;
        for part in parts {
            let bytes = self.objects.bytes(part);
            let bytes = bytes.ok_or("the model has no such layers: update Potluck")?;
            let content = content_of(part);
            let pieces = self.objects.pieces(part);
            let missing: Vec<_> = pieces
                .filter(|piece| !self.has_piece(content, *piece))
                .collect();
            let ranges = missing.iter().filter_map(|p| piece_range(bytes, *p));
            needed += ranges.map(ByteRange::bytes).sum::<u64>();
            lacking.push(Lacking {
                content,
                part,
                bytes,
                missing,
            });
        }
        if needed > self.quota {
            let quota = self.quota;
            return Err(format!(
                "{needed} bytes of weights are more than the {quota} that this device keeps for others"
            ));
        }
        Ok(Missing::Pieces(lacking))
    }

    fn read(&self, content: ContentHash, range: ByteRange) -> Result<Vec<u8>, ShardRefusedCode> {
        let here = match part_of(content) {
            None => content == MANIFEST && (self.whole || self.manifest),
            Some(part) => self.has_part(part),
        };
        let length = self.objects.length(content).filter(|_| here);
        let length = length.ok_or(ShardRefusedCode::NotHere)?;
        if range.end() > length {
            return Err(ShardRefusedCode::Range);
        }
        let mut bytes = truth(content, range);
        if let Some(last) = bytes.last_mut().filter(|_| self.spoilt) {
            *last ^= 1;
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use potluck_protocol::PeerId;

    fn stores() -> (Store, Store) {
        let objects = Rc::new(Objects {
            manifest: 1_001,
            common: 13,
            layers: vec![MAX_PIECE_BYTES + 3; 3],
        });
        let (whole, empty) = (true, false);
        (
            Store::new(&objects, whole, 0),
            Store::new(&objects, empty, 600_000),
        )
    }

    fn layers(first: u32, end: u32) -> LayerRange {
        LayerRange::new(first, end).expect("forwards")
    }

    /// What a store gives of a piece, or of the manifest.
    fn give(from: &mut Store, content: ContentHash, range: ByteRange) -> Vec<u8> {
        let order = StoreOrder::Read {
            to: PeerId::from_public_key([1; 32]),
            id: 0,
            content,
            range,
        };
        match from.follow(order) {
            Some(StoreAnswer::Read { result, .. }) => result.expect("it is here"),
            other => panic!("{other:?}"),
        }
    }

    fn give_manifest(from: &mut Store, to: &mut Store) {
        let bytes = give(from, MANIFEST, ByteRange::new(0, 1_001).expect("some"));
        let manifest = MANIFEST;
        to.follow(StoreOrder::KeepManifest { manifest, bytes });
    }

    #[test]
    fn what_is_right_is_kept_and_nothing_else() {
        let (mut whole, mut empty) = stores();
        let wanted = [layers(1, 2)];
        assert_eq!(empty.prepare(&wanted), Ok(Missing::Manifest));
        give_manifest(&mut whole, &mut empty);
        let Ok(Missing::Pieces(lacking)) = empty.prepare(&wanted) else {
            panic!("it has the manifest");
        };
        assert_eq!(lacking.len(), 2);
        for lacking in lacking {
            for piece in lacking.missing {
                let range = piece_range(lacking.bytes, piece).expect("a piece");
                assert!(!empty.has(layers(1, 2)));
                whole.spoilt = true;
                let wrong = give(&mut whole, lacking.content, range);
                assert_eq!(empty.keep(lacking.content, piece, &wrong), Kept::Corrupt);
                whole.spoilt = false;
                let right = give(&mut whole, lacking.content, range);
                assert_eq!(empty.keep(lacking.content, piece, &right), Kept::Kept);
            }
        }
        assert!(empty.has(layers(1, 2)) && !empty.has(layers(1, 3)));
        assert_eq!(empty.offer(MANIFEST).layers, [layers(1, 2)]);
        assert_eq!(whole.offer(MANIFEST).layers, [layers(0, 3)]);
        assert_eq!(
            (empty.refused, empty.kept_bytes),
            (3, 13 + MAX_PIECE_BYTES + 3)
        );
    }

    #[test]
    fn no_more_is_kept_for_others_than_the_owner_allows() {
        let (mut whole, mut empty) = stores();
        give_manifest(&mut whole, &mut empty);
        assert!(empty.prepare(&[layers(0, 2)]).is_ok());
        assert!(empty.prepare(&[layers(0, 3)]).is_err());
        assert!(empty.prepare(&[layers(0, 4)]).is_err());
    }

    #[test]
    fn any_part_of_an_object_is_what_the_whole_has_there() {
        let content = content_of(Part::Layer(7));
        assert_eq!(part_of(content), Some(Part::Layer(7)));
        assert_eq!(part_of(MANIFEST), None);
        let of = |first, end| truth(content, ByteRange::new(first, end).expect("some"));
        let all = of(0, 100);
        for (first, end) in [(0, 8), (3, 5), (5, 29), (99, 100)] {
            assert_eq!(of(first, end), all[first as usize..end as usize]);
        }
    }
}
