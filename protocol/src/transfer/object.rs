//! The fetch of one object: which pieces were requested from which peer.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Lacking, Part, piece_range};
use crate::PeerId;
use crate::wire::ByteRange;

/// An object's pieces that are not kept yet.
// INVARIANT: a piece is in at most one of `free`, `asked` and `checked`.
#[derive(Debug)]
pub(super) struct Object {
    pub(super) part: Part,
    bytes: u64,
    /// Pieces that no peer was asked for.
    free: BTreeSet<u32>,
    /// Pieces under way: the peers that were asked for each, one or two, and since when.
    asked: BTreeMap<u32, Vec<(PeerId, Duration)>>,
    /// Pieces that arrived and are being checked.
    checked: BTreeMap<u32, PeerId>,
}

impl Object {
    pub(super) fn new(lacking: &Lacking) -> Self {
        let missing = lacking.missing.iter().copied();
        Self {
            part: lacking.part,
            bytes: lacking.bytes,
            free: missing
                .filter(|piece| piece_range(lacking.bytes, *piece).is_some())
                .collect(),
            asked: BTreeMap::new(),
            checked: BTreeMap::new(),
        }
    }

    pub(super) fn range(&self, piece: u32) -> Option<ByteRange> {
        piece_range(self.bytes, piece)
    }

    /// Bytes that are not kept.
    pub(super) fn missing_bytes(&self) -> u64 {
        let pieces = self.free.iter().chain(self.asked.keys());
        let pieces = pieces.chain(self.checked.keys());
        let bytes = pieces.filter_map(|piece| self.range(*piece));
        bytes.map(ByteRange::bytes).sum()
    }

    /// Whether all is kept.
    pub(super) fn is_whole(&self) -> bool {
        self.needs_nobody() && self.checked.is_empty()
    }

    /// Whether nothing need come any more, if what is being checked is right.
    pub(super) fn needs_nobody(&self) -> bool {
        self.free.is_empty() && self.asked.is_empty()
    }

    /// Whether a piece can be asked for that nobody owes.
    pub(super) fn has_free(&self) -> bool {
        !self.free.is_empty()
    }

    /// Takes the first piece that nobody owes, to ask a peer for.
    pub(super) fn take_free(&mut self, now: Duration, peer: PeerId) -> Option<u32> {
        let piece = self.free.pop_first()?;
        self.asked.insert(piece, vec![(peer, now)]);
        Some(piece)
    }

    /// Takes a piece that one other peer owes since `before`, to ask this one for, too.
    pub(super) fn take_owed(
        &mut self,
        now: Duration,
        peer: PeerId,
        before: Duration,
    ) -> Option<u32> {
        let late = |owed: &&mut Vec<(PeerId, Duration)>| match owed.as_slice() {
            [(other, since)] => *other != peer && *since <= before,
            _ => false,
        };
        let mut asked = self.asked.iter_mut();
        let (piece, owed) = asked.find(|(_, owed)| late(owed))?;
        owed.push((peer, now));
        Some(*piece)
    }

    /// A peer owes a piece no more.
    pub(super) fn release(&mut self, peer: PeerId, piece: u32) {
        if let Some(owed) = self.asked.get_mut(&piece) {
            owed.retain(|(other, _)| *other != peer);
            if owed.is_empty() {
                self.asked.remove(&piece);
                self.free.insert(piece);
            }
        }
    }

    /// A peer owes nothing any more.
    pub(super) fn release_all(&mut self, peer: PeerId) {
        let pieces: Vec<_> = self.asked.keys().copied().collect();
        for piece in pieces {
            self.release(peer, piece);
        }
    }

    /// A piece came of a peer: whether it is to be checked.
    pub(super) fn came(&mut self, peer: PeerId, piece: u32) -> bool {
        let wanted = self.asked.remove(&piece).is_some() || self.free.remove(&piece);
        if wanted {
            self.checked.insert(piece, peer);
        }
        wanted
    }

    /// A piece was checked: the peer that sent it, and its bytes. A wrong piece is requested again.
    pub(super) fn checked(&mut self, piece: u32, right: bool) -> Option<(PeerId, u64)> {
        let from = self.checked.remove(&piece)?;
        if !right {
            self.free.insert(piece);
        }
        self.range(piece).map(|range| (from, range.bytes()))
    }
}
