//! The circle as one member holds it: the log, the entries that wait, and the membership.

use std::collections::VecDeque;

use super::entry::{Act, Entry, EntryHash, Unverified};
use super::gossip::{Digest, batches, split_entries, write_entry};
use super::log::Log;
use super::membership::Membership;
use super::{
    CircleId, DeviceName, EntryError, Identity, LogError, MAX_BATCH_BYTES, MAX_LOG_BYTES,
    MAX_WAITING, Member,
};
use crate::PeerId;

const LOG_VERSION: u8 = 1;

/// A circle: its log, and who by it is a member.
#[derive(Debug, Clone)]
pub struct Circle {
    log: Log,
    members: Membership,
    /// Signed entries that build on what is not here yet, in the order they came.
    waiting: VecDeque<Entry>,
}

/// What [`Circle::merge`] did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Merged {
    /// Entries new to the log.
    pub added: usize,
    /// Entries that were here before.
    pub known: usize,
    /// Entries that now wait for what they build on.
    pub waiting: usize,
    /// Why others were refused, in their order.
    pub refused: Vec<EntryError>,
    /// Devices that became members, ascending.
    pub joined: Vec<PeerId>,
    /// Devices that are no members any more, ascending: their links are to end at once.
    pub left: Vec<PeerId>,
}

impl Circle {
    /// A new circle of this device alone. `nonce` is random.
    pub fn found(identity: &Identity, name: &DeviceName, nonce: [u8; 16]) -> Self {
        let name = name.clone();
        let founding = Entry::sign(identity, 0, Vec::new(), Act::Found { nonce, name });
        Self::of_founding(founding).expect("it is a founding")
    }

    /// Reads the whole log that this device stored, as [`to_log`](Self::to_log) wrote it, also if it
    /// has more than the bounds on one author and on new entries allow today. An entry that is there
    /// twice counts once.
    ///
    /// # Errors
    /// [`LogError`] if it is damaged, or any of its entries is not signed, not in order, or was not
    /// right to write.
    pub fn from_log(bytes: &[u8]) -> Result<Self, LogError> {
        Self::read_log(bytes, |log, entry| log.insert_stored(entry).map(drop))
    }

    /// Reads a whole log that another device handed over: it has to keep to all bounds.
    ///
    /// # Errors
    /// [`LogError`] if it is damaged, or any of its entries is refused.
    pub fn from_peers_log(bytes: &[u8]) -> Result<Self, LogError> {
        Self::read_log(bytes, |log, entry| log.insert(entry).map(drop))
    }

    fn read_log(
        bytes: &[u8],
        insert: impl Fn(&mut Log, Entry) -> Result<(), EntryError>,
    ) -> Result<Self, LogError> {
        if bytes.len() > MAX_LOG_BYTES {
            return Err(LogError::Oversize);
        }
        let entries = match bytes.split_first().ok_or(LogError::Malformed)? {
            (&LOG_VERSION, entries) => split_entries(entries)?,
            (&0, _) => return Err(LogError::Malformed),
            (&newer, _) => return Err(LogError::Newer(newer)),
        };
        let read = |(place, entry): (usize, &[u8])| {
            let entry = Unverified::parse(entry).and_then(Unverified::verify);
            (place, entry)
        };
        let refused = |place| move |why| LogError::Entry { place, why };
        let mut entries = entries.into_iter().enumerate().map(read);
        let (place, founding) = entries.next().ok_or(LogError::Malformed)?;
        let mut circle = founding
            .and_then(Self::of_founding)
            .map_err(refused(place))?;
        for (place, entry) in entries {
            entry
                .and_then(|entry| insert(&mut circle.log, entry))
                .map_err(refused(place))?;
        }
        circle.members = circle.compute_members();
        Ok(circle)
    }

    /// The whole log, to store it or to hand it to a new member; at most [`MAX_LOG_BYTES`].
    pub fn to_log(&self) -> Vec<u8> {
        let mut out = vec![LOG_VERSION];
        for placed in self.log.placed() {
            write_entry(&mut out, &placed.entry.to_bytes());
        }
        out
    }

    /// The circle's name: the hash of its founding.
    pub fn id(&self) -> CircleId {
        CircleId(self.log.placed()[0].entry.hash())
    }

    /// The members, by their PeerIds ascending.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.members.iter()
    }

    /// How many members there are; none if the last one left.
    pub fn member_count(&self) -> usize {
        self.members.len()
    }

    /// Whether a device is a member.
    pub fn contains(&self, peer: PeerId) -> bool {
        self.members.contains(peer)
    }

    /// A member.
    pub fn member(&self, peer: PeerId) -> Option<&Member> {
        self.members.get(peer)
    }

    /// The entries, each after those that it builds on. There are ever more: whoever stores the log
    /// writes it again when their number or the circle's id has changed.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = &Entry> {
        self.log.placed().iter().map(|placed| &placed.entry)
    }

    /// Makes a device a member.
    ///
    /// # Errors
    /// [`EntryError`] if it is one, or the circle or the log is full, or this device is no member.
    pub fn admit(
        &mut self,
        identity: &Identity,
        peer: PeerId,
        name: &DeviceName,
    ) -> Result<EntryHash, EntryError> {
        let name = name.clone();
        self.append(identity, Act::Admit { peer, name })
    }

    /// Ends a device's membership, here at once; one's own to leave the circle.
    ///
    /// # Errors
    /// [`EntryError`] if it is no member, or the log is full, or this device is no member.
    pub fn revoke(&mut self, identity: &Identity, peer: PeerId) -> Result<EntryHash, EntryError> {
        self.append(identity, Act::Revoke { peer })
    }

    /// Ends the membership of a device and of all whom it made members, and whom those did; also if the
    /// device itself is no member any more, as one that left and stayed on by others. It is taken
    /// by everybody who knows both devices as members, whatever has been done to fill the log: each
    /// device may write [`RESERVED_REVOCATIONS`](super::RESERVED_REVOCATIONS) of them in any case.
    ///
    /// The same expulsion a second time is the same entry: nothing is written then.
    ///
    /// # Errors
    /// [`EntryError`] if it never was a member, or this device is none, or has written so many and
    /// the log is full.
    pub fn expel(&mut self, identity: &Identity, peer: PeerId) -> Result<EntryHash, EntryError> {
        let author = identity.peer_id();
        if !self.contains(author) {
            return Err(EntryError::AuthorNotMember);
        }
        let parents = self.log.parents_of_expulsion(author, peer);
        self.append_after(identity, parents, Act::Expel { peer })
    }

    /// Gives this device another name.
    ///
    /// # Errors
    /// [`EntryError`] if the log is full, or this device is no member.
    pub fn rename(
        &mut self,
        identity: &Identity,
        name: &DeviceName,
    ) -> Result<EntryHash, EntryError> {
        let name = name.clone();
        self.append(identity, Act::Rename { name })
    }

    /// What this member has, for others to see what it lacks.
    pub fn digest(&self) -> Digest {
        Digest::of(self.id(), &self.log)
    }

    /// Whether the author of the digest has entries that are not here: ask with one's own digest.
    pub fn lacks(&self, theirs: &Digest) -> bool {
        theirs.circle() == self.id() && theirs.knows_more_than(&self.log)
    }

    /// The entries that the author of the digest lacks, as batches for
    /// [`merge`](Self::merge) in this order; none for another circle.
    pub fn batches_for(&self, theirs: &Digest) -> Vec<Vec<u8>> {
        if theirs.circle() != self.id() {
            return Vec::new();
        }
        let entries = theirs.lacks(&self.log);
        batches(entries.map(|place| self.log.placed()[place].entry.to_bytes()))
    }

    /// Takes a batch of entries from a member. An entry that is refused does not touch the others.
    ///
    /// # Errors
    /// [`LogError`] if the batch is cut off or too long: nothing of it is taken.
    pub fn merge(&mut self, batch: &[u8]) -> Result<Merged, LogError> {
        if batch.len() > MAX_BATCH_BYTES {
            return Err(LogError::Oversize);
        }
        Ok(self.merge_entries(split_entries(batch)?))
    }

    /// Takes all entries of another member's log of this circle.
    ///
    /// # Errors
    /// [`LogError`] if the log is cut off, too long or of another version: nothing of it is taken.
    pub fn merge_log(&mut self, log: &[u8]) -> Result<Merged, LogError> {
        if log.len() > MAX_LOG_BYTES {
            return Err(LogError::Oversize);
        }
        match log.split_first().ok_or(LogError::Malformed)? {
            (&LOG_VERSION, entries) => Ok(self.merge_entries(split_entries(entries)?)),
            (&0, _) => Err(LogError::Malformed),
            (&newer, _) => Err(LogError::Newer(newer)),
        }
    }

    fn of_founding(founding: Entry) -> Result<Self, EntryError> {
        let log = Log::found(founding)?;
        let members = Membership::within(log.placed(), &log.all());
        Ok(Self {
            log,
            members,
            waiting: VecDeque::new(),
        })
    }

    fn compute_members(&self) -> Membership {
        Membership::within(self.log.placed(), &self.log.all())
    }

    fn append(&mut self, identity: &Identity, act: Act) -> Result<EntryHash, EntryError> {
        let parents = self.log.parents_for(identity.peer_id());
        self.append_after(identity, parents, act)
    }

    fn append_after(
        &mut self,
        identity: &Identity,
        parents: Vec<EntryHash>,
        act: Act,
    ) -> Result<EntryHash, EntryError> {
        let author = identity.peer_id();
        let (past, _) = self.log.past_of(&parents)?;
        let sequence = self.log.next_sequence(author, &past);
        if sequence >= super::MAX_ENTRIES_PER_AUTHOR {
            return Err(EntryError::LogFull);
        }
        let entry = Entry::sign(identity, sequence, parents, act);
        let hash = entry.hash();
        // An expulsion builds on the two admissions alone: written again, it may be the one that is
        // there.
        if self.log.insert(entry)? {
            self.members = self.compute_members();
        }
        Ok(hash)
    }

    fn merge_entries(&mut self, entries: Vec<&[u8]>) -> Merged {
        let mut merged = Merged::default();
        for bytes in entries {
            self.take(bytes, &mut merged);
        }
        merged.waiting = self.waiting.len();
        if merged.added > 0 {
            let before = std::mem::take(&mut self.members);
            self.members = self.compute_members();
            merged.joined = difference(&self.members, &before);
            merged.left = difference(&before, &self.members);
        }
        merged
    }

    fn take(&mut self, bytes: &[u8], merged: &mut Merged) {
        let entry = match Unverified::parse(bytes) {
            Ok(entry) => entry,
            Err(why) => return merged.refused.push(why),
        };
        let hash = entry.hash();
        let is_waiting = self.waiting.iter().any(|entry| entry.hash() == hash);
        if is_waiting || self.log.place_of(&hash).is_some() {
            merged.known += 1;
            return;
        }
        match entry.verify() {
            Ok(entry) => self.insert(entry, merged),
            Err(why) => merged.refused.push(why),
        }
    }

    /// Inserts an entry, then all that waited for it.
    fn insert(&mut self, entry: Entry, merged: &mut Merged) {
        let mut ready = vec![entry];
        while let Some(entry) = ready.pop() {
            if self.log.past_of(entry.parents()).is_err() {
                self.wait(entry, merged);
                continue;
            }
            match self.log.insert(entry) {
                Ok(true) => {
                    merged.added += 1;
                    self.move_ready(&mut ready);
                }
                Ok(false) => merged.known += 1,
                Err(why) => merged.refused.push(why),
            }
        }
    }

    fn move_ready(&mut self, ready: &mut Vec<Entry>) {
        let waiting = std::mem::take(&mut self.waiting);
        for entry in waiting {
            if self.log.past_of(entry.parents()).is_ok() {
                ready.push(entry);
            } else {
                self.waiting.push_back(entry);
            }
        }
    }

    fn wait(&mut self, entry: Entry, merged: &mut Merged) {
        if self.waiting.len() >= MAX_WAITING {
            // The oldest, since it has had the longest to be completed; gossip brings it again.
            self.waiting.pop_front();
            merged.refused.push(EntryError::MissingParents);
        }
        self.waiting.push_back(entry);
    }
}

/// The members of `a` that are not of `b`.
fn difference(a: &Membership, b: &Membership) -> Vec<PeerId> {
    let peers = a.iter().map(|member| member.peer);
    peers.filter(|&peer| !b.contains(peer)).collect()
}
