//! The circle's log among its members, and what follows when members come and go.

use std::time::Duration;

use super::machine::Machine;
use super::{Event, Output};
use crate::PeerId;
use crate::circle::{Circle, CircleId, DeviceName, Digest, EntryError, LogError};
use crate::wire::{CircleDigest, CircleEntries, Refuse, RefuseCode};

/// What is said where a peer is no member any more, and where this device is none: to the peer, and
/// here.
const STRANGER: (&str, &str) = (
    "you are no member of this device's circle any more",
    "it is not in this device's circle any more",
);
const LEFT: (&str, &str) = (
    "this device has left the circle",
    "this device is not in the circle any more",
);

/// What tells two states of a circle apart: logs only grow.
pub(super) fn version(circle: &Circle) -> (CircleId, usize) {
    (circle.id(), circle.entries().len())
}

impl Machine {
    /// The circle.
    pub fn circle(&self) -> &Circle {
        &self.circle
    }

    /// Whether connections of a peer are to be accepted: a member other than this device.
    pub fn is_member(&self, peer: PeerId) -> bool {
        peer != self.me && self.circle.contains(self.me) && self.circle.contains(peer)
    }

    /// Ends a device's membership, here at once; this device's own to leave the circle.
    ///
    /// # Errors
    /// [`EntryError`] if it is no member, or the log is full, or this device is no member.
    pub fn revoke(&mut self, now: Duration, peer: PeerId) -> Result<(), EntryError> {
        self.circle.revoke(&self.identity, peer)?;
        if peer == self.me {
            // It knows.
            self.members.remove(&peer);
        }
        self.note_circle(now, None);
        self.settle(now);
        Ok(())
    }

    /// Gives this device another name.
    ///
    /// # Errors
    /// [`EntryError`] if the log is full, or this device is no member.
    pub fn rename(&mut self, now: Duration, name: &DeviceName) -> Result<(), EntryError> {
        self.circle.rename(&self.identity, name)?;
        self.name = name.clone();
        self.note_circle(now, None);
        self.settle(now);
        Ok(())
    }

    /// This node's digest, as it travels.
    pub(super) fn own_digest(&self) -> CircleDigest {
        CircleDigest {
            digest: self.circle.digest().to_bytes(),
        }
    }

    /// A peer says what it has of the log.
    pub(super) fn digest_told(&mut self, now: Duration, from: PeerId, digest: &CircleDigest) {
        let theirs = match Digest::from_bytes(&digest.digest) {
            Ok(theirs) => theirs,
            Err(LogError::Newer(_)) => return,
            Err(why) => return self.drop_faulty(now, from, &why.to_string()),
        };
        for entries in self.circle.batches_for(&theirs) {
            self.send(from, CircleEntries { entries });
        }
        let lacks = self.circle.lacks(&theirs);
        let answered = (theirs, self.circle.digest());
        let Some(peer) = self.peers.get_mut(&from) else {
            return;
        };
        // Two that refuse each other's entries would else ask for ever.
        let new = peer.digests.as_ref() != Some(&answered);
        peer.digests = Some(answered);
        if lacks && new {
            let digest = self.own_digest();
            self.send(from, digest);
        }
    }

    /// A peer has entries of the log that this node may lack.
    pub(super) fn entries_told(&mut self, now: Duration, from: PeerId, entries: &CircleEntries) {
        match self.circle.merge(&entries.entries) {
            Ok(_) => self.note_circle(now, Some(from)),
            Err(why) => self.drop_faulty(now, from, &why.to_string()),
        }
    }

    /// Does what follows if the circle is not what it was: `heard_from` somebody, who has it already.
    pub(super) fn note_circle(&mut self, now: Duration, heard_from: Option<PeerId>) {
        let version = version(&self.circle);
        if version == self.version {
            return;
        }
        self.version = version;
        self.outputs.push_back(Output::CircleChanged);
        let members = self.circle.members().map(|member| member.peer).collect();
        let before = std::mem::replace(&mut self.members, members);
        if !self.members.contains(&self.me) {
            self.leave_all(now, before.contains(&self.me));
            return;
        }
        for &peer in before.difference(&self.members) {
            self.stages.forget(peer);
        }
        let connected = self.peers.keys().copied();
        let strangers: Vec<_> = connected
            .filter(|peer| !self.circle.contains(*peer))
            .collect();
        for peer in strangers {
            self.part(now, peer, STRANGER);
        }
        let digest = self.own_digest();
        self.send_to_all(heard_from, &digest.into());
    }

    /// This device is no member any more.
    fn leave_all(&mut self, now: Duration, revoked: bool) {
        let connected: Vec<_> = self.peers.keys().copied().collect();
        for peer in connected {
            self.part(now, peer, LEFT);
        }
        let requesters: Vec<_> = self.stages.requesters().collect();
        for requester in requesters.into_iter().filter(|peer| *peer != self.me) {
            self.stages.forget(requester);
        }
        if revoked {
            self.event(Event::Revoked);
        }
    }

    /// Tells a peer why before it is let go: who was revoked hears it here or never. The words are for
    /// the peer, and for this device.
    fn part(&mut self, now: Duration, peer: PeerId, (words, why): (&str, &str)) {
        let digests = self.peers.get(&peer).and_then(|peer| peer.digests.as_ref());
        let lacks = digests.map(|(theirs, _)| self.circle.batches_for(theirs));
        for entries in lacks.unwrap_or_default() {
            self.send(peer, CircleEntries { entries });
        }
        let refuse = Refuse {
            code: RefuseCode::NotAMember,
            words: words.to_owned(),
        };
        self.drop_peer(now, peer, Some(refuse), why.to_owned());
    }
}
