//! Which rows form a step, and what happens with its results.

use std::time::Duration;

use super::computing::{Computing, Part};
use super::held::Held;
use super::{KEEP_ALIVE, StageOutput, Stages, Step};
use crate::StageId;
use crate::wire::StageRefusedCode;

impl Stages {
    /// The stages whose rows may be computed now, in order: the requester with the least computing time
    /// first, and of its sessions the one that waits longest.
    fn turns(&self, now: Duration) -> Vec<StageId> {
        let others_may = self.owner.others_may_at() <= now;
        let may = |held: &Held| {
            let its_turn = others_may || held.requester == self.owner.peer;
            its_turn && held.next_rows().is_some() && !self.is_held_up(held)
        };
        let ready = self.stages.iter().filter(|(_, held)| may(held));
        let mut turns: Vec<_> = ready
            .map(|(&id, held)| (self.shares.of(id.requester), held.served_in, id))
            .collect();
        turns.sort_unstable();
        turns.into_iter().map(|(.., id)| id).collect()
    }

    /// Begins a step if none is being computed and rows wait whose turn it is.
    pub(super) fn begin_step(&mut self, now: Duration) {
        if self.step.is_some() {
            return;
        }
        let turns = self.turns(now);
        let Some(first) = turns.first() else {
            return;
        };
        self.shares.begins(first.requester);
        self.steps += 1;
        let number = self.steps;
        let (mut rows, mut parts, mut of) = (0, Vec::new(), Vec::new());
        for id in turns {
            let held = self.stages.get_mut(&id).expect("it has its turn");
            let fits = |more: &u32| parts.is_empty() || rows + more <= self.limits.step_rows;
            if let Some(more) = held.next_rows().filter(fits) {
                rows += more;
                held.served_in = number;
                parts.extend(held.begin());
                of.push(Part {
                    id,
                    epoch: held.open.epoch,
                    rows: more,
                });
            }
        }
        let of_other = |part: &Part| part.id.requester != self.owner.peer;
        self.owner.begins(now, of.iter().any(of_other));
        self.step = Some(Computing {
            number,
            begun_at: now,
            parts: of,
        });
        self.outputs
            .push_back(StageOutput::Compute(Step { number, parts }));
    }

    /// The caches of a stage have overwritten positions that its rows in the step under way see, and
    /// hold nothing any more. [`computed`](Self::computed) of the step follows, with nothing for it: its
    /// requester is then told, and sends all rows again.
    pub fn overwritten(&mut self, stage: StageId) {
        let step = self.step.as_ref();
        let part = step.and_then(|step| step.parts.iter().find(|part| part.id == stage));
        let held = self.stages.get_mut(&stage);
        if let Some((part, held)) = part.zip(held) {
            held.was_overwritten(part.epoch);
        }
    }

    /// A step was computed: the hidden states behind the layers, part by part. A part that has not as
    /// many bytes as went in could not be computed: its session ends here, and its requester is told.
    pub fn computed(&mut self, now: Duration, number: u64, hidden: Vec<Vec<u8>>) {
        let Some(step) = self.step.take_if(|step| step.number == number) else {
            return;
        };
        self.owner.ends(now);
        self.charge(now, &step);
        let mut failed = Vec::new();
        for (Part { id, epoch, .. }, hidden) in step.parts.into_iter().zip(hidden) {
            // Closed meanwhile, or moved to a later epoch, which asks for the rows again.
            let held = self.stages.get_mut(&id);
            let Some(held) = held.filter(|held| held.open.epoch == epoch) else {
                continue;
            };
            if held.overwritten {
                let state = held.start_over();
                let requester = held.requester;
                self.outputs
                    .push_back(StageOutput::Send(requester, state.into()));
                continue;
            }
            if !held.is_computed(&hidden) {
                failed.push((id, epoch));
                continue;
            }
            held.worked_at = now;
            self.owner.rows_of(now, held.requester);
            if let Some(frame) = held.finish(hidden) {
                let to = held.open.successor;
                self.outputs.push_back(StageOutput::SendFrame(to, frame));
            }
            // A step that ends is heard by the successor, not by the requester.
            let due = held.keep_alive_at.unwrap_or(now + KEEP_ALIVE);
            held.keep_alive_at = held.busy().then_some(due);
        }
        for (id, epoch) in failed {
            let words = "its rows could not be computed here";
            self.refuse(id, epoch, StageRefusedCode::Unsupported, words, 0);
            self.free(id);
        }
        self.begin_step(now);
    }

    /// Divides a step's time among its requesters, by their rows.
    fn charge(&mut self, now: Duration, step: &Computing) {
        let took = now.saturating_sub(step.begun_at);
        let all: u32 = step.parts.iter().map(|part| part.rows).sum();
        for part in &step.parts {
            let time = took.saturating_mul(part.rows) / all.max(1);
            self.shares.computed(part.id.requester, time);
        }
    }

    /// Whether rows of a stage would wait for its successor.
    pub(super) fn is_held_up(&self, held: &Held) -> bool {
        self.congested.contains(&held.open.successor)
    }

    /// When others have their turn, if rows of them wait only for that.
    pub(super) fn turn_of_others(&self) -> Option<Duration> {
        let mut ready = self.stages.values();
        let waits = |held: &Held| held.next_rows().is_some() && !self.is_held_up(held);
        let waits = self.step.is_none() && ready.any(waits);
        waits.then(|| self.owner.others_may_at())
    }
}
