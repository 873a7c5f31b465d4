//! One stage of one session.

use std::collections::VecDeque;
use std::time::Duration;

use super::{KEEP_ALIVE, Load, StageLimits, StepPart};
use crate::wire::{Answer, Control, Frame, FrameHeader, KeepAlive, Kind, OpenStage, SessionState};
use crate::{Branch, PeerId, PlanEpoch, StageId};

/// A stage that a requester opened, with the frames that wait for it.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) requester: PeerId,
    pub(super) open: OpenStage,
    /// Whether its weights are mapped and its memory is reserved.
    pub(super) is_loaded: bool,
    /// The highest branch of this epoch.
    branch: Branch,
    /// The caches hold the positions before this.
    computed_end: u32,
    /// Frames of hidden states, not computed yet.
    queue: VecDeque<Frame>,
    /// The frame in the step that is being computed.
    computing: Option<FrameHeader>,
    /// Whether its rows were rolled back meanwhile: nobody waits for them.
    rejected: bool,
    /// Whether its caches have overwritten what its rows in the step see.
    pub(super) overwritten: bool,
    /// When the requester was last heard.
    pub(super) heard_at: Duration,
    /// When it is freed, if the requester's connection ended and the stage was not opened since.
    pub(super) orphaned_until: Option<Duration>,
    /// Whether its connection was there again since.
    pub(super) is_back: bool,
    /// When the requester is due to hear of the stage, while it waits for it.
    pub(super) keep_alive_at: Option<Duration>,
    /// When rows of it were computed last.
    pub(super) worked_at: Duration,
    /// The last step that it had rows in.
    pub(super) served_in: u64,
    /// Since when its requester may hear again that others have rows here.
    pub(super) shared_at: Duration,
}

/// What was done with a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    Queued,
    /// Of an older epoch or branch, or of somebody else: nothing to do.
    Dropped,
    /// Rows before it are missing.
    Gap,
    /// Of another stage, and not numbers.
    NotNumbers,
}

impl Held {
    pub(super) fn new(now: Duration, requester: PeerId, open: OpenStage) -> Self {
        Self {
            requester,
            open,
            is_loaded: false,
            branch: Branch::default(),
            computed_end: 0,
            queue: VecDeque::new(),
            computing: None,
            rejected: false,
            overwritten: false,
            heard_at: now,
            orphaned_until: None,
            is_back: false,
            keep_alive_at: Some(now + KEEP_ALIVE),
            worked_at: now,
            served_in: 0,
            shared_at: now,
        }
    }

    /// Its requester opens it, again maybe.
    pub(super) fn opened(&mut self, now: Duration) {
        self.heard_at = now;
        self.orphaned_until = None;
        self.is_back = false;
    }

    /// Takes a later epoch's place. Caches of the same layers stay.
    pub(super) fn reopen(&mut self, now: Duration, open: OpenStage) {
        let same = open.layers == self.open.layers
            && open.manifest == self.open.manifest
            && open.context == self.open.context
            && open.shape == self.open.shape;
        if !same {
            self.computed_end = 0;
        }
        self.open = open;
        self.is_loaded = false;
        self.branch = Branch::default();
        self.queue.clear();
        self.computing = None;
        self.overwritten = false;
        self.keep_alive_at = Some(now + KEEP_ALIVE);
    }

    pub(super) fn id(&self) -> StageId {
        StageId {
            requester: self.requester,
            session: self.open.session,
        }
    }

    pub(super) fn to_load(&self) -> Load {
        Load {
            stage: self.id(),
            epoch: self.open.epoch,
            manifest: self.open.manifest,
            layers: self.open.layers,
            context: self.open.context,
            d_model: self.open.shape.d_model(),
        }
    }

    /// Whether frames of `from` with this header are of the epoch in force, and computed now.
    pub(super) fn expects(&self, from: PeerId, header: &FrameHeader) -> bool {
        self.is_ready() && from == self.open.predecessor && header.epoch == self.open.epoch
    }

    /// Its requester is gone: queued rows would be computed for nobody, and are sent again if it comes
    /// back.
    pub(super) fn orphan(&mut self, until: Duration) {
        self.orphaned_until.get_or_insert(until);
        self.queue.clear();
        self.rejected = true;
    }

    /// Whether rows are accepted.
    pub(super) fn is_ready(&self) -> bool {
        self.is_loaded && !self.open.standby
    }

    /// Queues a frame of hidden states that is [expected](Self::expects).
    pub(super) fn take(&mut self, frame: Frame) -> Taken {
        let header = *frame.header();
        let Kind::Hidden { .. } = header.kind else {
            return Taken::Dropped;
        };
        let end = header.end_position();
        if header.branch < self.branch || end > self.open.context {
            return Taken::Dropped;
        }
        // A requester that sends such itself spoils nobody's answer but its own.
        let of_stage = self.open.predecessor != self.requester;
        if of_stage && !self.open.shape.are_numbers(frame.payload()) {
            return Taken::NotNumbers;
        }
        if header.branch > self.branch {
            let computing = self.computing.as_ref();
            self.rejected |= computing.is_some_and(|at| header.start_position <= at.start_position);
            self.branch = header.branch;
        }
        // Rows that were queued from its start on have been rejected.
        while let Some(last) = self.queue.back() {
            if last.header().start_position < header.start_position {
                break;
            }
            self.queue.pop_back();
        }
        if header.start_position > self.queued_end() {
            return Taken::Gap;
        }
        self.queue.push_back(frame);
        Taken::Queued
    }

    /// The position after what is computed and queued.
    fn queued_end(&self) -> u32 {
        let last = self.queue.back().map(Frame::header);
        let last = last.or(self.computing.as_ref());
        last.map_or(self.computed_end, FrameHeader::end_position)
    }

    pub(super) fn has_room(&self, limits: &StageLimits) -> bool {
        let queued: usize = self.queue.iter().map(|frame| frame.payload().len()).sum();
        queued < limits.queued_bytes
    }

    /// Rows of the frame that is to be computed next.
    pub(super) fn next_rows(&self) -> Option<u32> {
        let next = self.queue.front().filter(|_| self.computing.is_none());
        next.map(|frame| frame.header().rows)
    }

    /// Its next frame, for a step.
    pub(super) fn begin(&mut self) -> Option<StepPart> {
        let (header, hidden) = self.queue.pop_front()?.into_parts();
        // The step drops what it overwrites, whether or not its result is still wanted then.
        self.computed_end = self.computed_end.min(header.start_position);
        self.computing = Some(header);
        self.rejected = false;
        Some(StepPart {
            stage: self.id(),
            start_position: header.start_position,
            rows: header.rows,
            shape: self.open.shape,
            hidden,
        })
    }

    /// Whether these are the hidden states of the rows in the step.
    pub(super) fn is_computed(&self, hidden: &[u8]) -> bool {
        let rows = self.computing.map(|header| header.rows);
        let expected = rows.and_then(|rows| self.open.shape.payload_bytes(rows));
        expected.is_some_and(|bytes| bytes as usize == hidden.len())
    }

    /// The rows of the step were computed: what is to be sent to the successor.
    pub(super) fn finish(&mut self, hidden: Vec<u8>) -> Option<Frame> {
        let mut header = self.computing.take()?;
        self.computed_end = header.end_position();
        let Kind::Hidden { answer, .. } = header.kind else {
            return None;
        };
        if self.rejected {
            return None;
        }
        let last = self.open.last;
        let payload = match answer {
            Answer::Nothing => return None,
            Answer::Done if last => {
                header.kind = Kind::Done;
                Vec::new()
            }
            Answer::LastRow if last => {
                let row_bytes = hidden.len() / header.rows as usize;
                header.start_position += header.rows - 1;
                header.rows = 1;
                hidden[hidden.len() - row_bytes..].to_vec()
            }
            Answer::AllRows | Answer::LastRow | Answer::Done => hidden,
        };
        Frame::new(header, payload).ok()
    }

    /// Its caches hold nothing any more, as a step of this epoch found.
    pub(super) fn was_overwritten(&mut self, epoch: PlanEpoch) {
        self.computed_end = 0;
        // A later epoch asks for its rows again anyway.
        self.overwritten = self.open.epoch == epoch;
    }

    /// Its caches hold nothing any more, so the rows that wait cannot be computed either: what its
    /// requester is told, who sends all again.
    pub(super) fn start_over(&mut self) -> SessionState {
        self.overwritten = false;
        self.computing = None;
        self.computed_end = 0;
        self.queue.clear();
        self.keep_alive_at = None;
        self.state()
    }

    /// When its requester has been silent for too long.
    pub(super) fn idle_at(&self, limits: &StageLimits) -> Duration {
        // While it is made ready, its requester hears of it, and need not ask.
        let idle = match self.is_loaded {
            true => self.heard_at.saturating_add(limits.idle),
            false => Duration::MAX,
        };
        let orphaned = self.orphaned_until;
        orphaned.map_or(idle, |orphaned| orphaned.min(idle))
    }

    /// Whether it is being made ready, or rows wait or are computed.
    pub(super) fn busy(&self) -> bool {
        !self.is_loaded || self.has_rows()
    }

    /// Whether nobody has waited for it for so long.
    pub(super) fn rests(&self, now: Duration, since: Duration) -> bool {
        !self.busy() && self.heard_at.max(self.worked_at).saturating_add(since) <= now
    }

    /// Whether rows wait or are computed.
    pub(super) fn has_rows(&self) -> bool {
        self.computing.is_some() || !self.queue.is_empty()
    }

    /// The message that says that the stage lives and how far it is.
    pub(super) fn keep_alive(&self, shared: bool) -> Control {
        let alive = KeepAlive {
            session: self.open.session,
            epoch: self.open.epoch,
            next_position: self.computed_end,
            shared,
        };
        alive.into()
    }

    pub(super) fn computed_end(&self) -> u32 {
        self.computed_end
    }

    pub(super) fn state(&self) -> SessionState {
        SessionState {
            session: self.open.session,
            epoch: self.open.epoch,
            layers: self.open.layers,
            held_positions: self.computed_end,
            logged: 0..0,
        }
    }
}
