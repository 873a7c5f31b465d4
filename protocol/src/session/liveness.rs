//! Whose silence means what, and who holds a pipeline up.

use std::time::Duration;

use super::{Cause, FAIL_AFTER, LOST_AFTER, PROBE_AFTER, STUCK_AFTER};
use crate::PeerId;

/// What was heard of each stage while something was due of it.
#[derive(Debug, Default)]
pub(super) struct Liveness {
    /// In the order of the ring.
    stages: Vec<Heard>,
    /// What is due, while something is.
    due: Option<Due>,
}

#[derive(Debug)]
struct Heard {
    peer: PeerId,
    at: Duration,
    /// Whether it was asked since.
    asked: bool,
    /// Questions that it has not answered.
    questions: u32,
    /// The positions that it said it has computed.
    held: u32,
}

#[derive(Debug, Clone, Copy)]
struct Due {
    since: Duration,
    /// Rows before this position are due.
    end: u32,
    /// When a stage last said that it had come further.
    progress_at: Duration,
    /// When a stage last said that it was at it.
    busy_at: Duration,
}

/// What the silence of some means.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    /// These should be asked what they hold.
    pub(super) ask: Vec<PeerId>,
    pub(super) failed: Option<(PeerId, Cause)>,
}

impl Liveness {
    /// Watches these stages, none of which has been heard.
    pub(super) fn watch(&mut self, now: Duration, ring: impl Iterator<Item = PeerId>) {
        let unheard = |peer| Heard {
            peer,
            at: Duration::ZERO,
            asked: false,
            questions: 0,
            held: 0,
        };
        self.stages = ring.map(unheard).collect();
        self.due = None;
        self.await_until(now, Some(0));
    }

    /// Answers to rows before a position are due from now on, or none at all.
    pub(super) fn await_until(&mut self, now: Duration, end: Option<u32>) {
        self.due = end.map(|end| Due {
            since: now,
            end,
            progress_at: now,
            busy_at: now,
        });
        self.stages.iter_mut().for_each(|heard| heard.asked = false);
    }

    /// Whether something is due.
    pub(super) fn is_waiting(&self) -> bool {
        self.due.is_some()
    }

    /// Anything was heard of a peer.
    pub(super) fn heard(&mut self, now: Duration, peer: PeerId) {
        if let Some(heard) = stage_of(&mut self.stages, peer) {
            heard.at = now;
            heard.asked = false;
        }
    }

    /// A stage said what it holds; whether it had been asked.
    pub(super) fn answered(&mut self, peer: PeerId) -> bool {
        let heard = stage_of(&mut self.stages, peer);
        let left = heard.map(|heard| &mut heard.questions);
        left.is_some_and(|left| std::mem::replace(left, left.saturating_sub(1)) > 0)
    }

    /// A stage said what it holds, and whether it is at it.
    pub(super) fn holds(&mut self, now: Duration, peer: PeerId, held: u32, busy: bool) {
        let heard = stage_of(&mut self.stages, peer);
        let (Some(heard), Some(due)) = (heard, &mut self.due) else {
            return;
        };
        if held > heard.held {
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
            let after = if heard.asked { FAIL_AFTER } else { PROBE_AFTER };
            heard.at.max(due.since) + after
        };
        let stages = self.stages.iter().map(of_stage).min();
        let stands_still = due.stands_still_at();
        Some(stages.map_or(stands_still, |stages| stages.min(stands_still)))
    }

    pub(super) fn judge(&mut self, now: Duration) -> Verdict {
        let late = self.poll_timeout().and_then(|due| now.checked_sub(due));
        let (Some(late), Some(due)) = (late, &mut self.due) else {
            return Verdict::default();
        };
        // Whoever was not run itself has not listened; what it heard since, it heard at its time.
        let later = |at: Duration| (at + late).min(now);
        due.since = later(due.since);
        due.progress_at = later(due.progress_at);
        due.busy_at = later(due.busy_at);
        let mut verdict = Verdict::default();
        for heard in &mut self.stages {
            heard.at = later(heard.at);
            let silent = now.saturating_sub(heard.at.max(due.since));
            if silent >= FAIL_AFTER {
                verdict.failed.get_or_insert((heard.peer, Cause::Silent));
            } else if silent >= PROBE_AFTER && !heard.asked {
                heard.asked = true;
                heard.questions += 1;
                verdict.ask.push(heard.peer);
            }
        }
        if now >= due.stands_still_at() && verdict.failed.is_none() {
            let end = due.end;
            let lacks = self.stages.iter().find(|heard| heard.held < end);
            let last = || self.stages.last();
            verdict.failed = lacks.or_else(last).map(|h| (h.peer, Cause::RowsLost));
        }
        verdict
    }
}

fn stage_of(stages: &mut [Heard], peer: PeerId) -> Option<&mut Heard> {
    stages.iter_mut().find(|heard| heard.peer == peer)
}

impl Due {
    /// When it is clear that nothing moves, though all may live.
    fn stands_still_at(&self) -> Duration {
        if self.end == 0 {
            // Stages open, which may take as long as fetching their weights.
            return Duration::MAX;
        }
        let lost = self.busy_at.max(self.progress_at) + LOST_AFTER;
        lost.min(self.progress_at + STUCK_AFTER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(byte: u8) -> PeerId {
        PeerId::from_public_key([byte; 32])
    }

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn watched() -> Liveness {
        let mut liveness = Liveness::default();
        liveness.watch(ms(1_000), [peer(1), peer(2)].into_iter());
        liveness.await_until(ms(1_000), Some(5));
        liveness
    }

    #[test]
    fn a_silent_stage_is_asked_and_then_has_failed() {
        let mut liveness = watched();
        assert_eq!(liveness.judge(ms(1_299)), Verdict::default());
        assert_eq!(liveness.poll_timeout(), Some(ms(1_300)));
        assert_eq!(liveness.judge(ms(1_300)).ask, [peer(1), peer(2)]);
        liveness.heard(ms(1_310), peer(1));
        assert_eq!(liveness.judge(ms(1_610)).ask, [peer(1)]);
        assert!(liveness.answered(peer(1)) && liveness.answered(peer(1)));
        assert!(!liveness.answered(peer(1)), "unasked");
        liveness.heard(ms(1_630), peer(1));
        let verdict = liveness.judge(ms(1_750));
        assert_eq!(verdict.failed, Some((peer(2), Cause::Silent)));
    }

    #[test]
    fn who_did_not_run_blames_nobody() {
        let mut liveness = watched();
        let verdict = liveness.judge(ms(60_000));
        assert_eq!((verdict.ask.len(), verdict.failed), (2, None));
        assert_eq!(liveness.judge(ms(60_449)).failed, None);
    }

    #[test]
    fn rows_that_nobody_has_are_lost_before_the_first_stage_that_lacks_them() {
        let mut liveness = watched();
        let (now, verdict) = loop {
            let now = liveness.poll_timeout().expect("something is due");
            let verdict = liveness.judge(now);
            if verdict.failed.is_some() {
                break (now, verdict);
            }
            for asked in verdict.ask {
                liveness.heard(now, asked);
                liveness.holds(now, asked, if asked == peer(1) { 5 } else { 4 }, false);
            }
        };
        assert_eq!(verdict.failed, Some((peer(2), Cause::RowsLost)));
        // From when the second was last seen to come further.
        assert_eq!(now, ms(1_300) + LOST_AFTER);
    }

    #[test]
    fn a_stage_that_is_at_it_has_time_but_not_for_ever() {
        let mut liveness = watched();
        let mut now = ms(1_000);
        while liveness.judge(now).failed.is_none() {
            now += ms(100);
            for of in [peer(1), peer(2)] {
                liveness.heard(now, of);
                liveness.holds(now, of, 0, true);
            }
        }
        assert_eq!(now, ms(1_000) + STUCK_AFTER);
    }
}
