//! All stages of a node.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::computing::Computing;
use super::held::{Held, Taken};
use super::owner::Owner;
use super::shares::Shares;
use super::{KEEP_ALIVE, SHARED_EVERY, StageLimits, StageOutput};
use crate::wire::limits::MAX_DURATION;
use crate::wire::{
    CloseStage, Control, Frame, FrameHeader, HandOver, HandOverReason, HiddenShape, OpenStage,
    SessionState, StageOpened, StageRefused, StageRefusedCode,
};
use crate::{LayerRange, PeerId, PlanEpoch, SessionId, StageId};

/// The stages of a node, and in which order their rows are computed; see the module's page.
///
/// Times are since any fixed moment, and never go back.
#[derive(Debug)]
pub struct Stages {
    pub(super) limits: StageLimits,
    pub(super) owner: Owner,
    /// Neighbours that take rows more slowly than they are computed.
    pub(super) congested: BTreeSet<PeerId>,
    pub(super) stages: BTreeMap<StageId, Held>,
    pub(super) step: Option<Computing>,
    /// Steps that have begun.
    pub(super) steps: u64,
    pub(super) shares: Shares,
    pub(super) outputs: VecDeque<StageOutput>,
}

impl Stages {
    /// None yet, on the node `me`.
    pub fn new(me: PeerId, limits: StageLimits) -> Self {
        Self {
            limits,
            owner: Owner::new(me),
            congested: BTreeSet::new(),
            stages: BTreeMap::new(),
            step: None,
            steps: 0,
            shares: Shares::default(),
            outputs: VecDeque::new(),
        }
    }

    /// What is to be done next.
    pub fn poll_output(&mut self) -> Option<StageOutput> {
        self.outputs.pop_front()
    }

    /// A requester wants a stage, or has moved it to a later epoch.
    pub fn open(&mut self, now: Duration, from: PeerId, open: OpenStage) {
        let (id, epoch) = (stage_of(from, open.session), open.epoch);
        let is_new = !self.stages.contains_key(&id);
        let ambiguous = self.is_fed_twice(&id, &open);
        let full = is_new && !ambiguous && !self.makes_place(now, from, &open);
        let refusal = match self.stages.get_mut(&id) {
            // Random numbers do not meet; whoever guesses one learns nothing of its owner.
            _ if ambiguous => Some((StageRefusedCode::TooManySessions, "choose another session")),
            None if full => Some((StageRefusedCode::TooManySessions, "too many sessions here")),
            None => {
                let held = Held::new(now, from, open);
                self.outputs.push_back(StageOutput::Load(held.to_load()));
                self.stages.insert(id, held);
                None
            }
            Some(held) if epoch < held.open.epoch => {
                Some((StageRefusedCode::OldEpoch, "a later placement is in force"))
            }
            Some(held) if epoch == held.open.epoch && held.open != open => Some((
                StageRefusedCode::Unsupported,
                "another stage of this epoch is open",
            )),
            Some(held) if epoch == held.open.epoch => {
                held.opened(now);
                self.tell_opened(id);
                None
            }
            Some(held) => {
                held.opened(now);
                held.reopen(now, open);
                self.outputs.push_back(StageOutput::Load(held.to_load()));
                None
            }
        };
        if let Some((code, words)) = refusal {
            self.refuse(id, epoch, code, words, 0);
        }
    }

    /// The stage of a [`Load`](super::Load) is ready, or cannot be: why, in words, and how many bytes one
    /// could have.
    pub fn loaded(
        &mut self,
        now: Duration,
        id: StageId,
        epoch: PlanEpoch,
        result: Result<(), (StageRefusedCode, &str, u64)>,
    ) {
        // What a later epoch asks for may be another stage, and has a result of its own.
        let held = self.stages.get_mut(&id);
        let Some(held) = held.filter(|held| held.open.epoch == epoch) else {
            return;
        };
        held.heard_at = held.heard_at.max(now);
        match result {
            Ok(()) => {
                held.is_loaded = true;
                if !held.busy() {
                    held.keep_alive_at = None;
                }
                self.tell_opened(id);
            }
            Err((code, words, available_bytes)) => {
                let lacks_room = code == StageRefusedCode::Memory && !held.open.standby;
                if lacks_room && self.makes_room(now, id) {
                    return self.load_again(id, epoch);
                }
                self.free(id);
                self.refuse(id, epoch, code, words, available_bytes);
            }
        }
    }

    /// A stage that is being made ready: what was asked for.
    pub fn opening(&self, id: StageId) -> Option<&OpenStage> {
        let held = self.stages.get(&id)?;
        (!held.is_loaded).then_some(&held.open)
    }

    /// Weights that a [`Load`](super::Load) of this epoch lacked have arrived: it is to be repeated.
    pub fn load_again(&mut self, id: StageId, epoch: PlanEpoch) {
        if let Some(held) = self.stages.get(&id)
            && held.open.epoch == epoch
            && !held.is_loaded
        {
            self.outputs.push_back(StageOutput::Load(held.to_load()));
        }
    }

    /// A requester needs a stage no more.
    pub fn close(&mut self, from: PeerId, close: CloseStage) {
        let id = stage_of(from, close.session);
        let held = self.stages.get(&id);
        if held.is_some_and(|held| held.open.epoch <= close.epoch) {
            self.free(id);
        }
    }

    /// What is here of a session, for its requester.
    pub fn query(&mut self, now: Duration, from: PeerId, session: SessionId) {
        let state = match self.stages.get_mut(&stage_of(from, session)) {
            Some(held) => {
                held.heard_at = now;
                held.state()
            }
            None => SessionState {
                session,
                epoch: PlanEpoch::default(),
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
        let held = self.stages.get(&self.fed_by(from, header.session)?)?;
        held.expects(from, header).then_some(held.open.shape)
    }

    /// The stage that a peer's frames of this number go to. A requester that sends its own rows is
    /// meant itself, whoever else has named it as the one before.
    fn fed_by(&self, from: PeerId, session: SessionId) -> Option<StageId> {
        let fed =
            |(id, held): &(&StageId, &Held)| id.session == session && held.open.predecessor == from;
        let own = stage_of(from, session);
        let mut fed = self.stages.iter().filter(fed).map(|(&id, _)| id);
        let first = fed.next()?;
        Some(fed.find(|id| *id == own).unwrap_or(first))
    }

    /// Whether frames of another requester's session of the same number come from the same peer: they
    /// could not be told apart.
    fn is_fed_twice(&self, id: &StageId, open: &OpenStage) -> bool {
        let by_itself = open.predecessor == id.requester;
        let mut others = self.stages.iter().filter(|(other, _)| *other != id);
        others.any(|(other, held)| {
            other.session == id.session && held.open.predecessor == open.predecessor && !by_itself
        })
    }

    /// Whether more frames of a peer should be read from its stream.
    pub fn has_room_for(&self, from: PeerId) -> bool {
        let fed = |held: &&Held| held.open.predecessor == from;
        self.stages
            .values()
            .filter(fed)
            .all(|held| held.has_room(&self.limits))
    }

    /// Hidden states arrived from a predecessor.
    pub fn handle_frame(&mut self, now: Duration, from: PeerId, frame: Frame) {
        let Some(id) = self.fed_by(from, frame.header().session) else {
            return;
        };
        let held = self.stages.get_mut(&id);
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
                let epoch = held.open.epoch;
                let words = "the stage before it sent values that are not numbers";
                self.refuse(id, epoch, StageRefusedCode::NotNumbers, words, 0);
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
        for held in self.stages.values_mut().filter(fed) {
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
        let with_rows = self.stages.values().filter(|held| held.has_rows());
        if with_rows.count() < 2 && self.owner.others_may_at() <= now {
            return;
        }
        let others = |held: &&mut Held| held.has_rows() && held.requester != self.owner.peer;
        let told = self.stages.values_mut().filter(others);
        for held in told.filter(|held| held.shared_at <= now) {
            held.shared_at = now + SHARED_EVERY;
            let alive = held.keep_alive(true);
            self.outputs
                .push_back(StageOutput::Send(held.requester, alive));
        }
    }

    /// The node is about to stop helping: its requesters should place their layers elsewhere.
    pub fn hand_over(&mut self, reason: HandOverReason, within: Duration) {
        for (id, held) in &self.stages {
            let hand_over = HandOver {
                session: id.session,
                epoch: held.open.epoch,
                reason,
                within: within.min(MAX_DURATION),
            };
            self.outputs
                .push_back(StageOutput::Send(held.requester, hand_over.into()));
        }
    }

    /// Whether rows arrive from this peer, or go to it.
    pub fn runs_over(&self, peer: PeerId) -> bool {
        let mut ready = self.stages.values().filter(|held| held.is_ready());
        ready.any(|held| held.open.predecessor == peer || held.open.successor == peer)
    }

    /// Whether a stage only stands by.
    pub fn stands_by(&self, id: StageId) -> bool {
        let held = self.stages.get(&id);
        held.is_some_and(|held| held.open.standby)
    }

    /// Whether any session is here.
    pub fn is_empty(&self) -> bool {
        self.stages.is_empty()
    }

    /// The requesters of the sessions here, once for each session.
    pub fn requesters(&self) -> impl Iterator<Item = PeerId> {
        self.stages.values().map(|held| held.requester)
    }

    /// Whether stages of others are here that do not only stand by.
    pub fn helps(&self) -> bool {
        let mut held = self.stages.values();
        held.any(|held| held.requester != self.owner.peer && !held.open.standby)
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub fn poll_timeout(&self) -> Option<Duration> {
        let dues = self.stages.values().map(|held| {
            let freed = held.idle_at(&self.limits);
            held.keep_alive_at.map_or(freed, |alive| alive.min(freed))
        });
        dues.chain(self.turn_of_others()).min()
    }

    /// Says that stages live, and frees what nobody uses.
    pub fn handle_timeout(&mut self, now: Duration) {
        let mut idle = Vec::new();
        for (&id, held) in &mut self.stages {
            if held.idle_at(&self.limits) <= now {
                idle.push(id);
            } else if held.keep_alive_at.is_some_and(|due| due <= now) {
                held.keep_alive_at = held.busy().then_some(now + KEEP_ALIVE);
                let alive = held.keep_alive(false);
                self.outputs
                    .push_back(StageOutput::Send(held.requester, alive));
            }
        }
        for id in idle {
            self.free(id);
        }
        self.begin_step(now);
    }

    pub(super) fn free(&mut self, id: StageId) {
        if self.stages.remove(&id).is_some() {
            self.outputs.push_back(StageOutput::Free(id));
        }
    }

    fn tell_opened(&mut self, id: StageId) {
        let held = &self.stages[&id];
        if !held.is_loaded {
            return;
        }
        let opened = StageOpened {
            session: id.session,
            epoch: held.open.epoch,
            held_positions: held.computed_end(),
        };
        self.outputs
            .push_back(StageOutput::Send(held.requester, opened.into()));
    }

    pub(super) fn refuse(
        &mut self,
        id: StageId,
        epoch: PlanEpoch,
        code: StageRefusedCode,
        words: &str,
        available_bytes: u64,
    ) {
        let refused = StageRefused {
            session: id.session,
            epoch,
            code,
            words: words.to_owned(),
            available_bytes,
        };
        self.outputs
            .push_back(StageOutput::Send(id.requester, Control::from(refused)));
    }
}

pub(super) fn stage_of(requester: PeerId, session: SessionId) -> StageId {
    StageId { requester, session }
}
