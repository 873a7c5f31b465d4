//! The session's state machine.

mod standbys;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::awaited::Awaited;
use super::fetching::Fetches;
use super::liveness::Liveness;
use super::ring::check;
use super::{
    Cause, PlaceError, PlacedStage, SessionEvent, SessionOutput, SessionSetup, SubmitError,
};
use crate::stage::SHARED_EVERY;
use crate::wire::{
    Answer, CloseStage, Control, Frame, FrameHeader, HiddenShape, Kind, OpenStage, SessionQuery,
    StageOpened, StageRefused, StageRefusedCode,
};
use crate::{Branch, PeerId, PlanEpoch};

/// A conversation over a pipeline; see the module page.
///
/// Times are relative to an arbitrary fixed moment and never decrease.
#[derive(Debug)]
pub struct Session {
    setup: SessionSetup,
    epoch: PlanEpoch,
    branch: Branch,
    /// In the order of the ring; empty before the first placement.
    ring: Vec<PlacedStage>,
    /// Devices that were opened as standbys since they were last told to free everything.
    standbys: BTreeSet<PeerId>,
    state: State,
    /// The position after the last row submitted in this epoch.
    submitted_end: u32,
    /// Rows before this are held by all stages, as answers showed, and were not rolled back since.
    /// INVARIANT: at most `submitted_end`.
    answered_end: u32,
    awaited: VecDeque<Awaited>,
    liveness: Liveness,
    /// The earliest time to report a shared stage again.
    shared_at: Duration,
    outputs: VecDeque<SessionOutput>,
}

#[derive(Debug)]
enum State {
    Opening {
        /// The reported positions of stages that have answered.
        held: BTreeMap<PeerId, u32>,
        /// Progress of stages that fetch weights.
        fetches: Fetches,
    },
    Running,
    Broken,
}

impl Session {
    /// Creates a session without a placement; [`place`](Self::place) sets one.
    pub fn new(setup: SessionSetup) -> Self {
        Self {
            setup,
            epoch: PlanEpoch::default(),
            branch: Branch::default(),
            ring: Vec::new(),
            standbys: BTreeSet::new(),
            state: State::Broken,
            submitted_end: 0,
            answered_end: 0,
            awaited: VecDeque::new(),
            liveness: Liveness::default(),
            shared_at: Duration::ZERO,
            outputs: VecDeque::new(),
        }
    }

    /// The next output.
    pub fn poll_output(&mut self) -> Option<SessionOutput> {
        self.outputs.pop_front()
    }

    /// The session's constant parameters.
    pub fn setup(&self) -> &SessionSetup {
        &self.setup
    }

    /// The current placement, in the order of the ring.
    pub fn ring(&self) -> &[PlacedStage] {
        &self.ring
    }

    /// Whether rows may be submitted.
    pub fn is_running(&self) -> bool {
        matches!(self.state, State::Running)
    }

    /// The epoch of the current placement. Epochs increase with each placement.
    pub fn epoch(&self) -> PlanEpoch {
        self.epoch
    }

    /// The position of the next row to submit.
    pub fn next_position(&self) -> u32 {
        self.submitted_end
    }

    /// Sets a new placement with these stages, in this order, under a higher epoch. Peers that drop
    /// out of the placement must free their stages. So must new peers before they open,
    /// unless they [stood by](Self::stand_by).
    ///
    /// # Errors
    /// [`PlaceError`] if the stages are not consecutive or not on different nodes.
    pub fn place(&mut self, now: Duration, ring: Vec<PlacedStage>) -> Result<(), PlaceError> {
        check(&ring)?;
        let peers = |ring: &[PlacedStage]| -> BTreeSet<_> {
            ring.iter().map(|placed| placed.stage.peer).collect()
        };
        let (before, after) = (peers(&self.ring), peers(&ring));
        // Peers that drop out and peers that are new: a peer that dropped out earlier may have
        // missed its message and hold rows that were rolled back since.
        for &peer in before.symmetric_difference(&after) {
            // A standby has no rows and must not be loaded again.
            if !self.standbys.remove(&peer) {
                self.close_stage(peer);
            }
        }
        self.epoch.0 += 1;
        self.branch = Branch::default();
        self.await_no_more();
        self.ring = ring;
        self.state = State::Opening {
            held: BTreeMap::new(),
            fetches: Fetches::default(),
        };
        let requester = self.setup.requester;
        for (i, placed) in self.ring.iter().enumerate() {
            let neighbour = |at: Option<usize>| {
                let placed = at.and_then(|at| self.ring.get(at));
                placed.map_or(requester, |placed| placed.stage.peer)
            };
            let open = OpenStage {
                predecessor: neighbour(i.checked_sub(1)),
                successor: neighbour(Some(i + 1)),
                last: i + 1 == self.ring.len(),
                ..self.opening(placed)
            };
            let send = SessionOutput::Send(placed.stage.peer, open.into());
            self.outputs.push_back(send);
        }
        let ring = self.ring.iter().map(|placed| placed.stage.peer);
        self.liveness.watch(now, ring);
        Ok(())
    }

    /// The message that opens a stage, with the requester as both neighbours.
    fn opening(&self, placed: &PlacedStage) -> OpenStage {
        OpenStage {
            session: self.setup.id,
            epoch: self.epoch,
            manifest: self.setup.manifest,
            layers: placed.stage.layers,
            predecessor: self.setup.requester,
            successor: self.setup.requester,
            context: self.setup.context,
            shape: self.setup.shape,
            memory_bytes: placed.memory_bytes,
            standby: false,
            last: false,
            arithmetic: self.setup.arithmetic.clone(),
        }
    }

    /// Sends rows through all layers, from [`next_position`](Self::next_position) on.
    ///
    /// # Errors
    /// [`SubmitError`] if the pipeline is not ready, or the rows are not the next ones.
    pub fn submit(
        &mut self,
        now: Duration,
        start_position: u32,
        rows: u32,
        answer: Answer,
        hidden: Vec<u8>,
    ) -> Result<(), SubmitError> {
        if !self.is_running() {
            return Err(SubmitError::NotReady);
        }
        if start_position != self.submitted_end {
            return Err(SubmitError::NotNext(self.submitted_end));
        }
        let end = start_position.checked_add(rows);
        let end = end.filter(|end| *end <= self.setup.context);
        let end = end.ok_or(SubmitError::BeyondContext(self.setup.context))?;
        let shape = self.setup.shape;
        let header = FrameHeader {
            kind: Kind::Hidden {
                dtype: shape.dtype(),
                answer,
            },
            session: self.setup.id,
            epoch: self.epoch,
            branch: self.branch,
            start_position,
            rows,
            payload_bytes: 0,
        };
        let frame = Frame::new(header, hidden)?;
        // A stage would blame a peer for it.
        if shape.payload_bytes(rows) != Some(frame.header().payload_bytes) {
            return Err(frame.header().not_agreed().into());
        }
        let first = self.ring.first().expect("a running session has stages");
        let send = SessionOutput::SendFrame(first.stage.peer, frame);
        self.outputs.push_back(send);
        self.submitted_end = end;
        if answer != Answer::Nothing {
            self.awaited.push_back(Awaited {
                branch: self.branch,
                start_position,
                rows,
                answer,
            });
            if !self.liveness.is_waiting() {
                self.await_next(now);
            }
        }
        Ok(())
    }

    /// Drops the positions from `position` on, such as those of a rejected draft: the next rows at
    /// these positions may differ. Pending answers that reach beyond `position` are discarded;
    /// [`SessionEvent::RolledBack`] marks the end of such answers. May be called in any state.
    pub fn roll_back(&mut self, now: Duration, position: u32) {
        self.tell(SessionEvent::RolledBack);
        if position < self.submitted_end {
            self.branch.0 += 1;
            self.submitted_end = position;
            self.answered_end = self.answered_end.min(position);
            let before = |awaited: &Awaited| awaited.start_position + awaited.rows <= position;
            self.awaited.retain(before);
            if self.is_running() {
                self.await_next(now);
            }
        }
    }

    /// Requires unanswered rows to be submitted again: their answer is missing, and in their place
    /// a stage may hold other rows that were rolled back since.
    fn await_no_more(&mut self) {
        self.awaited.clear();
        self.submitted_end = self.answered_end;
    }

    /// Restarts the timing for the next due answer.
    fn await_next(&mut self, now: Duration) {
        let next = self.awaited.front();
        let end = next.map(|next| next.start_position + next.rows);
        self.liveness.await_until(now, end);
    }

    /// The shape that a frame from a peer may have; `None` if the frame is not expected.
    pub fn agreed(&self, from: PeerId, header: &FrameHeader) -> Option<HiddenShape> {
        self.expects(from, header).then_some(self.setup.shape)
    }

    fn expects(&self, from: PeerId, header: &FrameHeader) -> bool {
        let last = self.ring.last().map(|placed| placed.stage.peer);
        self.is_running()
            && header.session == self.setup.id
            && last == Some(from)
            && header.epoch == self.epoch
            && header.branch <= self.branch
    }

    /// Notes that something arrived from a peer, even part of a frame or for another session.
    /// Returns the length of its silence while something was due from it, for its
    /// [`Patience`](super::Patience).
    pub fn heard(&mut self, now: Duration, peer: PeerId) -> Option<Duration> {
        self.liveness.heard(now, peer)
    }

    /// Sets how long the stage of this peer, if any, may be silent before it has failed. Applies
    /// until the next [`place`](Self::place).
    pub fn allow_silence(&mut self, peer: PeerId, limit: Duration) {
        self.liveness.allow_silence(peer, limit);
    }

    /// Handles part of a frame from a peer: due rows may follow it.
    pub fn handle_part(&mut self, now: Duration, from: PeerId) {
        let last = self.ring.last().map(|placed| placed.stage.peer);
        if last == Some(from) {
            self.liveness.arriving(now);
        }
    }

    /// Handles a frame of this session.
    pub fn handle_frame(&mut self, now: Duration, from: PeerId, frame: Frame) {
        if !self.expects(from, frame.header()) {
            return;
        }
        self.liveness.told(now, from);
        let (header, hidden) = frame.into_parts();
        if header.kind == Kind::KeepAlive {
            return;
        }
        let due = self.awaited.front();
        let branch = due.map_or(self.branch, |due| due.branch);
        if header.branch < branch {
            // Belongs to a draft that was rejected since.
            return;
        }
        if !due.is_some_and(|due| due.is(&header)) {
            self.break_off(from, Cause::Faulty);
            return;
        }
        // Rows of the requester's own stage come from the model, and end the answer.
        if from != self.setup.requester && !self.setup.shape.are_numbers(&hidden) {
            self.break_off(from, Cause::NotFinite);
            return;
        }
        self.awaited.pop_front();
        self.answered_end = header.end_position();
        self.await_next(now);
        self.tell(SessionEvent::Answered {
            start_position: header.start_position,
            hidden,
        });
    }

    /// Handles a peer's message about this session.
    pub fn handle_control(&mut self, now: Duration, from: PeerId, message: Control) {
        self.liveness.told(now, from);
        match message {
            Control::StageOpened(opened) if self.is_current(from, opened.epoch) => {
                self.opened(now, from, &opened);
            }
            Control::StageFetching(fetching) if self.is_current(from, fetching.epoch) => {
                if let State::Opening { held, fetches } = &mut self.state
                    && !held.contains_key(&from)
                {
                    let told = fetches.heard(from, &fetching);
                    if told.is_some() {
                        let all = fetching.received_bytes >= fetching.total_bytes;
                        self.liveness.fetched(now, from, all);
                    }
                    self.outputs.extend(told.map(SessionOutput::Event));
                }
            }
            Control::StageRefused(refused) if self.is_current(from, refused.epoch) => {
                self.refused(from, refused);
            }
            // It may still hold the state of an earlier placement.
            Control::StageRefused(refused)
                if refused.epoch == self.epoch && self.standbys.remove(&from) =>
            {
                self.close_stage(from);
            }
            Control::HandOver(leaving) if self.is_current(from, leaving.epoch) => {
                self.tell(SessionEvent::Leaving {
                    peer: from,
                    reason: leaving.reason,
                    within: leaving.within,
                });
            }
            Control::KeepAlive(alive) if self.is_current(from, alive.epoch) => {
                self.liveness.holds(now, from, alive.next_position, true);
                if alive.shared && self.shared_at <= now {
                    self.shared_at = now + SHARED_EVERY;
                    self.tell(SessionEvent::Shared { peer: from });
                }
            }
            Control::SessionState(state) if self.is_current(from, state.epoch) => {
                self.liveness.holds(now, from, state.held_positions, false);
                // An unqueried report means that a frame started beyond the rows it holds.
                if !self.liveness.answered(from) && self.is_running() {
                    self.break_off(from, Cause::RowsLost);
                }
            }
            Control::SessionState(state) if state.layers.is_empty() => self.forgotten(from),
            _ => {}
        }
    }

    /// Notes that the connection to a peer ended.
    pub fn disconnected(&mut self, peer: PeerId) {
        self.standbys.remove(&peer);
        if self.ring.iter().any(|placed| placed.stage.peer == peer) {
            self.break_off(peer, Cause::Disconnected);
        }
    }

    fn is_current(&self, from: PeerId, epoch: PlanEpoch) -> bool {
        let placed = self.ring.iter().any(|placed| placed.stage.peer == from);
        placed && epoch == self.epoch && !matches!(self.state, State::Broken)
    }

    fn opened(&mut self, now: Duration, from: PeerId, opened: &StageOpened) {
        let State::Opening { held, .. } = &mut self.state else {
            return;
        };
        held.insert(from, opened.held_positions);
        self.liveness.opened(from);
        if held.len() < self.ring.len() {
            return;
        }
        let held = held.values().copied().min().unwrap_or(0);
        self.submitted_end = held.min(self.submitted_end);
        self.answered_end = self.submitted_end;
        self.state = State::Running;
        self.await_next(now);
        self.outputs.push_back(SessionOutput::Opened {
            from: self.submitted_end,
        });
    }

    /// Handles a stage's report that it does not have the session.
    fn forgotten(&mut self, from: PeerId) {
        // Only if it was queried since it opened; otherwise the report is older.
        if self.is_running() && self.liveness.answered(from) {
            self.break_off(from, Cause::Forgotten);
        }
    }

    fn refused(&mut self, from: PeerId, refused: StageRefused) {
        if refused.code == StageRefusedCode::NotNumbers {
            let mut ring = self.ring.iter().map(|placed| placed.stage.peer);
            let at = ring.position(|peer| peer == from).unwrap_or(0);
            let before = at.checked_sub(1).and_then(|at| self.ring.get(at));
            let before = before.map(|placed| placed.stage.peer);
            // The requester's own rows are not those of a stage.
            let blamed = before.filter(|peer| *peer != self.setup.requester);
            return self.break_off(blamed.unwrap_or(from), Cause::NotFinite);
        }
        let cause = Cause::Refused {
            code: refused.code,
            words: refused.words,
            available_bytes: refused.available_bytes,
        };
        self.break_off(from, cause);
    }

    fn break_off(&mut self, peer: PeerId, cause: Cause) {
        if !matches!(self.state, State::Broken) {
            self.state = State::Broken;
            self.await_no_more();
            self.liveness = Liveness::default();
            self.tell(SessionEvent::Broken { peer, cause });
        }
    }

    /// The next time to call [`handle_timeout`](Self::handle_timeout).
    pub fn poll_timeout(&self) -> Option<Duration> {
        self.liveness.poll_timeout()
    }

    /// Queries silent stages, and gives up on those that do not answer.
    pub fn handle_timeout(&mut self, now: Duration) {
        let verdict = self.liveness.judge(now);
        for peer in verdict.ask {
            let query = SessionQuery {
                session: self.setup.id,
            };
            self.outputs
                .push_back(SessionOutput::Send(peer, query.into()));
        }
        if let Some((peer, cause)) = verdict.failed {
            self.break_off(peer, cause);
        }
    }

    /// Frees all stages and ends the session.
    pub fn close(&mut self) {
        for placed in std::mem::take(&mut self.ring) {
            self.close_stage(placed.stage.peer);
        }
        for peer in std::mem::take(&mut self.standbys) {
            self.close_stage(peer);
        }
        self.state = State::Broken;
        self.awaited.clear();
        self.liveness = Liveness::default();
    }

    fn tell(&mut self, event: SessionEvent) {
        self.outputs.push_back(SessionOutput::Event(event));
    }

    /// Tells a peer to free its state of all epochs so far.
    fn close_stage(&mut self, peer: PeerId) {
        let close = CloseStage {
            session: self.setup.id,
            epoch: self.epoch,
        };
        self.outputs
            .push_back(SessionOutput::Send(peer, close.into()));
    }
}
