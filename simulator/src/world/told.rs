//! Events of sessions, and what the world does with them.

use potluck_protocol::SessionId;
use potluck_protocol::placement::Prediction;
use potluck_protocol::session::SessionEvent;

use super::{Event, World};
use crate::checks::Seen;
use crate::host::{Heard, Work, duration};
use crate::record::{Ending, PlacementRecord, RecoveryRecord, StageRecord, WaitRecord};

impl World {
    /// Handles an event of a session of a host's user.
    pub(super) fn told(&mut self, host: u32, id: SessionId, event: SessionEvent) {
        let now = self.now;
        let of = &mut self.hosts[host as usize];
        let (Some(talk), Some(machine)) = (of.talks.get_mut(&id), &mut of.machine) else {
            return;
        };
        let index = talk.index;
        let heard = talk.told(now, &event, machine);
        self.trace.event(now, 6, index as u64);
        self.trace.line(now, index, || words(&event));
        self.write_down(host, index, &event);
        match heard {
            Heard::Nothing => {}
            Heard::Sample(hidden) => self.work(host, Work::Ends(id, hidden)),
            Heard::Wrong { came, due } => self.see(Seen::WrongAnswer {
                session: index,
                came,
                due,
            }),
        }
    }

    fn write_down(&mut self, host: u32, index: usize, event: &SessionEvent) {
        let now = self.now;
        let device = |peer| self.hosts[host as usize].member(peer).unwrap_or(host) as usize;
        match event {
            SessionEvent::Placed(prediction) => {
                let placement = self.placement_of(host, prediction);
                let record = &mut self.sessions[index];
                record.placements.push(placement);
                if let Some(wait) = record.waits.last_mut() {
                    wait.until_us.get_or_insert(now);
                }
            }
            SessionEvent::Ready { .. } => {
                if let Some(placement) = self.sessions[index].placements.last_mut() {
                    placement.ready_at_us = Some(now);
                }
            }
            SessionEvent::Broken { peer, cause } => {
                let recovery = recovery(now, device(*peer), cause.to_string(), false);
                self.sessions[index].recoveries.push(recovery);
            }
            SessionEvent::Leaving { peer, reason, .. } => {
                let recovery = recovery(now, device(*peer), format!("{reason:?}"), true);
                self.sessions[index].recoveries.push(recovery);
            }
            SessionEvent::Waiting(why) | SessionEvent::GivenUp(why) => {
                let waits = &mut self.sessions[index].waits;
                if let Some(wait) = waits.last_mut() {
                    wait.until_us.get_or_insert(now);
                }
                waits.push(WaitRecord {
                    from_us: now,
                    until_us: None,
                    why: why.clone(),
                });
            }
            SessionEvent::Answered { .. }
            | SessionEvent::Fetching { .. }
            | SessionEvent::RolledBack
            | SessionEvent::Shared { .. } => {}
        }
    }

    fn placement_of(&self, host: u32, prediction: &Prediction) -> PlacementRecord {
        let of = &self.hosts[host as usize];
        let stages = prediction.stages.iter().map(|placed| StageRecord {
            device: of.member(placed.stage.peer).unwrap_or(host) as usize,
            first_layer: placed.stage.layers.first(),
            end_layer: placed.stage.layers.end(),
        });
        let micros = prediction.step_time.as_nanos().div_ceil(1_000);
        PlacementRecord {
            at_us: self.now,
            ready_at_us: None,
            stages: stages.collect(),
            predicted_step_us: u64::try_from(micros).unwrap_or(u64::MAX),
            predicted_step_joules: prediction.picojoules.map(|pj| pj as f64 / 1e12),
        }
    }

    /// A host's head has made a token.
    pub(super) fn sampled(&mut self, host: u32, id: SessionId, hidden: &[u8]) {
        let now = self.now;
        let of = &mut self.hosts[host as usize];
        let (Some(talk), Some(machine)) = (of.talks.get_mut(&id), &mut of.machine) else {
            return;
        };
        let (index, at) = (talk.index, talk.generated());
        let token = self.arithmetic.sample(hidden);
        let (right, more) = talk.token(now, token, machine);
        let done = talk.is_done();
        let record = &mut self.sessions[index];
        let before = record.tokens_at_us.last().copied().unwrap_or(0) + record.asked_at_us;
        record.tokens_at_us.push(now - record.asked_at_us);
        for recovery in record.recoveries.iter_mut().rev() {
            if recovery.resumed_at_us.is_some() {
                break;
            }
            recovery.resumed_at_us = Some(now);
            recovery.stall_us = Some(now - before);
        }
        self.trace.event(now, 7, index as u64);
        self.trace.line(now, index, || format!("token {at}"));
        self.see(Seen::Token {
            session: index,
            at,
            right,
        });
        if done {
            self.end_talk(host, id, Ending::Complete);
        }
        if let Some(hidden) = more {
            self.work(host, Work::Ends(id, hidden));
        }
        self.settle(host);
    }

    /// Ends a conversation.
    pub(super) fn end_talk(&mut self, host: u32, id: SessionId, ending: Ending) {
        let now = self.now;
        let of = &mut self.hosts[host as usize];
        let Some(talk) = of.talks.remove(&id) else {
            return;
        };
        if let Some(machine) = &mut of.machine {
            machine.finish(duration(now), id);
        }
        self.live.remove(&id);
        let record = &mut self.sessions[talk.index];
        self.trace.line(now, talk.index, || format!("{ending:?}"));
        record.ending = ending;
        record.ended_at_us = Some(now);
        if let Some(think) = self.asking[talk.request].think() {
            self.after(think, Event::Ask(talk.request as u32));
        }
    }

    /// Counts a data frame to its session, which its header names.
    pub(super) fn count_data(&mut self, frame: &[u8]) {
        let id = frame.get(4..12).and_then(|id| id.try_into().ok());
        let id = id.map(|id| SessionId(u64::from_le_bytes(id)));
        if let Some(&index) = id.and_then(|id| self.live.get(&id)) {
            self.sessions[index].data_bytes += frame.len() as u64;
        }
    }
}

fn recovery(now: u64, device: usize, cause: String, left: bool) -> RecoveryRecord {
    RecoveryRecord {
        noticed_at_us: now,
        device,
        cause,
        left,
        resumed_at_us: None,
        stall_us: None,
    }
}

fn words(event: &SessionEvent) -> String {
    match event {
        SessionEvent::Placed(prediction) => {
            let stages = prediction.stages.iter().map(|placed| placed.stage);
            let stages: Vec<_> = stages.map(|s| format!("{}:{}", s.peer, s.layers)).collect();
            format!("placed {}", stages.join(","))
        }
        SessionEvent::Answered {
            start_position,
            hidden,
        } => format!("answered {start_position}, {} bytes", hidden.len()),
        other => format!("{other:?}"),
    }
}
