//! Requests: which user asks what, and when.

use std::rc::Rc;

use potluck_protocol::machine::{Choice, Request};
use potluck_protocol::placement::{Forced, Objective, PlacementOptions};
use potluck_protocol::wire::{Dtype, HiddenShape};
use potluck_protocol::{PeerId, SessionId};

use super::{Event, World};
use crate::baseline::Baseline;
use crate::host::{Host, MANIFEST, Talk, duration};
use crate::random::Random;
use crate::record::{Ending, SessionRecord};
use crate::scenario::{ChoiceSpec, Goal, RequestSpec};

/// Rows of a frame at most, as a real node agrees on.
const MOST_ROWS: u32 = 512;
/// So much later a closed loop tries again whose device does not run.
const AGAIN: u64 = 5_000_000;

/// Questions of one kind, of one device or of any of several.
#[derive(Debug)]
pub(super) struct Asking {
    pub(super) spec: RequestSpec,
    pub(super) whom: Vec<u32>,
    pub(super) random: Random,
    asked: u32,
}

impl Asking {
    pub(super) fn new(spec: RequestSpec, whom: Vec<u32>, random: Random) -> Self {
        Self {
            spec,
            whom,
            random,
            asked: 0,
        }
    }

    /// The time from an answer to the next question, in a closed loop.
    pub(super) fn think(&self) -> Option<u64> {
        self.spec.think.map(|think| think.0)
    }

    /// Whether one more question may be asked now.
    fn may_ask(&self, now: u64) -> bool {
        let times = match (self.spec.every, self.spec.think) {
            (None, None) => Some(1),
            _ => self.spec.times,
        };
        let more = times.is_none_or(|times| self.asked < times);
        more && self.spec.until.is_none_or(|until| now <= until.0)
    }

    /// Until the next one of an open loop.
    fn gap(&mut self) -> Option<u64> {
        let every = self.spec.every?.0;
        let gap = if self.spec.evenly {
            every
        } else {
            self.random.exponential(every)
        };
        Some(gap.max(1))
    }
}

impl World {
    /// Asks a request's next question.
    pub(super) fn ask(&mut self, number: usize) {
        let now = self.now;
        if !self.asking[number].may_ask(now) {
            return;
        }
        let hosts = &self.hosts;
        let asking = &mut self.asking[number];
        asking.asked += 1;
        let runs = |host: &u32| hosts[*host as usize].runs();
        let there: Vec<_> = asking.whom.iter().copied().filter(runs).collect();
        let host = asking.random.one_of(&there);
        let gap = asking.gap();
        let think = asking.think();
        match host {
            Some(host) => self.begin_talk(number, host),
            None => {
                self.unasked += 1;
                if think.is_some() {
                    self.after(AGAIN, Event::Ask(number as u32));
                }
            }
        }
        if let Some(gap) = gap {
            self.after(gap, Event::Ask(number as u32));
        }
    }

    fn begin_talk(&mut self, number: usize, host: u32) {
        let now = self.now;
        let spec = self.asking[number].spec.clone();
        let id = SessionId(self.ids.next());
        let index = self.sessions.len();
        self.sessions.push(SessionRecord {
            id: format!("{:016x}", id.0),
            requester: host as usize,
            model: self.scenario.model.name.clone(),
            asked_at_us: now,
            prompt_rows: spec.prompt,
            wanted_tokens: spec.tokens,
            placements: Vec::new(),
            tokens_at_us: Vec::new(),
            recoveries: Vec::new(),
            waits: Vec::new(),
            ending: Ending::Running,
            ended_at_us: None,
            data_bytes: 0,
        });
        self.live.insert(id, index);
        self.indices.insert(id, index);
        let arithmetic = Rc::clone(&self.arithmetic);
        let rows = (spec.prompt, spec.tokens, spec.guesses);
        let talk = Talk::new(id, (index, number), rows, arithmetic, now);
        self.host(host).talks.insert(id, talk);
        let started = self.request(id, host, &spec).and_then(|request| {
            let machine = self.host(host).machine.as_mut();
            let machine = machine.ok_or("its program does not run")?;
            let started = machine.start(duration(now), request);
            started.map_err(|why| why.to_string())
        });
        if let Err(why) = started {
            self.end_talk(host, id, Ending::Refused(why));
        }
        self.settle(host);
    }

    fn request(&self, id: SessionId, host: u32, spec: &RequestSpec) -> Result<Request, String> {
        if !self.hosts[host as usize].store.whole {
            return Err(
                "embedding and head stay with whoever asks, and this device has none: \
                        give it weights = \"all\""
                    .to_owned(),
            );
        }
        let d_model = self.model.d_model;
        // As many rows as a payload may have, of wide models.
        let most = (potluck_protocol::wire::limits::MAX_PAYLOAD_BYTES / (4 * d_model)).max(1);
        let hidden = HiddenShape::new(d_model, Dtype::F32, MOST_ROWS.min(most));
        let context = spec.context();
        let options = PlacementOptions {
            objective: match spec.objective {
                Goal::Latency => Objective::Latency,
                Goal::Throughput => Objective::Throughput,
                Goal::Energy => Objective::Energy,
            },
            headroom_percent: spec.headroom,
            context,
            positions: context / 2,
            ..PlacementOptions::default()
        };
        Ok(Request {
            id,
            manifest: MANIFEST,
            hidden: hidden.map_err(|why| why.to_string())?,
            model: (*self.model).clone(),
            options,
            choice: match &spec.choice {
                ChoiceSpec::Best => Choice::Best,
                ChoiceSpec::Alone => Choice::Alone,
                ChoiceSpec::Baseline(rule) => Choice::Forced(self.placed(host, *rule, &options)?),
                ChoiceSpec::Forced(text) => Choice::Forced(self.forced(host, text)?),
            },
            // What a run's end finds it waiting for is recorded.
            patience: None,
        })
    }

    /// A placement by a rule, over the devices that the requester knows now.
    fn placed(
        &self,
        host: u32,
        rule: Baseline,
        options: &PlacementOptions,
    ) -> Result<Forced, String> {
        let machine = self.hosts[host as usize].machine.as_ref();
        let devices = machine.ok_or("its program does not run")?.devices();
        let placed = rule.place(&devices, &self.model, options);
        let placed = placed.map_err(|why| why.to_string())?;
        let mut next = 0;
        let stage = |(name, (_, layers)): (usize, &(PeerId, u32))| {
            let first = next;
            next += layers;
            format!("{name}:{first}..{next}")
        };
        // A rule over all devices names none of them.
        let others = std::iter::once("*".to_owned());
        let stages = placed.iter().enumerate().map(stage);
        let text: Vec<_> = stages.chain(others).collect();
        let lookup = |name: &str| Some(placed.get(name.parse::<usize>().ok()?)?.0);
        Forced::parse(&text.join(","), next, lookup).map_err(|why| why.to_string())
    }

    /// A written placement; names are those of the requester's circle.
    fn forced(&self, host: u32, text: &str) -> Result<Forced, String> {
        let of = &self.hosts[host as usize];
        let named = |other: &Host, name: &str| {
            let plain = other.name.rsplit('/').next().unwrap_or_default();
            other.name == name || plain == name
        };
        let lookup = |name: &str| {
            if name == "self" {
                return Some(of.peer);
            }
            let members = of.members.iter();
            let mut members = members.map(|&(_, member)| &self.hosts[member as usize]);
            members.find(|other| named(other, name)).map(|o| o.peer)
        };
        let layers = self.model.layers.len() as u32;
        Forced::parse(text, layers, lookup).map_err(|why| why.to_string())
    }
}
