//! Gossip of the circle's log, and the effects of members that join or leave.

use std::time::Duration;

use super::Machine;
use super::{Event, Output, Reach};
use crate::PeerId;
use crate::circle::{Circle, CircleId, DeviceName, Digest, EntryError, LogError};
use crate::wire::{CircleDigest, CircleEntries, Refuse, RefuseCode};

/// Reasons for dropping peers after a membership ends, of the peer or of this device: the text sent
/// to the peer, and the text for the owner.
const STRANGER: (&str, &str) = (
    "you are no member of this device's circle any more",
    "it is not in this device's circle any more",
);
const LEFT: (&str, &str) = (
    "this device has left the circle",
    "this device is not in the circle any more",
);

/// An answer counts as one more question per this many bytes: the whole log counts as 32 of the 100
/// questions allowed at once.
const BYTES_OF_QUESTION: usize = 16 << 10;

/// Identifies a state of a circle: logs only grow.
pub(super) fn version(circle: &Circle) -> (CircleId, usize) {
    (circle.id(), circle.entries().len())
}

/// A change of the circle that must be stored before it takes effect.
#[derive(Debug)]
pub(super) struct Unstored {
    at: Duration,
    heard_from: Option<PeerId>,
    /// The state before an act of this device. Entries of other members are never undone.
    before: Option<(Box<Circle>, DeviceName)>,
    /// Whether the driver has received the request to store it.
    pub(super) handed_out: bool,
}

impl Machine {
    /// The circle.
    pub fn circle(&self) -> &Circle {
        &self.circle
    }

    /// Whether to accept connections of a peer, which must be a member other than this device.
    pub fn is_member(&self, peer: PeerId) -> bool {
        peer != self.me && self.circle.contains(self.me) && self.circle.contains(peer)
    }

    /// Ends a device's membership, here at once. Revoking this device leaves the circle.
    /// [`Output::CircleChanged`] precedes all effects.
    ///
    /// # Errors
    /// [`EntryError`] if the device is not a member, the log is full, or this device is not a
    /// member.
    pub fn revoke(&mut self, now: Duration, peer: PeerId, reach: Reach) -> Result<(), EntryError> {
        let before = self.circle.clone();
        match reach {
            Reach::Alone => self.circle.revoke(&self.identity, peer)?,
            Reach::WithAdmitted => self.circle.expel(&self.identity, peer)?,
        };
        if peer == self.me {
            // This device needs no event about itself.
            self.members.remove(&peer);
        }
        self.note_own_act(now, before);
        self.settle(now);
        Ok(())
    }

    /// Renames this device.
    ///
    /// # Errors
    /// [`EntryError`] if the log is full or this device is not a member.
    pub fn rename(&mut self, now: Duration, name: &DeviceName) -> Result<(), EntryError> {
        let before = self.circle.clone();
        self.circle.rename(&self.identity, name)?;
        self.note_own_act(now, before);
        self.name = name.clone();
        self.settle(now);
        Ok(())
    }

    /// Replaces this device's circle with a new one that contains only this device. `nonce` is
    /// random. Call [`revoke`](Self::revoke) first if the other members should be informed.
    pub fn found_circle(&mut self, now: Duration, nonce: [u8; 16]) {
        let circle = Circle::found(&self.identity, &self.name, nonce);
        let before = std::mem::replace(&mut self.circle, circle);
        self.note_own_act(now, before);
        self.settle(now);
    }

    /// Reports that the circle of the last [`Output::CircleChanged`] could not be stored. Must be
    /// the next call. An act of this device is undone, and the pairing that caused it is refused.
    /// Entries of other members remain in effect and are stored later.
    pub fn circle_not_stored(&mut self) {
        let Some(change) = self.unstored.take() else {
            return;
        };
        match change.before {
            Some((circle, name)) => {
                self.circle = *circle;
                self.name = name;
                self.version = version(&self.circle);
                if self.circle.contains(self.me) {
                    self.members.insert(self.me);
                }
                self.pairing.not_stored();
            }
            None => self.draw_consequences(change.at, change.heard_from),
        }
        self.settle(change.at);
    }

    /// The driver has continued, so the circle is stored.
    pub(super) fn circle_stored(&mut self) {
        if let Some(change) = self.unstored.take() {
            self.draw_consequences(change.at, change.heard_from);
            self.settle(change.at);
        }
    }

    /// This node's digest, encoded.
    pub(super) fn own_digest(&self) -> CircleDigest {
        CircleDigest {
            digest: self.circle.digest().to_bytes(),
        }
    }

    /// Handles a peer's digest of its log.
    pub(super) fn digest_told(&mut self, now: Duration, from: PeerId, digest: &CircleDigest) {
        let theirs = match Digest::from_bytes(&digest.digest) {
            Ok(theirs) => theirs,
            Err(LogError::Newer(_)) => return self.is_outdated(from),
            Err(why) => return self.drop_faulty(now, from, &why.to_string()),
        };
        let batches = self.circle.batches_for(&theirs);
        // Limits peers that request the whole log repeatedly.
        let bytes: usize = batches.iter().map(Vec::len).sum();
        for _ in 0..bytes / BYTES_OF_QUESTION {
            if !self.may_ask(now, from) {
                return;
            }
        }
        for entries in batches {
            self.send(from, CircleEntries { entries });
        }
        let lacks = self.circle.lacks(&theirs);
        let answered = (theirs, self.circle.digest());
        let Some(peer) = self.peers.get_mut(&from) else {
            return;
        };
        // Otherwise two nodes that refuse each other's entries would ask endlessly.
        let new = peer.digests.as_ref() != Some(&answered);
        peer.digests = Some(answered);
        if lacks && new {
            let digest = self.own_digest();
            self.send(from, digest);
        }
    }

    /// Handles entries of the log that this node may lack.
    pub(super) fn entries_told(&mut self, now: Duration, from: PeerId, entries: &CircleEntries) {
        match self.circle.merge(&entries.entries) {
            Ok(merged) => {
                let newer = |why: &EntryError| matches!(why, EntryError::Newer(_));
                if merged.refused.iter().any(newer) {
                    self.is_outdated(from);
                }
                self.note_circle(now, Some(from), None);
            }
            Err(why) => self.drop_faulty(now, from, &why.to_string()),
        }
    }

    /// A member's log contains entries that this program cannot read, perhaps a revocation. Until
    /// it is updated, this node opens no stages on other devices and none for them.
    fn is_outdated(&mut self, told_by: PeerId) {
        if !std::mem::replace(&mut self.outdated, true) {
            self.view_changed = true;
            self.event(Event::Outdated { told_by });
        }
    }

    /// Records a change of the circle by this device; `before` is the previous state.
    pub(super) fn note_own_act(&mut self, now: Duration, before: Circle) {
        let before = (Box::new(before), self.name.clone());
        self.note_circle(now, None, Some(before));
    }

    /// Requests storage of the circle if it has changed. The peer `heard_from` already has the
    /// change.
    fn note_circle(
        &mut self,
        now: Duration,
        heard_from: Option<PeerId>,
        before: Option<(Box<Circle>, DeviceName)>,
    ) {
        let version = version(&self.circle);
        if version == self.version {
            return;
        }
        self.circle_stored();
        self.version = version;
        self.outputs.push_back(Output::CircleChanged);
        self.unstored = Some(Unstored {
            at: now,
            heard_from,
            before,
            handed_out: false,
        });
    }

    /// Applies the effects of a stored circle.
    fn draw_consequences(&mut self, now: Duration, heard_from: Option<PeerId>) {
        self.tell_who_came();
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

    /// Reports to the owner which devices joined or left the circle, if it is still the same
    /// circle.
    fn tell_who_came(&mut self) {
        let circle = self.circle.id();
        if std::mem::replace(&mut self.told_of, circle) != circle {
            return;
        }
        let came = self.circle.members().filter(|member| {
            let known = self.members.contains(&member.peer);
            !known && member.peer != self.me
        });
        let came: Vec<_> = came.cloned().map(Event::MemberJoined).collect();
        let left = self.members.iter();
        let left = left.filter(|peer| **peer != self.me && !self.circle.contains(**peer));
        let left: Vec<_> = left.map(|&peer| Event::MemberLeft(peer)).collect();
        came.into_iter()
            .chain(left)
            .for_each(|event| self.event(event));
    }

    /// Disconnects from all peers, because this device is no longer a member.
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

    /// Sends a peer the reason before dropping it: a revoked device has no other chance to learn of
    /// it. The texts are for the peer and for this device's owner.
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
