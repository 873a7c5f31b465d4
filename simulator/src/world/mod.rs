//! The world: hosts, networks, and one heap of events.

mod act;
mod ask;
mod compute;
mod connect;
mod finish;
mod keep;
mod pass;
mod queue;
mod setup;
mod strike;
mod told;
mod trace;

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use potluck_protocol::SessionId;
use potluck_protocol::machine::Input;
use potluck_protocol::placement::ModelShape;

use crate::checks::{Checks, Seen};
use crate::host::arithmetic::Arithmetic;
use crate::host::{Host, due, duration};
use crate::network::{Air, Connections};
use crate::random::Random;
use crate::record::{FaultRecord, Record, SessionRecord};
use crate::scenario::Scenario;
use crate::units::Span;
use crate::{Far, Options, RunError};
use ask::Asking;
use pass::OnAir;
use queue::{Event, Queue};
use strike::{Drawing, Strike};
use trace::Trace;

/// How often devices look at battery and heat, as real nodes do.
const SENSE: u64 = 10_000_000;

/// Events between two looks of whoever watches: some ten milliseconds.
const WATCHED_EVERY: u64 = 16_384;
/// So often machines are woken for nothing before a run is over: it would take for ever.
const MOST_WOKEN: u32 = 100;

pub(crate) struct World {
    scenario: Scenario,
    seed: u64,
    now: u64,
    end: u64,
    queue: Queue,
    events: u64,
    hosts: Vec<Host>,
    airs: Vec<Air>,
    connections: Connections,
    /// Pairs that do not hear each other, the smaller number first.
    cuts: BTreeSet<(u32, u32)>,
    /// Pauses between attempts of pairs whose connections do not last.
    pauses: BTreeMap<(u32, u32), u64>,
    model: Rc<ModelShape>,
    arithmetic: Rc<dyn Arithmetic>,
    dialling: Random,
    ids: Random,
    moving: Random,
    asking: Vec<Asking>,
    unasked: u64,
    /// Pending questions and faults, if the run ends when there are none.
    pending: Option<u64>,
    /// How long the run continues when there are none.
    linger: u64,
    strikes: Vec<Strike>,
    drawings: Vec<Drawing>,
    faults: Vec<FaultRecord>,
    woken_for_nothing: u32,
    /// Whether somebody stopped it before its end.
    stopped: bool,
    sessions: Vec<SessionRecord>,
    /// Those that have not ended.
    live: BTreeMap<SessionId, usize>,
    /// All of them.
    indices: BTreeMap<SessionId, usize>,
    checks: Checks,
    trace: Trace,
}

/// Runs a scenario to its end, with a model whose arithmetic is made up, or with this one.
pub(crate) fn run(
    scenario: &Scenario,
    options: &Options,
    arithmetic: Option<Rc<dyn Arithmetic>>,
    goes_on: &mut dyn FnMut(Far) -> bool,
) -> Result<Record, RunError> {
    let mut world = World::new(scenario, options, arithmetic)?;
    world.run(goes_on);
    Ok(world.finish())
}

impl World {
    fn run(&mut self, goes_on: &mut dyn FnMut(Far) -> bool) {
        while let Some((at, event)) = self.queue.pop(self.end) {
            debug_assert!(at >= self.now, "time goes forwards");
            self.now = at;
            self.events += 1;
            self.happen(event);
            if self.woken_for_nothing > MOST_WOKEN {
                self.end = self.now;
                break;
            }
            if self.events.is_multiple_of(WATCHED_EVERY) && !goes_on(self.far()) {
                self.stopped = true;
                self.end = self.now;
            }
            if self.pending == Some(0) && self.live.is_empty() {
                self.pending = None;
                self.end = self.end.min(self.now + self.linger);
            }
        }
        self.now = self.end;
    }

    fn far(&self) -> Far {
        Far {
            now: Span(self.now),
            end: Span(self.end),
            events: self.events,
        }
    }

    /// A pending question or fault is over.
    fn came(&mut self) {
        if let Some(pending) = &mut self.pending {
            *pending = pending.saturating_sub(1);
        }
    }

    /// A question or fault is pending.
    fn expects(&mut self) {
        if let Some(pending) = &mut self.pending {
            *pending += 1;
        }
    }

    fn at(&mut self, at: u64, event: Event) {
        if matches!(event, Event::Ask(_) | Event::Strike(_)) {
            self.expects();
        }
        self.queue.push(at.max(self.now), event);
    }

    fn after(&mut self, micros: u64, event: Event) {
        self.at(self.now + micros, event);
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Wake(host) => self.wake(host),
            Event::Arrive(connection, side) => self.arrive(connection, side.into()),
            Event::Air(network) => self.air_is_free(OnAir::Shared(network)),
            Event::PairAir(connection) => self.air_is_free(OnAir::Pair(connection)),
            Event::Window(connection, side) => self.window_opens(connection, side.into()),
            Event::Done(host, number) => self.done(host, number),
            Event::Stored(host, number) => self.stored(host, number),
            Event::Release(host) => self.release(host),
            Event::Dial(a, b) => self.dial(a, b),
            Event::Up(a, b) => self.connect(a, b),
            Event::Closed(connection, side) => self.closed(connection, side.into()),
            Event::Resume(connection) => self.resume(connection),
            Event::Ask(asking) => {
                self.came();
                self.ask(asking as usize);
            }
            Event::Strike(strike) => {
                self.came();
                self.strike(strike as usize);
            }
            Event::Draw(drawing) => self.draw(drawing as usize),
            Event::Move(host) => self.moves(host),
            Event::Sense(host) => self.sense(host),
            Event::Suspend(host, incarnation) => self.suspend(host, incarnation),
            Event::Sample => self.sample(),
        }
    }

    fn host(&mut self, host: u32) -> &mut Host {
        &mut self.hosts[host as usize]
    }

    /// Continues after an input to a host's machine.
    fn settle(&mut self, host: u32) {
        loop {
            while let Some(output) = self
                .host(host)
                .machine
                .as_mut()
                .and_then(|machine| machine.poll_output())
            {
                self.act(host, output);
            }
            if !self.read_on(host) {
                break;
            }
        }
        self.arm(host);
    }

    /// Tells a host's machine something, if its program runs, and does what it wants done.
    fn tell(&mut self, host: u32, input: Input) {
        let now = duration(self.now);
        let to = self.host(host);
        if to.runs()
            && let Some(machine) = &mut to.machine
        {
            machine.handle_input(now, input);
            self.settle(host);
        }
    }

    /// Sees to it that a host is woken when its machine is due.
    fn arm(&mut self, host: u32) {
        let now = self.now;
        let of = self.host(host);
        if !of.runs() {
            return;
        }
        let Some(due) = of.machine.as_ref().and_then(|machine| due(machine)) else {
            return;
        };
        let due = due.max(now);
        if of.wakes_at.is_none_or(|at| due < at) {
            of.wakes_at = Some(due);
            self.at(due, Event::Wake(host));
        }
    }

    fn wake(&mut self, host: u32) {
        let now = self.now;
        let of = self.host(host);
        if of.wakes_at != Some(now) {
            return;
        }
        of.wakes_at = None;
        if !of.runs() {
            return;
        }
        let Some(machine) = &mut of.machine else {
            return;
        };
        if due(machine).is_some_and(|due| due <= now) {
            machine.handle_timeout(duration(now));
            let again = due(machine).is_some_and(|due| due <= now);
            self.trace.event(now, 1, u64::from(host));
            if again {
                // It would be woken for ever at this moment.
                self.see(Seen::WokenForNothing { host });
                self.woken_for_nothing += 1;
                self.host(host).wakes_at = Some(now + 1_000);
                self.after(1_000, Event::Wake(host));
            }
        }
        self.settle(host);
    }

    /// Lets the checkers see something.
    fn see(&mut self, seen: Seen) {
        self.checks.see(self.now, &seen);
    }

    fn sense(&mut self, host: u32) {
        self.after(SENSE, Event::Sense(host));
        let now = self.now;
        let of = self.host(host);
        of.body.pass(now);
        if of.body.setting.powered && of.body.is_empty() {
            self.power_off(host);
            return;
        }
        self.tell_profile(host, false);
    }

    /// Gives a host's machine its device's profile, if that has changed or `always`.
    fn tell_profile(&mut self, host: u32, always: bool) {
        let now = self.now;
        let of = self.host(host);
        of.body.pass(now);
        // A device that is about to stop no longer measures itself: a profile would make it willing again.
        if !of.runs() || (!always && (of.in_background || of.body.setting.in_call)) {
            return;
        }
        let told = of.told.as_ref();
        let (power, thermal) = (of.body.power(), of.body.thermal());
        let same = told.is_some_and(|t| t.power.value == power && t.thermal.value == thermal);
        if same && !always {
            return;
        }
        let profile = of.profile(now);
        of.told = Some(profile.clone());
        self.tell(host, Input::Profile(profile));
    }

    fn sample(&mut self) {
        let now = self.now;
        self.hosts.iter_mut().for_each(|host| host.sample(now));
        self.airs.iter_mut().for_each(Air::sample);
        self.look_after_progress();
        self.look_for_leftovers();
        let every = self.scenario.series_every().0;
        self.after(every, Event::Sample);
    }
}
