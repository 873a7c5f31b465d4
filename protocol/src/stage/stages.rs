//! All stages of a node.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::held::{Held, Taken};
use super::owner::Owner;
use super::{KEEP_ALIVE, SHARED_EVERY, StageLimits, StageOutput, Step};
use crate::wire::limits::MAX_DURATION;
use crate::wire::{
    CloseStage, Control, Frame, FrameHeader, HandOver, HandOverReason, HiddenShape, OpenStage,
    SessionState, StageOpened, StageRefused, StageRefusedCode,
};
use crate::{Branch, LayerRange, PeerId, PlanEpoch, SessionId};

/// The stages of a node, and in which order their rows are computed; see the module's page.
///
/// Times are since any fixed moment, and never go back.
#[derive(Debug)]
pub struct Stages {
    pub(super) limits: StageLimits,
    pub(super) owner: Owner,
    /// Neighbours to whom rows go more slowly than they are computed.
    congested: BTreeSet<PeerId>,
    pub(super) sessions: BTreeMap<SessionId, Held>,
    /// The step that is being computed.
    step: Option<Computing>,
    steps: u64,
    /// Of whom the next step takes first: the session after this one.
    served: Option<SessionId>,
    /// The longest that this node was woken late since its last keep-alive.
    stalled: Duration,
    outputs: VecDeque<StageOutput>,
}

#[derive(Debug)]
struct Computing {
    number: u64,
    parts: Vec<(SessionId, PlanEpoch)>,
}

impl Stages {
    /// None yet, on the node `me`.
    pub fn new(me: PeerId, limits: StageLimits) -> Self {
        Self {
            limits,
            owner: Owner::new(me),
            congested: BTreeSet::new(),
            sessions: BTreeMap::new(),
            step: None,
            steps: 0,
            served: None,
            stalled: Duration::ZERO,
            outputs: VecDeque::new(),
        }
    }

    /// What is to be done next.
    pub fn poll_output(&mut self) -> Option<StageOutput> {
        self.outputs.pop_front()
    }

    /// A requester wants a stage, or has moved it to a later epoch.
    pub fn open(&mut self, now: Duration, from: PeerId, open: OpenStage) {
        let (session, epoch) = (open.session, open.epoch);
        let full = !self.sessions.contains_key(&session) && !self.makes_place(from, &open);
        let refusal = match self.sessions.get_mut(&session) {
            None if full => Some((StageRefusedCode::TooManySessions, "too many sessions here")),
            None => {
                let held = Held::new(now, from, open);
                self.outputs.push_back(StageOutput::Load(held.to_load()));
                self.sessions.insert(session, held);
                None
            }
            Some(held) if held.requester != from => {
                // Random ids do not meet; whoever guesses one learns nothing of its owner.
                Some((StageRefusedCode::TooManySessions, "choose another session"))
            }
            Some(held) if epoch < held.open.epoch => {
                Some((StageRefusedCode::OldEpoch, "a later placement is in force"))
            }
            Some(held) if epoch == held.open.epoch && held.open != open => Some((
                StageRefusedCode::Unsupported,
                "another stage of this epoch is open",
            )),
            Some(held) if epoch == held.open.epoch => {
                (held.heard_at, held.orphaned_until) = (now, None);
                self.tell_opened(session);
                None
            }
            Some(held) => {
                (held.heard_at, held.orphaned_until) = (now, None);
                held.reopen(now, open);
                self.outputs.push_back(StageOutput::Load(held.to_load()));
                None
            }
        };
        if let Some((code, words)) = refusal {
            self.refuse(from, session, epoch, code, words, 0);
        }
    }

    /// The stage of a [`Load`](super::Load) is ready, with so many bytes reserved, or cannot be: why,
    /// in words, and how many bytes one could have.
    pub fn loaded(
        &mut self,
        now: Duration,
        session: SessionId,
        epoch: PlanEpoch,
        result: Result<u64, (StageRefusedCode, &str, u64)>,
    ) {
        // What a later epoch asks for may be another stage, and has a result of its own.
        let held = self.sessions.get_mut(&session);
        let Some(held) = held.filter(|held| held.open.epoch == epoch) else {
            return;
        };
        held.heard_at = held.heard_at.max(now);
        match result {
            Ok(memory_bytes) => {
                held.memory_bytes = Some(memory_bytes);
                if !held.busy() {
                    held.keep_alive_at = None;
                }
                self.tell_opened(session);
            }
            Err((code, words, available_bytes)) => {
                let (to, standby) = (held.requester, held.open.standby);
                let lacks_room = code == StageRefusedCode::Memory && !standby;
                if lacks_room && (self.free_standbys() || self.owner_takes(session)) {
                    return self.load_again(session, epoch);
                }
                self.free(session);
                self.refuse(to, session, epoch, code, words, available_bytes);
            }
        }
    }

    /// The stage of a session that is being made ready: who asked for it, and for what.
    pub fn opening(&self, session: SessionId) -> Option<(PeerId, &OpenStage)> {
        let held = self.sessions.get(&session)?;
        let opening = held.memory_bytes.is_none();
        opening.then_some((held.requester, &held.open))
    }

    /// Weights that a [`Load`](super::Load) of this epoch lacked have come: it is to be done again.
    pub fn load_again(&mut self, session: SessionId, epoch: PlanEpoch) {
        if let Some(held) = self.sessions.get(&session)
            && held.open.epoch == epoch
            && held.memory_bytes.is_none()
        {
            self.outputs.push_back(StageOutput::Load(held.to_load()));
        }
    }

    /// A requester needs a stage no more.
    pub fn close(&mut self, from: PeerId, close: CloseStage) {
        let held = self.sessions.get(&close.session);
        if held.is_some_and(|held| held.requester == from && held.open.epoch <= close.epoch) {
            self.free(close.session);
        }
    }

    /// What is here of a session, for its requester.
    pub fn query(&mut self, now: Duration, from: PeerId, session: SessionId) {
        let held = self.sessions.get_mut(&session);
        let state = match held.filter(|held| held.requester == from) {
            Some(held) => {
                held.heard_at = now;
                held.state()
            }
            None => SessionState {
                session,
                epoch: PlanEpoch::default(),
                branch: Branch::default(),
                layers: LayerRange::new(0, 0).expect("none"),
                held_positions: 0,
                logged: 0..0,
            },
        };
        self.outputs
            .push_back(StageOutput::Send(from, state.into()));
    }

    /// What a frame from a peer may carry; `None` if nobody wants it. For
    /// [`FrameReader::read`](crate::wire::FrameReader::read).
    pub fn agreed(&self, from: PeerId, header: &FrameHeader) -> Option<HiddenShape> {
        let held = self.sessions.get(&header.session)?;
        held.expects(from, header).then_some(held.open.shape)
    }

    /// Whether more frames of a peer should be read from its stream.
    pub fn has_room_for(&self, from: PeerId) -> bool {
        let fed = |held: &&Held| held.open.predecessor == from;
        self.sessions
            .values()
            .filter(fed)
            .all(|held| held.has_room(&self.limits))
    }

    /// Hidden states came from a predecessor.
    pub fn handle_frame(&mut self, now: Duration, from: PeerId, frame: Frame) {
        let session = frame.header().session;
        let held = self.sessions.get_mut(&session);
        let Some(held) = held.filter(|held| held.expects(from, frame.header())) else {
            return;
        };
        held.heard_at = now;
        self.owner.rows_of(now, held.requester);
        match held.take(frame) {
            Taken::Queued => {
                held.keep_alive_at.get_or_insert(now + KEEP_ALIVE);
                self.begin_step(now);
                self.tell_shared(now);
            }
            Taken::Dropped => {}
            Taken::NotNumbers => {
                let (to, epoch) = (held.requester, held.open.epoch);
                let words = "the stage before it sent values that are not numbers";
                self.refuse(to, session, epoch, StageRefusedCode::NotNumbers, words, 0);
            }
            Taken::Gap => {
                let state = held.state();
                let requester = held.requester;
                self.outputs
                    .push_back(StageOutput::Send(requester, state.into()));
            }
        }
    }

    /// A part of a frame came from a peer: rows of all that it feeds may be behind it, on a slow way
    /// far behind.
    pub fn handle_part(&mut self, now: Duration, from: PeerId) {
        let fed = |held: &&mut Held| held.is_ready() && held.open.predecessor == from;
        for held in self.sessions.values_mut().filter(fed) {
            held.keep_alive_at.get_or_insert(now + KEEP_ALIVE);
        }
    }

    /// Rows wait to be sent to a peer, as many as should; or it takes them again, as a new connection
    /// does. Sessions with another successor feel nothing of it, and of those with this one the queue
    /// fills, so that their predecessor feels it.
    pub fn set_congested(&mut self, now: Duration, peer: PeerId, congested: bool) {
        if congested {
            self.congested.insert(peer);
        } else if self.congested.remove(&peer) {
            self.begin_step(now);
        }
    }

    /// This device's owner computes something beside its stages, or has stopped.
    pub fn set_owner_busy(&mut self, now: Duration, busy: bool) {
        self.owner.set_busy(busy);
        self.begin_step(now);
    }

    /// Tells other requesters whose rows wait for somebody else's: they can do without some.
    fn tell_shared(&mut self, now: Duration) {
        let with_rows = self.sessions.values().filter(|held| held.has_rows());
        if with_rows.count() < 2 && self.owner.others_may_at() <= now {
            return;
        }
        let others = |held: &&mut Held| held.has_rows() && held.requester != self.owner.peer;
        let told = self.sessions.values_mut().filter(others);
        for held in told.filter(|held| held.shared_at <= now) {
            held.shared_at = now + SHARED_EVERY;
            let alive = held.keep_alive(Duration::ZERO, true);
            self.outputs
                .push_back(StageOutput::Send(held.requester, alive));
        }
    }

    /// Begins a step if none is being computed and rows wait whose turn it is.
    fn begin_step(&mut self, now: Duration) {
        if self.step.is_some() {
            return;
        }
        let others_may = self.owner.others_may_at() <= now;
        // In turn, from the one after who was served first the last time.
        let split = |id: &SessionId| self.served.is_none_or(|served| *id > served);
        let (after, before): (Vec<_>, Vec<_>) = self.sessions.keys().copied().partition(split);
        let (mut rows, mut parts, mut of, mut with_others) = (0, Vec::new(), Vec::new(), false);
        for id in after.into_iter().chain(before) {
            let held = self.sessions.get_mut(&id).expect("one of the keys");
            let own = held.requester == self.owner.peer;
            if (!own && !others_may) || self.congested.contains(&held.open.successor) {
                continue;
            }
            let fits = |more: &u32| parts.is_empty() || rows + more <= self.limits.step_rows;
            if let Some(more) = held.next_rows().filter(fits) {
                rows += more;
                parts.extend(held.begin());
                of.push((id, held.open.epoch));
                with_others |= !own;
            }
        }
        let Some(&(first, _)) = of.first() else {
            return;
        };
        self.served = Some(first);
        self.owner.begins(now, with_others);
        self.steps += 1;
        let number = self.steps;
        self.step = Some(Computing { number, parts: of });
        self.outputs
            .push_back(StageOutput::Compute(Step { number, parts }));
    }

    /// A step was computed: the hidden states behind the layers, part by part. A part that has not as
    /// many bytes as went in could not be computed: its session ends here, and its requester is told.
    pub fn computed(&mut self, now: Duration, number: u64, hidden: Vec<Vec<u8>>) {
        let Some(step) = self.step.take_if(|step| step.number == number) else {
            return;
        };
        self.owner.ends(now);
        let mut failed = Vec::new();
        for ((session, epoch), hidden) in step.parts.into_iter().zip(hidden) {
            // Closed meanwhile, or moved to a later epoch, which asks for the rows again.
            let held = self.sessions.get_mut(&session);
            let Some(held) = held.filter(|held| held.open.epoch == epoch) else {
                continue;
            };
            if !held.is_computed(&hidden) {
                failed.push((session, epoch, held.requester));
                continue;
            }
            self.owner.rows_of(now, held.requester);
            if let Some(frame) = held.finish(hidden) {
                let to = held.open.successor;
                self.outputs.push_back(StageOutput::SendFrame(to, frame));
            }
            // A step that ends is heard by the successor, not by the requester.
            let due = held.keep_alive_at.unwrap_or(now + KEEP_ALIVE);
            held.keep_alive_at = held.busy().then_some(due);
        }
        for (session, epoch, requester) in failed {
            let words = "its rows could not be computed here";
            let code = StageRefusedCode::Unsupported;
            self.refuse(requester, session, epoch, code, words, 0);
            self.free(session);
        }
        self.begin_step(now);
    }

    /// The node is about to stop helping: its requesters should place their layers elsewhere.
    pub fn hand_over(&mut self, reason: HandOverReason, within: Duration) {
        for (&session, held) in &self.sessions {
            let hand_over = HandOver {
                session,
                epoch: held.open.epoch,
                reason,
                within: within.min(MAX_DURATION),
            };
            self.outputs
                .push_back(StageOutput::Send(held.requester, hand_over.into()));
        }
    }

    /// Whether rows come of this peer, or go to it.
    pub fn runs_over(&self, peer: PeerId) -> bool {
        let mut ready = self.sessions.values().filter(|held| held.is_ready());
        ready.any(|held| held.open.predecessor == peer || held.open.successor == peer)
    }

    /// Whether what is here of a session only stands by.
    pub fn stands_by(&self, session: SessionId) -> bool {
        let held = self.sessions.get(&session);
        held.is_some_and(|held| held.open.standby)
    }

    /// Whether any session is here.
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// Whose sessions are here, once for each session.
    pub fn requesters(&self) -> impl Iterator<Item = PeerId> {
        self.sessions.values().map(|held| held.requester)
    }

    /// Whether stages of others are here that do not only stand by.
    pub fn helps(&self) -> bool {
        let mut held = self.sessions.values();
        held.any(|held| held.requester != self.owner.peer && !held.open.standby)
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub fn poll_timeout(&self) -> Option<Duration> {
        let dues = self.sessions.values().map(|held| {
            let freed = held.idle_at(&self.limits);
            held.keep_alive_at.map_or(freed, |alive| alive.min(freed))
        });
        dues.chain(self.turn_of_others()).min()
    }

    /// When others have their turn, if rows of them wait only for that.
    fn turn_of_others(&self) -> Option<Duration> {
        let mut ready = self.sessions.values();
        let may = |held: &Held| !self.congested.contains(&held.open.successor);
        let waits =
            self.step.is_none() && ready.any(|held| held.next_rows().is_some() && may(held));
        waits.then(|| self.owner.others_may_at())
    }

    /// Says that stages live, and frees what nobody uses.
    pub fn handle_timeout(&mut self, now: Duration) {
        if let Some(late) = self.poll_timeout().and_then(|due| now.checked_sub(due)) {
            self.stalled = self.stalled.max(late);
        }
        let mut idle = Vec::new();
        let mut told = false;
        for (&session, held) in &mut self.sessions {
            if held.idle_at(&self.limits) <= now {
                idle.push(session);
            } else if held.keep_alive_at.is_some_and(|due| due <= now) {
                held.keep_alive_at = held.busy().then_some(now + KEEP_ALIVE);
                let alive = held.keep_alive(self.stalled, false);
                told = true;
                self.outputs
                    .push_back(StageOutput::Send(held.requester, alive));
            }
        }
        if told {
            self.stalled = Duration::ZERO;
        }
        for session in idle {
            self.free(session);
        }
        self.begin_step(now);
    }

    pub(super) fn free(&mut self, session: SessionId) {
        if self.sessions.remove(&session).is_some() {
            self.outputs.push_back(StageOutput::Free(session));
        }
    }

    fn tell_opened(&mut self, session: SessionId) {
        let held = &self.sessions[&session];
        let Some(memory_bytes) = held.memory_bytes else {
            return;
        };
        let opened = StageOpened {
            session,
            epoch: held.open.epoch,
            held_positions: held.computed_end(),
            memory_bytes,
        };
        self.outputs
            .push_back(StageOutput::Send(held.requester, opened.into()));
    }

    pub(super) fn refuse(
        &mut self,
        to: PeerId,
        session: SessionId,
        epoch: PlanEpoch,
        code: StageRefusedCode,
        words: &str,
        available_bytes: u64,
    ) {
        let refused = StageRefused {
            session,
            epoch,
            code,
            words: words.to_owned(),
            available_bytes,
        };
        self.outputs
            .push_back(StageOutput::Send(to, Control::from(refused)));
    }
}
