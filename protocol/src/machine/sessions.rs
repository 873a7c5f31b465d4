//! This node's own sessions: requests from the driver, and messages and frames for them.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Machine;
use super::placing::Placing;
use super::{Event, MAX_REQUESTS, PLAN_GRACE, Request, StartError};
use crate::session::{SessionOutput, SubmitError};
use crate::wire::{Answer, Control, Frame};
use crate::{PeerId, PlanEpoch, SessionId};

impl Machine {
    /// Starts a session. Its events report the progress.
    ///
    /// # Errors
    /// [`StartError`] if too many sessions are open, or the id is in use.
    pub fn start(&mut self, now: Duration, request: Request) -> Result<(), StartError> {
        let id = request.id;
        if self.sessions.contains_key(&id) {
            return Err(StartError::InUse);
        }
        if self.sessions.len() >= MAX_REQUESTS {
            return Err(StartError::TooMany);
        }
        let expected: BTreeSet<_> = self.peers.keys().copied().collect();
        let failed = self.failed.for_later(now);
        let me = (self.me, self.arithmetic());
        let placing = Placing::new(me, request, expected, failed);
        self.sessions.insert(id, placing);
        self.settle(now);
        Ok(())
    }

    /// The epoch of a session's current placement.
    pub fn epoch_of(&self, session: SessionId) -> Option<PlanEpoch> {
        let placing = self.sessions.get(&session);
        placing.map(|placing| placing.session.epoch())
    }

    /// Sends rows of a session through all layers. The rows must follow the last submitted
    /// position.
    ///
    /// # Errors
    /// [`SubmitError`] if the session is not ready, or the rows are not the next ones.
    pub fn submit(
        &mut self,
        now: Duration,
        session: SessionId,
        start_position: u32,
        rows: u32,
        answer: Answer,
        hidden: Vec<u8>,
    ) -> Result<(), SubmitError> {
        let placing = self.sessions.get_mut(&session);
        let placing = placing.ok_or(SubmitError::NotReady)?;
        let session = &mut placing.session;
        session.submit(now, start_position, rows, answer, hidden)?;
        let end = session.next_position();
        placing.submitted(end);
        self.settle(now);
        Ok(())
    }

    /// Drops the positions of a session from `position` on. Pending answers that reach beyond it
    /// are discarded, and the next rows at these positions may differ.
    pub fn roll_back(&mut self, now: Duration, session: SessionId, position: u32) {
        if let Some(placing) = self.sessions.get_mut(&session) {
            placing.session.roll_back(now, position);
            self.settle(now);
        }
    }

    /// Ends a session and frees its stages.
    pub fn finish(&mut self, now: Duration, session: SessionId) {
        if let Some(placing) = self.sessions.get_mut(&session) {
            placing.session.close();
            self.settle_session(now, session);
            self.sessions.remove(&session);
            self.settle(now);
        }
    }

    /// Handles a message from a peer or a local stage for one of this node's own sessions.
    pub(super) fn session_message(
        &mut self,
        now: Duration,
        from: PeerId,
        session: SessionId,
        message: Control,
    ) {
        if let Some(placing) = self.sessions.get_mut(&session) {
            placing.session.handle_control(now, from, message);
        }
    }

    /// Handles a frame from a peer or a local stage if one of this node's sessions wants it;
    /// otherwise returns the frame.
    pub(super) fn session_frame(
        &mut self,
        now: Duration,
        from: PeerId,
        frame: Frame,
    ) -> Option<Frame> {
        let placing = self.sessions.get_mut(&frame.header().session);
        let wants = |placing: &&mut Placing| placing.session.agreed(from, frame.header()).is_some();
        match placing.filter(wants) {
            Some(placing) => {
                placing.session.handle_frame(now, from, frame);
                None
            }
            None => Some(frame),
        }
    }

    /// Carries out the sessions' outputs. Returns whether there were any.
    pub(super) fn settle_sessions(&mut self, now: Duration) -> bool {
        let ids: Vec<_> = self.sessions.keys().copied().collect();
        let mut any = false;
        for id in ids {
            any |= self.settle_session(now, id);
            any |= self.look_for_placement(now, id);
        }
        any
    }

    fn settle_session(&mut self, now: Duration, id: SessionId) -> bool {
        let mut any = false;
        while let Some(placing) = self.sessions.get_mut(&id) {
            let Some(output) = placing.session.poll_output() else {
                break;
            };
            any = true;
            match output {
                SessionOutput::Send(to, message) if to == self.me => {
                    self.own_stage_message(now, message);
                }
                SessionOutput::Send(to, message) => self.send(to, message),
                SessionOutput::SendFrame(to, frame) if to == self.me => {
                    self.stages.handle_frame(now, to, frame);
                }
                SessionOutput::SendFrame(to, frame) => self.send_frame(to, &frame),
                SessionOutput::Opened { from } => {
                    let manifest = placing.session.setup().manifest;
                    let devices = self.devices_for(manifest);
                    if let Some(placing) = self.sessions.get_mut(&id) {
                        placing.ready(self.me, &devices, from);
                        placing.stand_by(&devices);
                    }
                }
                SessionOutput::Event(event) => {
                    placing.told(now, self.me, event, &mut self.failed);
                }
            }
            self.tell_events(id);
        }
        any
    }

    fn look_for_placement(&mut self, now: Duration, id: SessionId) -> bool {
        let placing = self.sessions.get(&id);
        let Some(placing) = placing.filter(|placing| placing.should_look(now)) else {
            return false;
        };
        let hold = self.hold(now, placing);
        let devices = self.devices_for(placing.session.setup().manifest);
        let (outdated, away) = (self.outdated, self.away());
        if let Some(placing) = self.sessions.get_mut(&id) {
            (placing.outdated, placing.away) = (outdated, away);
            placing.look(now, devices, hold);
            for placed in placing.session.ring().to_vec() {
                if let Some(peer) = self.peers.get(&placed.stage.peer) {
                    let limit = peer.patience.limit(now);
                    placing.session.allow_silence(placed.stage.peer, limit);
                }
            }
        }
        self.tell_events(id);
        true
    }

    /// Until when a plan should wait for data from peers that were connected when the session
    /// started.
    fn hold(&self, now: Duration, placing: &Placing) -> Option<Duration> {
        let ends = placing.expected().filter_map(|peer| {
            let peer = self.peers.get(&peer)?;
            let known = peer.told.is_some() && peer.link().is_some();
            let since = peer.greeted.as_ref().map_or(peer.connected_at, |g| g.at);
            (!known).then_some(since + PLAN_GRACE)
        });
        ends.filter(|end| *end > now).max()
    }

    fn tell_events(&mut self, id: SessionId) {
        while let Some(placing) = self.sessions.get_mut(&id) {
            let Some(event) = placing.poll_event() else {
                break;
            };
            self.event(Event::Session(id, event));
        }
    }

    /// When the next action of a session or its placement is due.
    pub(super) fn sessions_due(&self) -> Option<Duration> {
        let dues = self.sessions.values().flat_map(|placing| {
            let session = placing.session.poll_timeout();
            [session, placing.poll_timeout()].into_iter().flatten()
        });
        dues.min()
    }
}
