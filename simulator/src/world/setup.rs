//! Builds a world from a scenario.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use potluck_protocol::circle::{Circle, DeviceName, Identity, MAX_MEMBERS};
use potluck_protocol::made_up::mix;
use potluck_protocol::placement::ModelShape;
use potluck_protocol::profile::OwnerLimits;

use super::ask::Asking;
use super::queue::{Event, Queue};
use super::strike::{Drawing, Strike};
use super::trace::Trace;
use super::{SENSE, World};
use crate::checks::Checks;
use crate::device::{Body, Setting, Speeds};
use crate::host::arithmetic::{Arithmetic, MadeUp};
use crate::host::{Bench, Holdings, Host, Keeper, Life, Members, Objects, Origin, Store};
use crate::network::{Air, Connections};
use crate::profiles::{self, Hardware};
use crate::random::{Purpose, Random};
use crate::scenario::{DeviceSpec, FaultKind, Goal, Scenario, ScenarioError, Weights};
use crate::{Options, RunError};

/// All devices' first attempts to connect are within this.
const FIRST_DIALS: u64 = 500_000;

/// What is known when hosts are made.
struct Making<'a> {
    scenario: &'a Scenario,
    seed: u64,
    model: Rc<ModelShape>,
    objects: Rc<Objects>,
    hardware: BTreeMap<String, (Rc<Hardware>, Rc<Speeds>)>,
    airs: Vec<Air>,
    /// Networks by their specification, and the copy of a circle that has it to itself.
    networks: BTreeMap<(usize, String, u32), u32>,
    hosts: Vec<Host>,
    /// Of each host, the number of its circle.
    circles: Vec<u32>,
    tells_energy: bool,
}

impl World {
    pub(super) fn new(
        scenario: &Scenario,
        options: &Options,
        arithmetic: Option<Rc<dyn Arithmetic>>,
    ) -> Result<Self, RunError> {
        scenario.check()?;
        let seed = options.seed.unwrap_or(scenario.seed);
        let requests = scenario.requests();
        let by_energy = |spec: &crate::scenario::RequestSpec| spec.objective == Goal::Energy;
        let model = Rc::new(scenario.model.shape()?);
        let mut making = Making {
            scenario,
            seed,
            objects: Rc::new(Objects::of(&model)),
            model,
            hardware: BTreeMap::new(),
            airs: Vec::new(),
            networks: BTreeMap::new(),
            hosts: Vec::new(),
            circles: Vec::new(),
            tells_energy: requests.iter().any(by_energy),
        };
        making.make_circles()?;
        making.name_hotspots()?;
        let checks = Checks::new(scenario.checks.clone(), making.circles);
        let mut world = Self {
            scenario: scenario.clone(),
            seed,
            now: 0,
            end: scenario.duration.0,
            queue: Queue::default(),
            events: 0,
            hosts: making.hosts,
            airs: making.airs,
            connections: Connections::default(),
            cuts: BTreeSet::new(),
            pauses: BTreeMap::new(),
            arithmetic: arithmetic.unwrap_or_else(|| made_up(&making.model)),
            model: making.model,
            dialling: Random::new(seed, Purpose::Dial, 0),
            ids: Random::new(seed, Purpose::Session, 0),
            moving: Random::new(seed, Purpose::Mobility, 0),
            asking: Vec::new(),
            unasked: 0,
            pending: options.until_answered.then_some(0),
            linger: options.linger.0,
            strikes: Vec::new(),
            drawings: Vec::new(),
            faults: Vec::new(),
            woken_for_nothing: 0,
            stopped: false,
            sessions: Vec::new(),
            live: BTreeMap::new(),
            indices: BTreeMap::new(),
            checks,
            trace: Trace::new(options.trace),
        };
        world.begin_hosts();
        world.plan_requests();
        world.plan_faults();
        world.plan_mobility();
        let every = scenario.series_every().0;
        world.at(every, Event::Sample);
        Ok(world)
    }

    fn begin_hosts(&mut self) {
        let count = self.hosts.len() as u32;
        for host in 0..count {
            self.host(host).begin();
            self.tell_profile(host, true);
            // Not all at the same moment.
            let first = SENSE / u64::from(count) * u64::from(host);
            self.at(SENSE + first, Event::Sense(host));
        }
        for a in 0..count {
            let members = self.host(a).members.clone();
            for &(_, b) in members.iter().filter(|(_, b)| *b > a) {
                let at = self.dialling.below(FIRST_DIALS);
                self.at(at, Event::Dial(a, b));
            }
        }
    }

    fn plan_requests(&mut self) {
        let seed = self.seed;
        for spec in self.scenario.requests() {
            let whom = self.whom(&spec.who);
            let groups: Vec<Vec<u32>> = if spec.who == "each" {
                whom.into_iter().map(|host| vec![host]).collect()
            } else {
                vec![whom]
            };
            for whom in groups {
                let number = self.asking.len() as u32;
                let random = Random::new(seed, Purpose::Request, u64::from(number));
                let at = spec.at.0;
                self.asking.push(Asking::new(spec.clone(), whom, random));
                self.at(at, Event::Ask(number));
            }
        }
    }

    fn plan_faults(&mut self) {
        for spec in self.scenario.faults.clone() {
            let strike = Strike {
                kind: spec.kind,
                hosts: self.whom(&spec.who),
                any: spec.who == "any",
                others: spec.other.map_or_else(Vec::new, |other| self.whom(&other)),
                times: spec.times.unwrap_or(1.0),
                lasts: spec.lasts.map(|lasts| lasts.0),
            };
            self.strike_later(spec.at.0, strike);
        }
        let Some(faults) = self.scenario.random_faults.clone() else {
            return;
        };
        let asks = self.requesters();
        let until = faults.until.map_or(self.end, |until| until.0);
        for (kind, every) in faults.rates() {
            let ends = matches!(kind, FaultKind::Kill | FaultKind::PowerOff);
            for host in 0..self.hosts.len() as u32 {
                if faults.requesters_live && ends && asks.contains(&host) {
                    continue;
                }
                let purpose = (kind as u64) << 32 | u64::from(host);
                let mut random = Random::new(self.seed, Purpose::Fault, purpose);
                let first = random.exponential(every.0);
                self.drawings.push(Drawing {
                    kind,
                    host,
                    every,
                    lasts: faults.lasts,
                    until,
                    random,
                });
                let number = self.drawings.len() as u32 - 1;
                self.at(first, Event::Draw(number));
            }
        }
    }

    fn plan_mobility(&mut self) {
        let joining: Vec<_> = self.hosts.iter().filter(|host| host.joins_at > 0).collect();
        let joining: Vec<_> = joining.iter().map(|h| (h.number, h.joins_at)).collect();
        for (host, joins_at) in joining {
            let strike = Strike {
                kind: FaultKind::Join,
                hosts: vec![host],
                any: false,
                others: Vec::new(),
                times: 1.0,
                lasts: None,
            };
            self.strike_later(joins_at, strike);
        }
        let Some(mobility) = self.scenario.mobility.clone() else {
            return;
        };
        let asks = self.requesters();
        for host in self.whom(&mobility.who) {
            if !(mobility.requesters_stay && asks.contains(&host)) {
                let (least, most) = (mobility.stays_least.0, mobility.stays_most.0);
                let stays = self.moving.heavy_tailed(least, most);
                self.at(stays, Event::Move(host));
            }
        }
    }

    fn requesters(&self) -> BTreeSet<u32> {
        let asking = self.asking.iter();
        asking
            .flat_map(|asking| asking.whom.iter().copied())
            .collect()
    }

    /// The hosts that a scenario calls so.
    fn whom(&self, who: &str) -> Vec<u32> {
        let named = |matches: &dyn Fn(&Host) -> bool| -> Vec<u32> {
            let hosts = self.hosts.iter().filter(|host| matches(host));
            hosts.map(|host| host.number).collect()
        };
        match who {
            "first" => vec![0],
            "any" | "each" => named(&|_| true),
            who => {
                let exactly = named(&|host| host.name == who);
                if !exactly.is_empty() {
                    return exactly;
                }
                named(&|host| host.circle == who || host.base_name == who)
            }
        }
    }
}

fn made_up(model: &ModelShape) -> Rc<dyn Arithmetic> {
    Rc::new(MadeUp {
        layers: model.layers.len() as u32,
        row_bytes: 4 * model.d_model as usize,
    })
}

impl Making<'_> {
    fn make_circles(&mut self) -> Result<(), RunError> {
        let mut names: Vec<&str> = Vec::new();
        for device in &self.scenario.devices {
            if !names.contains(&device.circle.as_str()) {
                names.push(&device.circle);
            }
        }
        let mut circle_number = 0;
        for name in names {
            let copies = self.scenario.circle(name).copies;
            for copy in 0..copies {
                self.make_circle(name, copy, copies, circle_number)?;
                circle_number += 1;
            }
        }
        Ok(())
    }

    fn make_circle(
        &mut self,
        name: &str,
        copy: u32,
        copies: u32,
        circle_number: u32,
    ) -> Result<(), RunError> {
        let first = self.hosts.len();
        let specs = self.scenario.devices.iter().enumerate();
        let specs: Vec<_> = specs.filter(|(_, spec)| spec.circle == name).collect();
        let size: u64 = specs.iter().map(|(_, spec)| u64::from(spec.count)).sum();
        if size > MAX_MEMBERS as u64 {
            let words = format!(
                "circle {name:?} has {size} devices, and {MAX_MEMBERS} may be paired: give the \
                 circle copies instead"
            );
            let (at, _) = specs[0];
            return Err(ScenarioError::senseless("device", at, "count", words).into());
        }
        for (_, spec) in specs {
            for number in 0..spec.count {
                let mut called = spec.base_name().to_owned();
                if number > 0 {
                    called = format!("{called}#{}", number + 1);
                }
                if copies > 1 {
                    called = format!("{}/{called}", copy + 1);
                }
                let network = self.network_of(spec, copy, copies);
                let host = self.make_host(spec, called, network)?;
                self.hosts.push(host);
                self.circles.push(circle_number);
            }
        }
        self.pair(first, circle_number);
        Ok(())
    }

    /// Pairs the hosts from `first` on.
    fn pair(&mut self, first: usize, circle_number: u32) {
        let hosts = &mut self.hosts[first..];
        let founder = Identity::from_seed(&hosts[0].origin.seed);
        let nonce = u128::from(mix(self.seed, circle_number.into())).to_le_bytes();
        let mut circle = Circle::found(&founder, &hosts[0].origin.name, nonce);
        for host in &hosts[1..] {
            let admitted = circle.admit(&founder, host.peer, &host.origin.name);
            admitted.expect("the circle's size was checked");
        }
        let mut members: Vec<_> = hosts.iter().map(|host| (host.peer, host.number)).collect();
        members.sort_unstable();
        let (members, circle): (Members, _) = (Rc::new(members), Rc::new(circle));
        for host in hosts {
            host.members = Rc::clone(&members);
            host.origin.circle = Rc::clone(&circle);
        }
    }

    fn network_of(&mut self, spec: &DeviceSpec, copy: u32, copies: u32) -> u32 {
        let networks = self.scenario.networks();
        let named = |name: &String| networks.iter().position(|network| network.name == *name);
        let at = spec.network.as_ref().and_then(named).unwrap_or(0);
        let own = copies > 1 && !self.scenario.circle(&spec.circle).shared_networks;
        let (circle, copy) = if own {
            (spec.circle.clone(), copy + 1)
        } else {
            (String::new(), 0)
        };
        let airs = &mut self.airs;
        let seed = self.seed;
        let entry = self.networks.entry((at, circle, copy));
        *entry.or_insert_with(|| {
            let network = networks[at].clone();
            let name = match copy {
                0 => network.name.clone(),
                copy => format!("{copy}/{}", network.name),
            };
            let number = airs.len();
            airs.push(Air::new(seed, number, name, network));
            number as u32
        })
    }

    /// What a host's key is made of.
    fn key_seed(&self, number: u32) -> [u8; 32] {
        let word = |i: u64| mix(mix(self.seed, u64::from(number)), i).to_le_bytes();
        let mut seed = [0; 32];
        for (i, bytes) in (0..).zip(seed.as_chunks_mut::<8>().0) {
            *bytes = word(i);
        }
        seed
    }

    fn make_host(
        &mut self,
        spec: &DeviceSpec,
        name: String,
        network: u32,
    ) -> Result<Host, RunError> {
        let (hardware, speeds) = self.hardware_of(&spec.profile)?;
        let number = self.hosts.len() as u32;
        let seed = self.key_seed(number);
        let identity = Identity::from_seed(&seed);
        let called = DeviceName::new(&name).or_else(|_| DeviceName::new(&number.to_string()));
        let called = called.expect("a number is a name");
        let setting = Setting {
            ambient: self.scenario.ambient,
            slow: spec.slow,
            heated: false,
            in_call: false,
            charging: spec.charging,
            awake: true,
            powered: true,
        };
        let celsius = spec.celsius.unwrap_or(self.scenario.ambient);
        let memory = spec.memory.unwrap_or(hardware.memory).0;
        let alone = Circle::found(&identity, &called, [0; 16]);
        Ok(Host {
            number,
            peer: identity.peer_id(),
            base_name: spec.base_name().to_owned(),
            name,
            circle: spec.circle.clone(),
            members: Rc::default(),
            network,
            origin: Origin {
                seed,
                circle: Rc::new(alone),
                name: called,
                limits: OwnerLimits {
                    only_when_charging: spec.only_when_charging,
                    min_battery_percent: spec.min_battery,
                },
                memory,
                tells_energy: spec.tells_energy.unwrap_or(self.tells_energy),
                slow: spec.slow,
            },
            machine: None,
            life: Life::Running,
            away: spec.joins_at.0 > 0,
            joins_at: spec.joins_at.0,
            incarnation: 0,
            wires: Vec::new(),
            unread: Vec::new(),
            ended: Vec::new(),
            wakes_at: None,
            body: Body::new(hardware, setting, celsius, spec.battery.unwrap_or(100.0)),
            speeds,
            bench: Bench::default(),
            holdings: Holdings::default(),
            keeper: Keeper::default(),
            store: Store::new(&self.objects, spec.weights == Weights::All, spec.storage.0),
            fetched_at: 0,
            taken: BTreeMap::new(),
            talks: BTreeMap::new(),
            suspended_after: spec.suspended_after.0,
            in_background: false,
            told: None,
            series: Vec::new(),
            sent_bytes: 0,
            received_bytes: 0,
        })
    }

    fn hardware_of(&mut self, profile: &str) -> Result<(Rc<Hardware>, Rc<Speeds>), RunError> {
        if let Some(known) = self.hardware.get(profile) {
            return Ok(known.clone());
        }
        let hardware = profiles::load(profile)?;
        let speeds = Speeds::new(&hardware, &self.model, self.scenario.model.queries());
        let both = (Rc::new(hardware), Rc::new(speeds));
        self.hardware.insert(profile.to_owned(), both.clone());
        Ok(both)
    }

    fn name_hotspots(&mut self) -> Result<(), ScenarioError> {
        for (number, air) in self.airs.iter_mut().enumerate() {
            let Some(name) = &air.spec.hotspot else {
                continue;
            };
            let here = self
                .hosts
                .iter()
                .filter(|host| host.network as usize == number);
            let mut named = here.filter(|host| host.name == *name || host.base_name == *name);
            let Some(host) = named.next() else {
                let words = format!("no device on this network is called {name:?}");
                let networks = &self.scenario.networks;
                let at = networks.iter().position(|spec| spec.name == air.spec.name);
                let at = at.unwrap_or(0);
                return Err(ScenarioError::senseless("network", at, "hotspot", words));
            };
            air.hotspot = Some(host.number);
        }
        Ok(())
    }
}
