//! Detects silent stages and stages that hold up the pipeline.

#[cfg(test)]
mod tests;

use std::time::Duration;

use super::{
    ANSWER_WITHIN, Cause, FAIL_AFTER, FETCH_WITHIN, LOAD_WITHIN, LOST_AFTER, PROBE_AFTER,
    STUCK_AFTER,
};
use crate::PeerId;

/// Signs of life from each stage while something is due from it.
#[derive(Debug, Default)]
pub(super) struct Liveness {
    /// In the order of the ring.
    stages: Vec<Heard>,
    /// The due answer, if any.
    due: Option<Due>,
}

#[derive(Debug)]
struct Heard {
    peer: PeerId,
    /// When anything last arrived from it.
    at: Duration,
    /// It has failed after this much silence.
    limit: Duration,
    /// When it last sent something about the session.
    told_at: Duration,
    /// Whether it was queried since.
    asked: bool,
    /// Queries that it has not answered.
    questions: u32,
    /// The number of positions that it reported as computed.
    held: u32,
    /// The maximum of `held` since the answer is due: repeating a lower position is no progress.
    furthest: u32,
    opening: Opening,
}

/// Progress of a stage that is being made ready.
#[derive(Debug, Clone, Copy)]
enum Opening {
    /// The time of its last progress, and the limit for the next.
    Since(Duration, Duration),
    Done,
}

#[derive(Debug, Clone, Copy)]
struct Due {
    since: Duration,
    /// Rows before this position are due.
    end: u32,
    /// When a stage last reported progress.
    progress_at: Duration,
    /// When a stage last reported that it computes.
    busy_at: Duration,
}

/// The consequences of silence.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Stages to query for their state.
    pub(super) ask: Vec<PeerId>,
    pub(super) failed: Option<(PeerId, Cause)>,
}

impl Liveness {
    /// Starts to watch these stages. None of them has been heard yet.
    pub(super) fn watch(&mut self, now: Duration, ring: impl Iterator<Item = PeerId>) {
        let unheard = |peer| Heard {
            peer,
            at: Duration::ZERO,
            limit: FAIL_AFTER,
            told_at: Duration::ZERO,
            asked: false,
            questions: 0,
            held: 0,
            furthest: 0,
            opening: Opening::Since(now, LOAD_WITHIN),
        };
        self.stages = ring.map(unheard).collect();
        self.due = None;
        self.await_until(now, Some(0));
    }

    /// Sets the position before which rows are due from now on; `None` if none are.
    pub(super) fn await_until(&mut self, now: Duration, end: Option<u32>) {
        self.due = end.map(|end| Due {
            since: now,
            end,
            progress_at: now,
            busy_at: now,
        });
        for heard in &mut self.stages {
            heard.asked = false;
            heard.furthest = 0;
        }
    }

    /// Notes that a stage is ready.
    pub(super) fn opened(&mut self, peer: PeerId) {
        if let Some(heard) = stage_of(&mut self.stages, peer) {
            heard.opening = Opening::Done;
        }
    }

    /// Notes that a stage being made ready has received more of its weights, or all.
    pub(super) fn fetched(&mut self, now: Duration, peer: PeerId, all: bool) {
        if let Some(heard) = stage_of(&mut self.stages, peer)
            && let Opening::Since(..) = heard.opening
        {
            let within = if all { LOAD_WITHIN } else { FETCH_WITHIN };
            heard.opening = Opening::Since(now, within);
        }
    }

    /// Whether something is due.
    pub(super) fn is_waiting(&self) -> bool {
        self.due.is_some()
    }

    /// Notes that something arrived from a peer, even for another session. Returns the length of
    /// its silence while something was due from it and this node ran.
    pub(super) fn heard(&mut self, now: Duration, peer: PeerId) -> Option<Duration> {
        self.excuse(now);
        let heard = stage_of(&mut self.stages, peer)?;
        let before = std::mem::replace(&mut heard.at, now);
        Some(now.saturating_sub(before.max(self.due?.since)))
    }

    /// Notes that a peer sent something about the session.
    pub(super) fn told(&mut self, now: Duration, peer: PeerId) {
        self.excuse(now);
        if let Some(heard) = stage_of(&mut self.stages, peer) {
            heard.at = now;
            heard.told_at = now;
            heard.asked = false;
        }
    }

    /// Sets how long this peer may be silent.
    pub(super) fn allow_silence(&mut self, peer: PeerId, limit: Duration) {
        if let Some(heard) = stage_of(&mut self.stages, peer) {
            heard.limit = limit;
        }
    }

    /// Notes that rows that are due are arriving.
    pub(super) fn arriving(&mut self, now: Duration) {
        if let Some(due) = &mut self.due {
            due.busy_at = now;
        }
    }

    /// Notes a stage's report of its state. Returns whether it had been queried.
    pub(super) fn answered(&mut self, peer: PeerId) -> bool {
        let heard = stage_of(&mut self.stages, peer);
        let left = heard.map(|heard| &mut heard.questions);
        left.is_some_and(|left| std::mem::replace(left, left.saturating_sub(1)) > 0)
    }

    /// Notes how many positions a stage holds, and whether it is computing.
    pub(super) fn holds(&mut self, now: Duration, peer: PeerId, held: u32, busy: bool) {
        let heard = stage_of(&mut self.stages, peer);
        let (Some(heard), Some(due)) = (heard, &mut self.due) else {
            return;
        };
        if held > heard.furthest {
            heard.furthest = held;
            due.progress_at = now;
        }
        if busy {
            due.busy_at = now;
        }
        heard.held = held;
    }

    /// When [`judge`](Self::judge) is due.
    pub(super) fn poll_timeout(&self) -> Option<Duration> {
        let due = self.due?;
        let of_stage = |heard: &Heard| {
            let fails = heard.at.max(due.since) + heard.limit;
            let told_at = heard.told_at.max(due.since);
            let next = match (heard.asked, due.end) {
                (false, _) => told_at + PROBE_AFTER,
                (true, 0) => told_at + STUCK_AFTER,
                (true, _) => fails,
            };
            let opens = heard.opens_by(due.end);
            fails.min(next).min(opens)
        };
        let stages = self.stages.iter().map(of_stage).min();
        let stands_still = due.stands_still_at(self.most_patience());
        Some(stages.map_or(stands_still, |stages| stages.min(stands_still)))
    }

    /// The longest silence allowed to any stage.
    fn most_patience(&self) -> Duration {
        let limits = self.stages.iter().map(|heard| heard.limit);
        limits.max().unwrap_or(FAIL_AFTER)
    }

    /// Excuses peers for time in which this node did not run and could not hear them. To be called
    /// before anything else is noted. Returns whether [`judge`](Self::judge) is due.
    fn excuse(&mut self, now: Duration) -> bool {
        // How late the call is: for that time this node did not run.
        let due = self.poll_timeout();
        let Some(late) = due.and_then(|due| now.checked_sub(due)) else {
            return false;
        };
        let later = |at: &mut Duration| *at = (*at + late).min(now);
        if let Some(due) = &mut self.due {
            later(&mut due.since);
            later(&mut due.progress_at);
            later(&mut due.busy_at);
        }
        for heard in &mut self.stages {
            later(&mut heard.at);
            later(&mut heard.told_at);
            if let Opening::Since(at, _) = &mut heard.opening {
                later(at);
            }
        }
        true
    }

    pub(super) fn judge(&mut self, now: Duration) -> Verdict {
        let patience = self.most_patience();
        let is_due = self.excuse(now);
        let Some(due) = self.due.filter(|_| is_due) else {
            return Verdict::default();
        };
        let mut verdict = Verdict::default();
        for heard in &mut self.stages {
            let silent = |since: Duration| now.saturating_sub(since.max(due.since));
            let (silence, untold) = (silent(heard.at), silent(heard.told_at));
            if silence >= heard.limit {
                let silent = Cause::Silent(silence);
                verdict.failed.get_or_insert((heard.peer, silent));
            } else if due.end == 0 && untold >= STUCK_AFTER {
                let stuck = Cause::Stuck(untold);
                verdict.failed.get_or_insert((heard.peer, stuck));
            } else if now >= heard.opens_by(due.end) {
                let stuck = Cause::Stuck(heard.opens_for(now));
                verdict.failed.get_or_insert((heard.peer, stuck));
            } else if untold >= PROBE_AFTER && !heard.asked {
                heard.asked = true;
                heard.questions += 1;
                verdict.ask.push(heard.peer);
            }
        }
        if now >= due.stands_still_at(patience) && verdict.failed.is_none() {
            let end = due.end;
            let lacks = self.stages.iter().find(|heard| heard.held < end);
            let last = || self.stages.last();
            let cause = match due.stuck_at() {
                at if now >= at => Cause::Stuck(now.saturating_sub(due.since)),
                _ => Cause::RowsLost,
            };
            verdict.failed = lacks.or_else(last).map(|h| (h.peer, cause));
        }
        verdict
    }
}

fn stage_of(stages: &mut [Heard], peer: PeerId) -> Option<&mut Heard> {
    stages.iter_mut().find(|heard| heard.peer == peer)
}

impl Heard {
    /// When it fails if it makes no progress while it is made ready.
    fn opens_by(&self, due_end: u32) -> Duration {
        match self.opening {
            Opening::Since(at, within) if due_end == 0 => at + within,
            Opening::Since(..) | Opening::Done => Duration::MAX,
        }
    }

    /// How long it has been made ready without progress.
    fn opens_for(&self, now: Duration) -> Duration {
        match self.opening {
            Opening::Since(at, _) => now.saturating_sub(at),
            Opening::Done => Duration::ZERO,
        }
    }
}

impl Due {
    /// When rows count as lost although all stages may be alive. Links between stages are assumed
    /// to stall for as long as the links seen from here.
    fn stands_still_at(&self, patience: Duration) -> Duration {
        if self.end == 0 {
            // Stages are opening: each has its own limit.
            return Duration::MAX;
        }
        let moved_at = self.busy_at.max(self.progress_at);
        let lost = moved_at + LOST_AFTER + patience.saturating_sub(FAIL_AFTER);
        lost.min(self.stuck_at())
    }

    /// When the time limit of computing stages ends.
    fn stuck_at(&self) -> Duration {
        (self.progress_at + STUCK_AFTER).min(self.since + ANSWER_WITHIN)
    }
}
