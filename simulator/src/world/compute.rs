//! What hosts compute, and when they finish.

use potluck_protocol::machine::Input;
use potluck_protocol::stage::{Load, Step, StepPart};

use super::{Event, World};
use crate::checks::Seen;
use crate::host::Work;

impl World {
    /// A host's processor is asked for something.
    pub(super) fn work(&mut self, host: u32, work: Work) {
        self.host(host).bench.waiting.push_back(work);
        self.begin_work(host);
    }

    /// A free processor begins what waits.
    pub(super) fn begin_work(&mut self, host: u32) {
        loop {
            let of = self.host(host);
            if of.bench.at.is_some() || !of.runs() {
                return;
            }
            let Some(work) = of.bench.waiting.pop_front() else {
                return;
            };
            if let Work::Free(stage) = work {
                let model = self.model.clone();
                self.host(host).holdings.free(&model, stage);
                continue;
            }
            let (work, micros) = self.begin_one(host, work);
            let now = self.now;
            let of = self.host(host);
            of.bench.number += 1;
            of.bench.began_at = now;
            of.bench.at = Some((work, now + micros));
            let number = of.bench.number;
            self.after(micros, Event::Done(host, number));
        }
    }

    /// What a host begins, and how long it takes.
    fn begin_one(&mut self, host: u32, work: Work) -> (Work, u64) {
        let now = self.now;
        let of = &mut self.hosts[host as usize];
        of.body.pass(now);
        of.bench.speed = of.body.speed();
        match work {
            Work::Load(load) => {
                let Load { stage, epoch, .. } = load;
                let budget = of.origin.memory;
                let model = (&*self.model, &*self.arithmetic);
                of.store.ask(load.layers);
                let here = of.store.has(load.layers);
                let loaded = of.holdings.load(model, &load, here, budget);
                let storage = of.body.hardware.load.per_second();
                let reading = u128::from(loaded.new_bytes) * 1_000_000 / u128::from(storage);
                let micros = of.body.hardware.opening.0 + reading as u64;
                let bytes = of.holdings.bytes();
                self.see(Seen::Held {
                    host,
                    bytes,
                    budget,
                });
                (Work::Loading(stage, epoch, loaded.result), micros)
            }
            Work::Step(step, needed) => self.begin_step(host, step, needed),
            Work::Ends(session, hidden) => {
                let micros = at_speed(of.speeds.ends(), of.bench.speed);
                (Work::Ends(session, hidden), micros)
            }
            Work::Loading(..) | Work::Computing(..) | Work::Free(_) => (work, 0),
        }
    }

    /// The result of a step, which its device reports when it is done, and the step's duration.
    fn begin_step(&mut self, host: u32, step: Step, needed: bool) -> (Work, u64) {
        let mut hidden = Vec::with_capacity(step.parts.len());
        let mut rows = Vec::with_capacity(step.parts.len());
        let own = |index: &usize| self.sessions[*index].requester == host as usize;
        let of = |part: &StepPart| !self.live.get(&part.stage.session).is_some_and(own);
        let others = step.parts.iter().any(of);
        self.look_after_owner(host, others, needed);
        for part in step.parts {
            let session = part.stage.session;
            let of = self.host(host);
            of.bench.rows += u64::from(part.rows);
            let computed = of.holdings.compute(part);
            hidden.push(computed.hidden);
            rows.extend(computed.rows.into_iter().flatten());
            if let Some(fault) = computed.fault {
                let session = self.live.get(&session).copied();
                self.see(Seen::Computed {
                    host,
                    session,
                    fault,
                });
            }
        }
        let of = self.host(host);
        of.bench.steps += 1;
        let micros = at_speed(of.speeds.step(&rows), of.bench.speed);
        (Work::Computing(step.number, hidden), micros)
    }

    /// A step begins, maybe with rows of others, that was ordered while the owner needed the device or
    /// not.
    fn look_after_owner(&mut self, host: u32, others: bool, needed: bool) {
        let now = self.now;
        let of = self.host(host);
        of.bench.at_others = others;
        let needed = needed && of.body.setting.in_call;
        if let Some((ended_at, took)) = of.bench.of_others.filter(|_| others && needed) {
            let waited = now - ended_at;
            self.see(Seen::OthersGoOn { host, waited, took });
        }
    }

    /// A host's processor is done.
    pub(super) fn done(&mut self, host: u32, number: u32) {
        let now = self.now;
        let of = self.host(host);
        if of.bench.number != number || !of.runs() {
            return;
        }
        let Some((work, _)) = of.bench.at.take() else {
            return;
        };
        let busy = now - of.bench.began_at;
        if matches!(work, Work::Computing(..)) && of.bench.at_others {
            of.bench.of_others = Some((now, busy));
        }
        of.bench.busy_us += busy;
        let speed = of.bench.speed;
        if !matches!(work, Work::Loading(..)) {
            of.body.computed(busy, speed);
        }
        self.trace.event(now, 5, u64::from(host));
        match work {
            Work::Loading(stage, epoch, result) => {
                let of = self.host(host);
                let layers = of.holdings.layers_of(stage);
                if result.is_ok() && layers.is_some_and(|layers| !of.store.has(layers)) {
                    self.see(Seen::StageLacksWeights { host });
                }
                self.tell(
                    host,
                    Input::Loaded {
                        stage,
                        epoch,
                        result,
                    },
                );
            }
            Work::Computing(number, hidden) => self.computed(host, number, hidden),
            Work::Ends(session, hidden) => self.sampled(host, session, &hidden),
            Work::Load(_) | Work::Step(..) | Work::Free(_) => {}
        }
        self.begin_work(host);
    }

    fn computed(&mut self, host: u32, number: u64, hidden: Vec<Vec<u8>>) {
        let congested = self.is_congested(host);
        let of = self.host(host);
        if congested || !of.bench.held_back.is_empty() {
            of.bench.held_back.push_back((number, hidden));
            return;
        }
        self.tell(host, Input::Computed { number, hidden });
    }

    /// A host reports the results that it held back, if there is room now.
    pub(super) fn release(&mut self, host: u32) {
        while self.host(host).runs() && !self.is_congested(host) {
            let Some((number, hidden)) = self.host(host).bench.held_back.pop_front() else {
                return;
            };
            self.tell(host, Input::Computed { number, hidden });
        }
    }

    /// Stands still what a host is at.
    pub(super) fn pause_work(&mut self, host: u32) {
        let now = self.now;
        let bench = &mut self.host(host).bench;
        bench.number += 1;
        if let Some((_, until)) = &mut bench.at {
            bench.busy_us += now - bench.began_at;
            *until = until.saturating_sub(now);
        }
    }

    /// Goes on with it.
    pub(super) fn resume_work(&mut self, host: u32) {
        let now = self.now;
        let bench = &mut self.host(host).bench;
        bench.began_at = now;
        let number = bench.number;
        if let Some((_, until)) = &mut bench.at {
            *until += now;
            let until = *until;
            self.at(until, Event::Done(host, number));
        }
        self.begin_work(host);
        self.release(host);
    }
}

/// Microseconds at a share of the full speed, rounded up.
fn at_speed(nanoseconds: u64, speed: f64) -> u64 {
    let micros = nanoseconds as f64 / (1_000.0 * speed);
    (micros as u64).saturating_add(1)
}
