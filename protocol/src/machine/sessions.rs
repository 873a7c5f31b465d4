//! This node's own sessions: what its driver asks of them, and what comes to them.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Machine;
use super::placing::Placing;
use super::{Event, MAX_REQUESTS, PLAN_GRACE, Request, StartError};
use crate::session::{SessionOutput, SubmitError};
use crate::wire::{Answer, Control, Frame};
use crate::{PeerId, PlanEpoch, SessionId};

impl Machine {
    /// Begins a session: its events say the rest.
    ///
    /// # Errors
    /// [`StartError`] if there are too many, or its id is in use.
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

    /// The placement of a session that is in force.
    pub fn epoch_of(&self, session: SessionId) -> Option<PlanEpoch> {
        let placing = self.sessions.get(&session);
        placing.map(|placing| placing.session.epoch())
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
        let placing = self.sessions.get_mut(&session);
        let placing = placing.ok_or(SubmitError::NotReady)?;
        let session = &mut placing.session;
        session.submit(now, start_position, rows, answer, hidden)?;
        let end = session.next_position();
        placing.submitted(end);
        self.settle(now);
        Ok(())
    }

    /// Drops the positions of a session from `position` on: answers that are on their way and reach
    /// beyond it do not come, and the rows that are submitted there next may be others.
    pub fn roll_back(&mut self, now: Duration, session: SessionId, position: u32) {
        if let Some(placing) = self.sessions.get_mut(&session) {
            placing.session.roll_back(now, position);
            self.settle(now);
        }
    }

    /// Ends a session, and frees its stages.
    pub fn finish(&mut self, now: Duration, session: SessionId) {
        if let Some(placing) = self.sessions.get_mut(&session) {
            placing.session.close();
            self.settle_session(now, session);
            self.sessions.remove(&session);
            self.settle(now);
        }
    }

    /// A message of a peer, or of this node's own stages, about a session that this node asks for.
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

    /// A frame of a peer, or of this node's own stages, if a session of this node's wants it; else it
    /// comes back.
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

    /// Does what the sessions want done; whether there was anything.
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

    /// Until when a plan should wait for what the peers that were there at its start have yet to
    /// tell.
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

    /// When a session or its placement is due.
    pub(super) fn sessions_due(&self) -> Option<Duration> {
        let dues = self.sessions.values().flat_map(|placing| {
            let session = placing.session.poll_timeout();
            [session, placing.poll_timeout()].into_iter().flatten()
        });
        dues.min()
    }
}
