//! The circle as it is stored, and what the owner does with it.
//!
//! Stored, then said: each of these returns only when what it did is on the disk, or says why not.

use potluck_protocol::PeerId;
use potluck_protocol::circle::{DeviceName, Member};
use potluck_protocol::machine::{Input, Reach};
use potluck_protocol::pairing::{Invitation, Secret, Wish};

use super::driver::{Driver, unix_seconds};
use super::ids;
use super::node::Node;
use super::reach::told_addresses;
use super::report::{NodeError, NodeEvent};
use super::underway::PairingId;
use crate::device::random;

impl Node {
    /// Opens pairing for so many seconds; the invitation is to be shown to the other device's owner.
    /// `wish` is what this device's owner says beforehand, `name` what it is called from now on. An
    /// earlier invitation is withdrawn.
    ///
    /// # Errors
    /// It has stopped, or cannot invite.
    pub fn invite(
        &self,
        seconds: u64,
        name: Option<DeviceName>,
        wish: Wish,
    ) -> Result<(PairingId, Invitation), NodeError> {
        let secret = Secret::from_random(random()?);
        self.ask(move |driver| driver.invite(seconds, secret, name, wish))?
    }

    /// Withdraws an invitation or gives up a joining, unless it is over.
    ///
    /// # Errors
    /// It has stopped.
    pub fn stop_pairing(&self, id: PairingId) -> Result<(), NodeError> {
        self.ask(move |driver| driver.stop_pairing(id))
    }

    /// Goes to pair with the device that invites; [`events`](Self::events) tell how it went.
    ///
    /// # Errors
    /// It has stopped, or joins another device already.
    pub fn join(
        &self,
        invitation: Invitation,
        name: Option<DeviceName>,
        wish: Wish,
    ) -> Result<PairingId, NodeError> {
        self.ask(move |driver| {
            if driver.joining.is_some() || driver.underway.joining.is_some() {
                return Err(NodeError::Joins);
            }
            driver.rename(name)?;
            let id = driver.underway.another();
            driver.join(id, invitation, wish);
            Ok(id)
        })?
    }

    /// The owner's answer to what was proposed of a pairing with a peer; false if it is not to be
    /// answered any more, or is of another pairing.
    ///
    /// # Errors
    /// It has stopped.
    pub fn answer_pairing(
        &self,
        id: PairingId,
        peer: PeerId,
        agrees: bool,
    ) -> Result<bool, NodeError> {
        self.ask(move |driver| {
            let is_of_it = driver.underway.with(peer) == Some(id);
            is_of_it && driver.answer_pairing(peer, agrees)
        })
    }

    /// Whose membership [`forget`](Self::forget) would end, as far as this device has heard; nothing
    /// is changed.
    ///
    /// # Errors
    /// It has stopped; or it cannot be, and why.
    pub fn would_forget(&self, peer: PeerId, reach: Reach) -> Result<Vec<Member>, NodeError> {
        self.ask(move |driver| {
            let before = driver.machine.circle();
            let identity = driver.device.identity();
            let mut after = before.clone();
            match reach {
                Reach::Alone => after.revoke(&identity, peer)?,
                Reach::WithAdmitted => after.expel(&identity, peer)?,
            };
            let gone = before.members();
            let gone = gone.filter(|member| !after.contains(member.peer));
            Ok(gone.cloned().collect())
        })?
    }

    /// Ends a device's membership: stored when this returns.
    ///
    /// # Errors
    /// It has stopped; it cannot be, and why; or it cannot be stored, and is not done then.
    pub fn forget(&self, peer: PeerId, reach: Reach) -> Result<(), NodeError> {
        self.ask(move |driver| driver.forget(peer, reach))?
    }

    /// Leaves the circle and begins a new one: stored when this returns.
    ///
    /// # Errors
    /// It has stopped, or it cannot be stored.
    pub fn new_circle(&self) -> Result<(), NodeError> {
        self.ask(Driver::new_circle)?
    }
}

impl Driver {
    /// The machine has another circle, which is to be stored before anything follows from it.
    pub(super) fn circle_changed(&mut self) {
        match self.device.store(self.machine.circle()) {
            Ok(()) => self.is_to_store = false,
            Err(error) => {
                self.machine.circle_not_stored();
                // What this device did itself is undone, what others wrote is still to be stored. The
                // file may have the circle that was undone: only its folder was not written then.
                self.is_to_store = self.device.store(self.machine.circle()).is_err();
                let words = crate::words::of(&error);
                self.tell_watchers(&NodeEvent::Problem(words));
                self.unstored = Some(error);
            }
        }
        self.admit_members();
    }

    /// Tries again what could not be stored, and lets invitations end that expired in sleep.
    pub(super) fn look_after_circle(&mut self) {
        if self.is_to_store && self.device.store(self.machine.circle()).is_ok() {
            self.is_to_store = false;
        }
        if self.machine.is_inviting() {
            self.tell_clock();
        }
    }

    /// Tells the machine what the system's clock shows.
    pub(super) fn tell_clock(&mut self) {
        let unix_s = unix_seconds();
        self.tell(Input::Clock { unix_s });
    }

    /// Does all that follows from a change of the circle, the storing of it first.
    fn store_circle(&mut self) -> Result<(), NodeError> {
        self.unstored = None;
        self.follow_up();
        match self.unstored.take() {
            Some(error) => Err(error.into()),
            None => Ok(()),
        }
    }

    /// Tells the gate who is paired.
    pub(super) fn admit_members(&mut self) {
        let machine = &self.machine;
        let members = machine.circle().members().map(|member| member.peer);
        let members = members.filter(|peer| machine.is_member(*peer));
        let members = members.map(ids::to_libp2p).collect();
        self.swarm.behaviour_mut().set_members(members);
    }

    /// Calls this device by another name, if there is one, here and in its circle.
    fn rename(&mut self, name: Option<DeviceName>) -> Result<(), NodeError> {
        let Some(name) = name else {
            return Ok(());
        };
        let member = self.machine.circle().member(self.device.peer_id());
        if member.is_some_and(|member| member.name != name) {
            let now = self.now();
            self.machine.rename(now, &name)?;
            self.store_circle()?;
        }
        if self.device.name != name || !self.device.is_named() {
            self.device.rename(name)?;
        }
        Ok(())
    }

    pub(super) fn forget(&mut self, peer: PeerId, reach: Reach) -> Result<(), NodeError> {
        let now = self.now();
        self.machine.revoke(now, peer, reach)?;
        self.store_circle()
    }

    /// Leaves the circle, of which those hear who are connected, and begins a new one.
    pub(super) fn new_circle(&mut self) -> Result<(), NodeError> {
        let nonce = random()?;
        let me = self.device.peer_id();
        let circle = self.machine.circle();
        if circle.contains(me) && circle.member_count() > 1 {
            let now = self.now();
            // Of a circle that is full nobody can be told that it is left.
            if self.machine.revoke(now, me, Reach::Alone).is_ok() {
                self.store_circle()?;
            }
        }
        let now = self.now();
        self.machine.found_circle(now, nonce);
        self.store_circle()
    }

    pub(super) fn invite(
        &mut self,
        seconds: u64,
        secret: Secret,
        name: Option<DeviceName>,
        wish: Wish,
    ) -> Result<(PairingId, Invitation), NodeError> {
        let addresses = told_addresses(&self.listening());
        let expires = unix_seconds() + seconds;
        let peer = self.device.peer_id();
        let invitation = Invitation::new(peer, secret, expires, addresses)?;
        self.rename(name)?;
        let now = self.now();
        let machine = &mut self.machine;
        machine.invite(now, unix_seconds(), invitation.clone(), wish)?;
        // The end of an earlier one is told as its own.
        self.follow_up();
        let id = self.underway.another();
        self.underway.inviting = Some(id);
        self.journal.pairings.invites(id, seconds);
        Ok((id, invitation))
    }

    pub(super) fn answer_pairing(&mut self, peer: PeerId, agrees: bool) -> bool {
        let now = self.now();
        self.machine.answer_pairing(now, peer, agrees)
    }

    fn stop_pairing(&mut self, id: PairingId) {
        let now = self.now();
        if self.underway.inviting == Some(id) {
            self.machine.stop_inviting(now);
        }
        if self.underway.joining.is_some_and(|(_, of)| of == id) {
            self.machine.stop_joining(now);
        }
        let peer = self.joining.as_ref().filter(|joining| joining.id == id);
        if let Some(peer) = peer.map(|joining| joining.invitation.peer()) {
            self.end_joining(peer);
            self.not_reached("it was given up".to_owned());
        }
    }
}
