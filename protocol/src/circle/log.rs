//! The log: entries in an order in which each comes after its parents.

use std::collections::BTreeMap;

use super::entry::{Act, Entry, EntryHash};
use super::membership::Membership;
use super::past::{EntrySet, Placed};
use super::room::Room;
use super::{EntryError, MAX_MEMBERS, MAX_PARENTS};
use crate::PeerId;

/// Entries that all were right to write, by what each builds on.
///
/// INVARIANT: an entry's parents are before it; the first, and only the first, is a founding; none is
/// there twice.
#[derive(Debug, Clone)]
pub(super) struct Log {
    placed: Vec<Placed>,
    places: BTreeMap<EntryHash, usize>,
    room: Room,
}

impl Log {
    /// The log of one founding.
    pub(super) fn found(founding: Entry) -> Result<Self, EntryError> {
        if !matches!(founding.act(), Act::Found { .. }) {
            return Err(EntryError::OtherCircle);
        }
        let mut log = Self {
            placed: Vec::new(),
            places: BTreeMap::new(),
            room: Room::default(),
        };
        log.push(founding, EntrySet::default(), 0);
        Ok(log)
    }

    pub(super) fn placed(&self) -> &[Placed] {
        &self.placed
    }

    pub(super) fn place_of(&self, hash: &EntryHash) -> Option<usize> {
        self.places.get(hash).copied()
    }

    /// All entries.
    pub(super) fn all(&self) -> EntrySet {
        EntrySet::first(self.placed.len())
    }

    /// The places that nothing builds on, ascending.
    pub(super) fn heads(&self) -> Vec<usize> {
        let mut covered = EntrySet::default();
        for placed in &self.placed {
            covered.union_with(&placed.past);
        }
        (0..self.placed.len())
            .filter(|&place| !covered.contains(place))
            .collect()
    }

    /// What a new entry of `author` builds on: all heads, or of too many those first that lead to the
    /// author's own last entry, then the highest.
    pub(super) fn parents_for(&self, author: PeerId) -> Vec<EntryHash> {
        let last = (0..self.placed.len())
            .rev()
            .find(|&place| self.placed[place].entry.author() == author);
        let mut heads = self.heads();
        heads.sort_by_key(|&head| {
            let placed = &self.placed[head];
            let leads = last.is_some_and(|last| last == head || placed.past.contains(last));
            (!leads, u32::MAX - placed.height, placed.entry.hash())
        });
        heads.truncate(MAX_PARENTS);
        heads
            .iter()
            .map(|&head| self.placed[head].entry.hash())
            .collect()
    }

    /// The first of these entries that made a device a member, whether or not it is one now.
    fn first_admission(&self, within: &EntrySet, peer: PeerId) -> Option<usize> {
        within
            .iter()
            .find(|&place| self.placed[place].entry.admitted() == Some(peer))
    }

    /// What an expulsion of `peer` by `author` builds on: only what made both members. So whoever
    /// knows both can take it, whatever else either has of the log.
    pub(super) fn parents_of_expulsion(&self, author: PeerId, peer: PeerId) -> Vec<EntryHash> {
        let all = self.all();
        let live = |of| Membership::admission_of(&self.placed, &all, of);
        // One who is gone may have left others.
        let of_peer = live(peer).or_else(|| self.first_admission(&all, peer));
        let mut parents: Vec<_> = [live(author), of_peer].into_iter().flatten().collect();
        parents.sort_unstable();
        parents.dedup();
        let hash = |place: usize| self.placed[place].entry.hash();
        parents.into_iter().map(hash).collect()
    }

    /// The entry's past and height.
    pub(super) fn past_of(&self, parents: &[EntryHash]) -> Result<(EntrySet, u32), EntryError> {
        let mut past = EntrySet::default();
        let mut height = 0;
        for parent in parents {
            let place = self.place_of(parent).ok_or(EntryError::MissingParents)?;
            past.insert(place);
            past.union_with(&self.placed[place].past);
            height = height.max(self.placed[place].height + 1);
        }
        Ok((past, height))
    }

    /// The number of the author's next entry after `past`.
    pub(super) fn next_sequence(&self, author: PeerId, past: &EntrySet) -> u32 {
        let entries = past.iter().map(|place| &self.placed[place].entry);
        let of_author = entries.filter(|entry| entry.author() == author);
        of_author
            .map(|entry| entry.sequence() + 1)
            .max()
            .unwrap_or(0)
    }

    /// Takes an entry if it was right to write by what it builds on; whether it is new.
    ///
    /// All but the bounds on what the log holds depends on the entry's past alone, and so is judged
    /// alike by all, in whatever order entries come.
    pub(super) fn insert(&mut self, entry: Entry) -> Result<bool, EntryError> {
        self.insert_within(entry, Room::check)
    }

    /// The same for an entry of the log that this device stored. An earlier version may have stored
    /// more than is taken today, so only what the log can hold at all bounds it.
    pub(super) fn insert_stored(&mut self, entry: Entry) -> Result<bool, EntryError> {
        self.insert_within(entry, Room::check_stored)
    }

    fn insert_within(
        &mut self,
        entry: Entry,
        check_room: impl Fn(&Room, &Entry) -> Result<(), EntryError>,
    ) -> Result<bool, EntryError> {
        if self.place_of(&entry.hash()).is_some() {
            return Ok(false);
        }
        if matches!(entry.act(), Act::Found { .. }) {
            return Err(EntryError::OtherCircle);
        }
        let (past, height) = self.past_of(entry.parents())?;
        self.check_right(&entry, &past)?;
        check_room(&self.room, &entry)?;
        self.push(entry, past, height);
        Ok(true)
    }

    fn check_right(&self, entry: &Entry, past: &EntrySet) -> Result<(), EntryError> {
        if entry.sequence() != self.next_sequence(entry.author(), past) {
            return Err(EntryError::OutOfSequence);
        }
        let members = Membership::within(&self.placed, past);
        if !members.contains(entry.author()) {
            return Err(EntryError::AuthorNotMember);
        }
        match entry.act() {
            Act::Admit { peer, .. } if members.contains(*peer) => Err(EntryError::AlreadyMember),
            Act::Admit { .. } if members.len() >= MAX_MEMBERS => Err(EntryError::CircleFull),
            Act::Revoke { peer } if !members.contains(*peer) => Err(EntryError::NotAMember),
            Act::Expel { peer } if self.first_admission(past, *peer).is_none() => {
                Err(EntryError::NotAMember)
            }
            Act::Found { .. }
            | Act::Admit { .. }
            | Act::Revoke { .. }
            | Act::Expel { .. }
            | Act::Rename { .. } => Ok(()),
        }
    }

    fn push(&mut self, entry: Entry, past: EntrySet, height: u32) {
        self.room.take(&entry);
        self.places.insert(entry.hash(), self.placed.len());
        self.placed.push(Placed {
            entry,
            past,
            height,
        });
    }
}
