//! The circle as it is stored, and what the owner does with it.
//!
//! Stored, then said: each of these returns only when what it did is on the disk, or says why not.

use potluck_protocol::PeerId;
use potluck_protocol::circle::DeviceName;
use potluck_protocol::machine::{Input, Reach};
use potluck_protocol::pairing::{Invitation, Secret, Wish};

use super::driver::{Driver, unix_seconds};
use super::events::told_addresses;
use super::ids;
use super::node::{Node, NodeError, NodeEvent};
use crate::device::random;

/// An invitation that this device is to use.
pub(super) struct Joining {
    pub(super) invitation: Invitation,
    /// What its owner said beforehand.
    pub(super) wish: Wish,
}

impl Node {
    /// Opens pairing for so many seconds; the invitation is to be shown to the other device's owner.
    /// `wish` is what this device's owner says beforehand, `name` what it is called from now on.
    ///
    /// # Errors
    /// It has stopped, or cannot invite.
    pub fn invite(
        &self,
        seconds: u64,
        name: Option<DeviceName>,
        wish: Wish,
    ) -> Result<Invitation, NodeError> {
        let secret = Secret::from_random(random()?);
        self.ask(move |driver| driver.invite(seconds, secret, name, wish))?
    }

    /// Withdraws the invitation.
    ///
    /// # Errors
    /// It has stopped.
    pub fn stop_inviting(&self) -> Result<(), NodeError> {
        self.ask(|driver| {
            let now = driver.now();
            driver.machine.stop_inviting(now);
        })
    }

    /// Goes to pair with the device that invites; [`events`](Self::events) tell how it went.
    ///
    /// # Errors
    /// It has stopped.
    pub fn join(
        &self,
        invitation: Invitation,
        name: Option<DeviceName>,
        wish: Wish,
    ) -> Result<(), NodeError> {
        self.ask(move |driver| {
            driver.rename(name)?;
            driver.join(invitation, wish);
            Ok(())
        })?
    }

    /// Gives up joining, if that is under way.
    ///
    /// # Errors
    /// It has stopped.
    pub fn stop_joining(&self) -> Result<(), NodeError> {
        self.ask(Driver::stop_joining)
    }

    /// The owner's answer to a proposed pairing with a peer; false if it is not to be answered any
    /// more.
    ///
    /// # Errors
    /// It has stopped.
    pub fn answer_pairing(&self, peer: PeerId, agrees: bool) -> Result<bool, NodeError> {
        self.ask(move |driver| driver.answer_pairing(peer, agrees))
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
                // What this device did itself is undone, what others wrote is still to be stored.
                self.is_to_store = true;
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
    ) -> Result<Invitation, NodeError> {
        let addresses = told_addresses(&self.listening());
        let expires = unix_seconds() + seconds;
        let peer = self.device.peer_id();
        let invitation = Invitation::new(peer, secret, expires, addresses)?;
        self.rename(name)?;
        let now = self.now();
        let machine = &mut self.machine;
        machine.invite(now, unix_seconds(), invitation.clone(), wish)?;
        Ok(invitation)
    }

    pub(super) fn answer_pairing(&mut self, peer: PeerId, agrees: bool) -> bool {
        let now = self.now();
        self.machine.answer_pairing(now, peer, agrees)
    }

    /// Gives up what [`join`](Self::join) began.
    pub(super) fn stop_joining(&mut self) {
        let now = self.now();
        self.joining = None;
        self.machine.stop_joining(now);
    }
}
