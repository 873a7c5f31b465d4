//! The machine's state, and who takes what.

use std::collections::VecDeque;
use std::time::Duration;

use super::{Input, MachineSetup, Output, PeerStatus, Request, StartError};
use crate::circle::{Circle, DeviceName, EntryError};
use crate::pairing::{BeginError, Invitation};
use crate::placement::{Devices, ModelShape, PlacementError, PlacementOptions, Plan, plan};
use crate::session::SubmitError;
use crate::wire::Answer;
use crate::{PeerId, SessionId};

/// A node; see the module's page. Times are since any fixed moment, and never go back.
#[derive(Debug)]
pub struct Machine {
    setup: MachineSetup,
    outputs: VecDeque<Output>,
}

impl Machine {
    /// A node without connections.
    pub fn new(setup: MachineSetup) -> Self {
        Self {
            setup,
            outputs: VecDeque::new(),
        }
    }

    /// Something happened.
    pub fn handle_input(&mut self, now: Duration, input: Input) {
        let _ = (now, input);
    }

    /// The time that [`poll_timeout`](Self::poll_timeout) named has come. Earlier, nothing happens.
    pub fn handle_timeout(&mut self, now: Duration) {
        let _ = now;
    }

    /// What is to be done next.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub fn poll_timeout(&self) -> Option<Duration> {
        None
    }

    /// Whether more bytes of a peer's data stream should be read now.
    pub fn wants_data(&self, peer: PeerId) -> bool {
        let _ = peer;
        true
    }

    /// Whether connections of a peer are to be accepted: a member other than this device.
    pub fn is_member(&self, peer: PeerId) -> bool {
        let me = self.setup.identity.peer_id();
        peer != me && self.setup.circle.contains(me) && self.setup.circle.contains(peer)
    }

    /// Opens pairing by an invitation that this device shows, at a time that is `now_unix_s` seconds
    /// since 1970 (UTC). An earlier invitation is cancelled.
    ///
    /// # Errors
    /// [`BeginError`] if the invitation is another device's or has expired, or this device is no
    /// member of its own circle.
    pub fn invite(
        &mut self,
        now: Duration,
        now_unix_s: u64,
        invitation: Invitation,
    ) -> Result<(), BeginError> {
        let _ = (now, now_unix_s, invitation);
        Ok(())
    }

    /// Whether an invitation can be used.
    pub fn is_inviting(&self) -> bool {
        false
    }

    /// Withdraws the invitation, if there is one.
    pub fn stop_inviting(&mut self, now: Duration) {
        let _ = now;
    }

    /// Pairs by an invitation on a pairing stream that was opened to `remote`. `ephemeral` are 32
    /// random bytes that are used for nothing else.
    ///
    /// # Errors
    /// [`BeginError`] if the invitation has expired or is another's than `remote`'s, or another
    /// pairing is under way: the stream is to be closed.
    pub fn join(
        &mut self,
        now: Duration,
        now_unix_s: u64,
        invitation: &Invitation,
        remote: PeerId,
        ephemeral: [u8; 32],
    ) -> Result<(), BeginError> {
        let _ = (now, now_unix_s, invitation, remote, ephemeral);
        Ok(())
    }

    /// Ends a device's membership, here at once; this device's own to leave the circle.
    ///
    /// # Errors
    /// [`EntryError`] if it is no member, or the log is full, or this device is no member.
    pub fn revoke(&mut self, now: Duration, peer: PeerId) -> Result<(), EntryError> {
        let _ = (now, peer);
        Ok(())
    }

    /// Gives this device another name.
    ///
    /// # Errors
    /// [`EntryError`] if the log is full, or this device is no member.
    pub fn rename(&mut self, now: Duration, name: &DeviceName) -> Result<(), EntryError> {
        let _ = (now, name);
        Ok(())
    }

    /// The circle.
    pub fn circle(&self) -> &Circle {
        &self.setup.circle
    }

    /// This device and the peers that greeted and told their profile, with all known links.
    pub fn devices(&self) -> Devices {
        Devices {
            requester: self.setup.identity.peer_id(),
            profiles: Default::default(),
            links: Default::default(),
        }
    }

    /// Every member but this device, by their PeerIds ascending.
    pub fn peers(&self) -> impl Iterator<Item = PeerStatus> {
        std::iter::empty()
    }

    /// Where the layers of a model should run now.
    ///
    /// # Errors
    /// [`PlacementError`] if there is no placement.
    pub fn plan(
        &self,
        model: &ModelShape,
        options: &PlacementOptions,
    ) -> Result<Plan, PlacementError> {
        plan(model, &self.devices(), options)
    }

    /// Begins a session: its events say the rest.
    ///
    /// # Errors
    /// [`StartError`] if there are too many, or its id is in use.
    pub fn start(&mut self, now: Duration, request: Request) -> Result<(), StartError> {
        let _ = (now, request);
        Ok(())
    }

    /// Sends rows of a session, from the position after the last one on, through all layers.
    ///
    /// # Errors
    /// [`SubmitError`] if the session is not ready, or these are not the rows that follow.
    pub fn submit(
        &mut self,
        now: Duration,
        session: SessionId,
        start_position: u32,
        rows: u32,
        answer: Answer,
        hidden: Vec<u8>,
    ) -> Result<(), SubmitError> {
        let _ = (now, session, start_position, rows, answer, hidden);
        Err(SubmitError::NotReady)
    }

    /// Drops the positions of a session from `position` on: answers that are on their way and reach
    /// beyond it do not come, and the rows that are submitted there next may be others.
    pub fn roll_back(&mut self, now: Duration, session: SessionId, position: u32) {
        let _ = (now, session, position);
    }

    /// Ends a session, and frees its stages.
    pub fn finish(&mut self, now: Duration, session: SessionId) {
        let _ = (now, session);
    }

    /// Whether nothing is computed here for others.
    pub fn is_idle(&self) -> bool {
        true
    }
}
