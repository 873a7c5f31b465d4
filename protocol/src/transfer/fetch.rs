//! The fetch of one model.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::channel::{Asked, What};
use super::object::Object;
use super::{ASK_EVERY, HEDGE_AFTER, Lacking, Part, Progress, STARVED_AFTER, STUCK_AFTER};
use crate::wire::limits::{MAX_LAYERS, MAX_PIECE_BYTES};
use crate::wire::{ByteRange, ContentHash, ModelOffer};
use crate::{LayerRange, PeerId};

/// A model that is fetched: what is missing, who offers it, and who was asked for it.
#[derive(Debug)]
pub(super) struct Fetch {
    manifest: ContentHash,
    layers: BTreeSet<u32>,
    state: State,
    /// How often the store has yet to say what is missing.
    preparing: u32,
    offers: BTreeMap<PeerId, ModelOffer>,
    /// Peers that have not said yet what they have.
    unheard: BTreeSet<PeerId>,
    /// Whether anybody ever had anything of it.
    offered: bool,
    /// Peers that sent wrong bytes.
    left_out: BTreeSet<PeerId>,
    /// When all are to be asked what they have.
    pub(super) ask_at: Duration,
    starved_since: Option<Duration>,
    /// When something was kept last.
    kept_at: Duration,
    kept_bytes: u64,
    told_bytes: Option<u64>,
}

#[derive(Debug)]
enum State {
    /// The store is looking what is missing.
    Preparing,
    Manifest(Coming),
    /// The manifest arrived from this peer, and is being checked.
    Checking(PeerId),
    Objects(BTreeMap<ContentHash, Object>),
}

/// A manifest that is coming.
#[derive(Debug, Default)]
struct Coming {
    /// The peer that sends it, and its bytes.
    from: Option<(PeerId, u64)>,
    /// Asked for up to here.
    asked: u64,
    bytes: Vec<u8>,
}

/// What became of a piece that came.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// It is not wanted any more, or more is to come.
    Nothing,
    /// Check it.
    CheckPiece,
    /// This is the whole manifest: check it.
    CheckManifest(Vec<u8>),
}

impl Fetch {
    pub(super) fn new(now: Duration, manifest: ContentHash) -> Self {
        Self {
            manifest,
            layers: BTreeSet::new(),
            state: State::Preparing,
            preparing: 0,
            offers: BTreeMap::new(),
            unheard: BTreeSet::new(),
            offered: false,
            left_out: BTreeSet::new(),
            ask_at: now,
            starved_since: None,
            kept_at: now,
            kept_bytes: 0,
            told_bytes: None,
        }
    }

    /// Wants these layers, too; whether that is new.
    pub(super) fn want(&mut self, layers: LayerRange) -> bool {
        let before = self.layers.len();
        self.layers.extend(layers.first()..layers.end());
        self.layers.len() > before
    }

    /// All layers that are wanted.
    pub(super) fn layers(&self) -> Vec<LayerRange> {
        let mut ranges: Vec<(u32, u32)> = Vec::new();
        for &layer in self.layers.iter().filter(|layer| **layer < MAX_LAYERS) {
            match ranges.last_mut() {
                Some((_, end)) if *end == layer => *end += 1,
                _ => ranges.push((layer, layer + 1)),
            }
        }
        let ranges = ranges.into_iter();
        ranges.filter_map(|(a, b)| LayerRange::new(a, b)).collect()
    }

    /// These are asked what they have.
    pub(super) fn ask(&mut self, peers: impl Iterator<Item = PeerId>) {
        if !self.offered {
            self.unheard.extend(peers);
        }
    }

    /// All are asked what they have.
    pub(super) fn ask_all(&mut self, now: Duration, peers: impl Iterator<Item = PeerId>) {
        self.ask_at = now + ASK_EVERY;
        self.ask(peers);
    }

    pub(super) fn offered(&mut self, peer: PeerId, offer: ModelOffer) {
        self.unheard.remove(&peer);
        if offer.is_empty() {
            self.forget_offer(peer);
        } else {
            self.offered = true;
            self.offers.insert(peer, offer);
        }
    }

    /// A peer has not what it offered.
    pub(super) fn forget_offer(&mut self, peer: PeerId) {
        self.offers.remove(&peer);
        self.release(peer);
    }

    /// A peer is gone.
    pub(super) fn gone(&mut self, peer: PeerId) {
        self.unheard.remove(&peer);
        self.forget_offer(peer);
    }

    /// What a peer owes is not counted on.
    pub(super) fn release(&mut self, peer: PeerId) {
        match &mut self.state {
            State::Manifest(coming) if coming.is_from(peer) => *coming = Coming::default(),
            State::Objects(objects) => {
                let objects = objects.values_mut();
                objects.for_each(|object| object.release_all(peer));
            }
            State::Manifest(_) | State::Preparing | State::Checking(_) => {}
        }
    }

    /// What a peer was asked for does not come.
    pub(super) fn refused(&mut self, peer: PeerId, what: What) {
        match (&mut self.state, what) {
            (State::Manifest(coming), What::Manifest { .. }) if coming.is_from(peer) => {
                *coming = Coming::default();
            }
            (State::Objects(objects), What::Piece { content, piece }) => {
                if let Some(object) = objects.get_mut(&content) {
                    object.release(peer, piece);
                }
            }
            _ => {}
        }
    }

    /// The store is asked what is missing.
    pub(super) fn prepare(&mut self) {
        self.preparing += 1;
    }

    /// The store has said what is missing, or why it keeps nothing.
    pub(super) fn prepared(&mut self) {
        self.preparing = self.preparing.saturating_sub(1);
    }

    /// The store lacks the manifest.
    pub(super) fn lacks_manifest(&mut self) {
        if let State::Preparing = self.state {
            self.state = State::Manifest(Coming::default());
        }
    }

    /// The store lacks these pieces.
    pub(super) fn lacks(&mut self, now: Duration, lacking: &[Lacking]) {
        let mut objects = match &mut self.state {
            State::Objects(objects) => std::mem::take(objects),
            State::Preparing | State::Manifest(_) | State::Checking(_) => BTreeMap::new(),
        };
        for lacking in lacking {
            // What is on its way stays so.
            let new = || Object::new(lacking);
            objects.entry(lacking.content).or_insert_with(new);
        }
        self.kept_at = now;
        self.state = State::Objects(objects);
    }

    /// What to ask a peer for next.
    pub(super) fn next(&mut self, now: Duration, peer: PeerId) -> Option<(Asked, ByteRange)> {
        let offer = self.offers.get(&peer)?;
        if self.left_out.contains(&peer) {
            return None;
        }
        match &mut self.state {
            State::Preparing | State::Checking(_) => None,
            State::Manifest(coming) => {
                let range = coming.next(peer, offer.manifest_bytes)?;
                let first = range.first();
                let what = What::Manifest { first };
                Some(self.asked(what, range))
            }
            State::Objects(_) => self.next_piece(now, peer),
        }
    }

    fn asked(&self, what: What, range: ByteRange) -> (Asked, ByteRange) {
        let asked = Asked {
            manifest: self.manifest,
            what,
            bytes: range.bytes(),
        };
        (asked, range)
    }

    /// The first free piece of the part that the fewest offer; else one that another owes for long.
    fn next_piece(&mut self, now: Duration, peer: PeerId) -> Option<(Asked, ByteRange)> {
        let (offers, left_out) = (&self.offers, &self.left_out);
        let State::Objects(objects) = &mut self.state else {
            return None;
        };
        let offer = offers.get(&peer)?;
        let offerers = |part| {
            let usable = offers.iter().filter(|(of, _)| !left_out.contains(of));
            usable.filter(|(_, offer)| has(offer, part)).count()
        };
        let offered = objects
            .iter()
            .filter(|(_, object)| has(offer, object.part) && !object.needs_nobody());
        let free = offered.clone().filter(|(_, object)| object.has_free());
        let rarest = free.min_by_key(|(_, object)| (offerers(object.part), object.part));
        let (content, piece) = if let Some((&content, _)) = rarest {
            let object = objects.get_mut(&content)?;
            (content, object.take_free(now, peer)?)
        } else {
            let before = now.checked_sub(HEDGE_AFTER)?;
            let offered: Vec<_> = offered.map(|(content, _)| *content).collect();
            let mut owed = offered.into_iter();
            owed.find_map(|content| {
                let object = objects.get_mut(&content)?;
                Some((content, object.take_owed(now, peer, before)?))
            })?
        };
        let range = objects.get(&content)?.range(piece)?;
        Some(self.asked(What::Piece { content, piece }, range))
    }

    /// What was asked for came.
    pub(super) fn came(&mut self, peer: PeerId, what: What, bytes: &[u8]) -> Next {
        match (&mut self.state, what) {
            (State::Manifest(coming), What::Manifest { first }) => {
                if !coming.is_from(peer) {
                    return Next::Nothing;
                }
                if coming.bytes.len() as u64 != first {
                    // What came between does not come: all of it again.
                    *coming = Coming::default();
                    return Next::Nothing;
                }
                coming.bytes.extend_from_slice(bytes);
                let whole = coming.from.map(|(_, length)| length);
                if whole != Some(coming.bytes.len() as u64) {
                    return Next::Nothing;
                }
                let bytes = std::mem::take(&mut coming.bytes);
                self.state = State::Checking(peer);
                Next::CheckManifest(bytes)
            }
            (State::Objects(objects), What::Piece { content, piece }) => {
                let object = objects.get_mut(&content);
                if object.is_some_and(|object| object.came(peer, piece)) {
                    Next::CheckPiece
                } else {
                    Next::Nothing
                }
            }
            _ => Next::Nothing,
        }
    }

    /// The manifest was checked; whether it is right.
    pub(super) fn manifest_checked(&mut self, now: Duration, right: bool) {
        if let State::Checking(from) = self.state {
            if right {
                self.kept_at = now;
                self.state = State::Preparing;
            } else {
                self.left_out.insert(from);
                self.state = State::Manifest(Coming::default());
            }
        }
    }

    /// A piece was checked; whether it is right.
    pub(super) fn piece_checked(
        &mut self,
        now: Duration,
        content: ContentHash,
        piece: u32,
        right: bool,
    ) {
        let State::Objects(objects) = &mut self.state else {
            return;
        };
        let object = objects.get_mut(&content);
        let Some((from, bytes)) = object.and_then(|object| object.checked(piece, right)) else {
            return;
        };
        if right {
            self.kept_at = now;
            self.kept_bytes += bytes;
        } else {
            self.left_out.insert(from);
            self.release(from);
        }
    }

    /// Whether all is kept.
    pub(super) fn is_done(&self) -> bool {
        match &self.state {
            State::Objects(objects) => {
                self.preparing == 0 && objects.values().all(Object::is_whole)
            }
            State::Preparing | State::Manifest(_) | State::Checking(_) => false,
        }
    }

    /// Why it cannot go on, in words.
    pub(super) fn failure(&mut self, now: Duration) -> Option<String> {
        if !self.lacks_an_offer() {
            self.starved_since = None;
        } else if !self.offered && self.unheard.is_empty() {
            let words = "nobody who is connected to this device has the model's weights";
            return Some(words.to_owned());
        } else if now >= *self.starved_since.get_or_insert(now) + STARVED_AFTER {
            let words = "weights of the model are missing here, and nobody who is connected to \
                         this device has them";
            return Some(words.to_owned());
        }
        let awaits = matches!(self.state, State::Manifest(_) | State::Objects(_));
        let stuck = awaits && now >= self.kept_at + STUCK_AFTER;
        let words = "those who have the model's weights do not send them";
        stuck.then(|| words.to_owned())
    }

    /// Whether something has to come that nobody offers.
    fn lacks_an_offer(&self) -> bool {
        let usable = self.offers.iter();
        let mut usable = usable.filter(|(of, _)| !self.left_out.contains(of));
        match &self.state {
            State::Preparing => !self.offered,
            State::Checking(_) => false,
            State::Manifest(_) => usable.next().is_none(),
            State::Objects(objects) => {
                let needed = objects.values().filter(|object| !object.needs_nobody());
                let offered = |part| usable.clone().any(|(_, offer)| has(offer, part));
                needed.into_iter().any(|object| !offered(object.part))
            }
        }
    }

    /// How far it is, if that is new.
    pub(super) fn progress(&mut self) -> Option<Progress> {
        let State::Objects(objects) = &self.state else {
            return None;
        };
        if self.told_bytes.replace(self.kept_bytes) == Some(self.kept_bytes) {
            return None;
        }
        let missing: u64 = objects.values().map(Object::missing_bytes).sum();
        Some(Progress {
            manifest: self.manifest,
            kept_bytes: self.kept_bytes,
            of_bytes: self.kept_bytes + missing,
        })
    }
}

impl Coming {
    fn is_from(&self, peer: PeerId) -> bool {
        self.from.is_some_and(|(from, _)| from == peer)
    }

    /// What to ask a peer for that has so many bytes of it.
    fn next(&mut self, peer: PeerId, length: u64) -> Option<ByteRange> {
        let (from, length) = *self.from.get_or_insert((peer, length));
        if from != peer {
            return None;
        }
        let range = ByteRange::new(self.asked, length.min(self.asked + MAX_PIECE_BYTES))?;
        self.asked = range.end();
        Some(range)
    }
}

/// Whether an offer has a part.
fn has(offer: &ModelOffer, part: Part) -> bool {
    let layers = |layer: u32| {
        let holds = |range: &LayerRange| (range.first()..range.end()).contains(&layer);
        offer.layers.iter().any(holds)
    };
    match part {
        // A device that has anything whole has it.
        Part::Common => offer.ends || !offer.layers.is_empty(),
        Part::Layer(layer) => layers(layer),
    }
}
