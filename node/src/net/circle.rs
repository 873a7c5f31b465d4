//! Storing the circle, and the owner's operations on it.
//!
//! Each operation returns success only after the change is on disk.

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
    /// Opens pairing for this many seconds and returns the invitation to show. `wish` is the direction that
    /// the owner has agreed to beforehand, `name` a new name for this device. An earlier invitation is
    /// withdrawn.
    ///
    /// # Errors
    /// The node has stopped, or cannot invite.
    pub fn invite(
        &self,
        seconds: u64,
        name: Option<DeviceName>,
        wish: Wish,
    ) -> Result<(PairingId, Invitation), NodeError> {
        let secret = Secret::from_random(random()?);
        self.ask(move |driver| driver.invite(seconds, secret, name, wish))?
    }

    /// Withdraws an invitation or cancels a joining; nothing if it is over.
    ///
    /// # Errors
    /// The node has stopped.
    pub fn stop_pairing(&self, id: PairingId) -> Result<(), NodeError> {
        self.ask(move |driver| driver.stop_pairing(id))
    }

    /// Starts to pair by an invitation; [`events`](Self::events) report the outcome.
    ///
    /// # Errors
    /// The node has stopped, or is joining another device already.
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

    /// Gives the owner's answer to a proposed pairing with a peer. False if no answer is awaited, or the
    /// proposal belongs to another pairing.
    ///
    /// # Errors
    /// The node has stopped.
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

    /// The members that [`forget`](Self::forget) would remove, as far as this device knows. Changes nothing.
    ///
    /// # Errors
    /// The node has stopped, or the membership cannot be ended.
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

    /// Ends a device's membership; it is stored when this returns.
    ///
    /// # Errors
    /// The node has stopped, or the membership cannot be ended or stored. Nothing is changed then.
    pub fn forget(&self, peer: PeerId, reach: Reach) -> Result<(), NodeError> {
        self.ask(move |driver| driver.forget(peer, reach))?
    }

    /// Leaves the circle and begins a new one; it is stored when this returns.
    ///
    /// # Errors
    /// The node has stopped, or the circle cannot be stored.
    pub fn new_circle(&self) -> Result<(), NodeError> {
        self.ask(Driver::new_circle)?
    }
}

impl Driver {
    /// The machine has changed the circle. It is stored before the change has any other effect.
    pub(super) fn circle_changed(&mut self) {
        match self.device.store(self.machine.circle()) {
            Ok(()) => self.is_to_store = false,
            Err(error) => {
                self.machine.circle_not_stored();
                // The machine has undone this device's own change and kept those of others, which are
                // stored here. The file may already have the undone change, if only syncing its folder
                // failed.
                self.is_to_store = self.device.store(self.machine.circle()).is_err();
                let words = crate::words::of(&error);
                self.tell_watchers(&NodeEvent::Problem(words));
                self.unstored = Some(error);
            }
        }
        self.admit_members();
    }

    /// Retries storing the circle, and ends an invitation that expired while the device slept.
    pub(super) fn look_after_circle(&mut self) {
        if self.is_to_store && self.device.store(self.machine.circle()).is_ok() {
            self.is_to_store = false;
        }
        if self.machine.is_inviting() {
            self.tell_clock();
        }
    }

    /// Tells the machine the system's time.
    pub(super) fn tell_clock(&mut self) {
        let unix_s = unix_seconds();
        self.tell(Input::Clock { unix_s });
    }

    /// Stores the circle, and then carries out the effects of its change.
    fn store_circle(&mut self) -> Result<(), NodeError> {
        self.unstored = None;
        self.follow_up();
        match self.unstored.take() {
            Some(error) => Err(error.into()),
            None => Ok(()),
        }
    }

    /// Tells the gate who is a member.
    pub(super) fn admit_members(&mut self) {
        let machine = &self.machine;
        let members = machine.circle().members().map(|member| member.peer);
        let members = members.filter(|peer| machine.is_member(*peer));
        let members = members.map(ids::to_libp2p).collect();
        self.swarm.behaviour_mut().set_members(members);
    }

    /// Renames this device, here and in its circle, if a name is given.
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

    /// Leaves the circle, telling connected members, and begins a new one.
    pub(super) fn new_circle(&mut self) -> Result<(), NodeError> {
        let nonce = random()?;
        let me = self.device.peer_id();
        let circle = self.machine.circle();
        if circle.contains(me) && circle.member_count() > 1 {
            let now = self.now();
            // If the log is full, leaving cannot be recorded.
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
        // The end of an earlier invitation is reported under its own id.
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
