//! Makes the record of a run.

use super::World;
use crate::checks::{Accounts, Ended, Leftover, Standing};
use crate::record::{DeviceRecord, Ending, Record, StageRecord};

impl World {
    /// Has the checkers look at sessions that may stand still.
    pub(super) fn look_after_progress(&mut self) {
        for &index in self.live.values() {
            let host = &self.hosts[self.sessions[index].requester];
            let mut talks = host.talks.values();
            let Some(talk) = talks.find(|talk| talk.index == index) else {
                continue;
            };
            let runs = |host: u32| {
                let host = &self.hosts[host as usize];
                host.runs() && !host.away && !host.in_background
            };
            let cut = |pair: &(u32, u32)| {
                let here = |of: u32| host.members.iter().any(|(_, member)| *member == of);
                here(pair.0) && here(pair.1)
            };
            let whole =
                host.members.iter().all(|&(_, member)| runs(member)) && !self.cuts.iter().any(cut);
            if talk.waiting.is_none() {
                // Fetching weights for a stage is progress, too.
                let members = host.members.iter();
                let fetched = members.map(|(_, member)| self.hosts[*member as usize].fetched_at);
                let standing = Standing {
                    session: index,
                    progress_at: fetched.fold(talk.progress_at, u64::max),
                    circle: &host.members,
                    whole,
                };
                self.checks.stands(self.now, &standing);
            }
        }
    }

    /// Has the checkers look for stages of sessions that do not use their hosts any more.
    pub(super) fn look_for_leftovers(&mut self) {
        for host in self.hosts.iter().filter(|host| host.runs()) {
            for id in host.holdings.stages() {
                let Some(&session) = self.indices.get(&id.session) else {
                    continue;
                };
                let record = &self.sessions[session];
                let placed = record.placements.last();
                let holds = |stage: &StageRecord| stage.device == host.number as usize;
                let goes_over = placed.is_some_and(|placed| placed.stages.iter().any(holds))
                    || host
                        .machine
                        .as_ref()
                        .is_some_and(|machine| machine.stands_by(id));
                let since = match record.ended_at_us {
                    Some(ended_at) => ended_at,
                    None if goes_over => continue,
                    None => placed.map_or(0, |placed| placed.at_us),
                };
                let leftover = Leftover {
                    host: host.number,
                    session,
                    requester: record.requester as u32,
                    since,
                };
                self.checks.leftover(self.now, &leftover);
            }
        }
    }

    pub(super) fn finish(mut self) -> Record {
        let now = self.now;
        self.hosts.iter_mut().for_each(|host| host.sample(now));
        self.airs.iter_mut().for_each(crate::network::Air::sample);
        self.end_sessions();
        let devices = self.devices();
        let networks: Vec<_> = self.airs.iter().map(crate::network::Air::record).collect();
        for (record, air) in networks.iter().zip(&self.airs) {
            let accounts = Accounts::Network {
                record,
                elapsed_us: now,
                shared: !air.is_direct(),
            };
            self.checks.accounts(now, &accounts);
        }
        let (trace_hash, trace) = self.trace.finish();
        Record {
            name: self.scenario.name.clone(),
            seed: self.seed,
            duration_us: self.end,
            trace_hash,
            events: self.events,
            violations: self.checks.finish(),
            sessions: self.sessions,
            devices,
            networks,
            faults: self.faults,
            unasked: self.unasked,
            trace,
        }
    }

    fn end_sessions(&mut self) {
        for host in &self.hosts {
            for talk in host.talks.values() {
                let record = &mut self.sessions[talk.index];
                record.ending = match &talk.waiting {
                    Some(why) => Ending::Kept(why.clone()),
                    None => Ending::Running,
                };
            }
        }
        for (session, record) in self.sessions.iter().enumerate() {
            let ended = Ended {
                session,
                ending: &record.ending,
                tokens: record.tokens_at_us.len() as u32,
                wanted: record.wanted_tokens,
            };
            // Of a run that was stopped, nothing need have ended.
            if !self.stopped {
                self.checks.ended(self.now, &ended);
            }
        }
    }

    fn devices(&mut self) -> Vec<DeviceRecord> {
        let mut devices = Vec::with_capacity(self.hosts.len());
        for host in &mut self.hosts {
            let body = &host.body;
            let record = DeviceRecord {
                name: host.name.clone(),
                profile: body.hardware.name.clone(),
                circle: host.circle.clone(),
                network: host.network as usize,
                memory_bytes: host.origin.memory,
                series: std::mem::take(&mut host.series),
                joules: body.joules(),
                compute_joules: body.compute_joules,
                radio_joules: body.radio_joules,
                busy_us: host.bench.busy_us,
                steps: host.bench.steps,
                rows: host.bench.rows,
                peak_memory_bytes: host.holdings.peak_bytes,
                sent_bytes: host.sent_bytes,
                received_bytes: host.received_bytes,
                kept_bytes: host.store.kept_bytes(),
                refused_pieces: host.store.refused,
            };
            let accounts = Accounts::Device {
                index: host.number,
                record: &record,
                idle_joules: body.idle_joules(),
                most_idle_joules: body.hardware.power.idle_watts * self.now as f64 / 1e6,
                most_compute_watts: body.hardware.power.compute_watts,
            };
            self.checks.accounts(self.now, &accounts);
            devices.push(record);
        }
        devices
    }
}
