//! A device: the machine that every node is, and the hardware model under it.

pub(crate) mod arithmetic;
mod holdings;
mod keeper;
mod store;
mod talk;
mod work;

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use potluck_protocol::circle::{Circle, Identity};
use potluck_protocol::machine::{Machine, MachineSetup};
use potluck_protocol::profile::{Energy, Measured, OwnerLimits, Profile, Rate};
use potluck_protocol::stage::StageLimits;
use potluck_protocol::{Arithmetic, PeerId, PlanEpoch, SessionId, StageId};

pub(crate) use arithmetic::Fault;
pub(crate) use holdings::Holdings;
pub(crate) use keeper::Keeper;
pub(crate) use store::{MANIFEST, Objects, Store};
pub(crate) use talk::{Heard, Talk};
pub(crate) use work::{Bench, Work};

use crate::device::{Body, Speeds};
use crate::network::ConnectionId;
use crate::record::Sample;

/// Whether a device's program runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    Running,
    /// Suspended: it neither runs nor hears.
    Frozen,
    /// Its program has ended, or it has no power.
    Dead,
}

/// A way to a peer that this device knows of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wire {
    pub(crate) host: u32,
    pub(crate) connection: ConnectionId,
}

/// The members of a circle: hosts, by their PeerIds ascending.
pub(crate) type Members = Rc<Vec<(PeerId, u32)>>;

/// What a machine is made of, again when its program begins anew.
#[derive(Debug)]
pub(crate) struct Origin {
    pub(crate) seed: [u8; 32],
    pub(crate) circle: Rc<Circle>,
    pub(crate) name: potluck_protocol::circle::DeviceName,
    pub(crate) limits: OwnerLimits,
    pub(crate) memory: u64,
    pub(crate) tells_energy: bool,
    /// Times that it is slower than its profile.
    pub(crate) slow: f64,
}

/// A device.
#[derive(Debug)]
pub(crate) struct Host {
    /// Its index.
    pub(crate) number: u32,
    pub(crate) peer: PeerId,
    pub(crate) name: String,
    /// Its name, without the suffix that tells several apart.
    pub(crate) base_name: String,
    pub(crate) circle: String,
    pub(crate) members: Members,
    pub(crate) network: u32,
    pub(crate) origin: Origin,
    /// While its program lives.
    pub(crate) machine: Option<Box<Machine>>,
    pub(crate) life: Life,
    /// Whether it is out of everyone's reach.
    pub(crate) away: bool,
    /// When it first joins.
    pub(crate) joins_at: u64,
    /// How many times its program began: timers of an earlier one are nobody's.
    pub(crate) incarnation: u32,
    /// Peers, with the connections that count.
    pub(crate) wires: Vec<Wire>,
    /// Connections with bytes that were not read.
    pub(crate) unread: Vec<ConnectionId>,
    /// Connections that ended while it was suspended.
    pub(crate) ended: Vec<ConnectionId>,
    /// When it is to be woken; entries of the queue for other times are stale.
    pub(crate) wakes_at: Option<u64>,
    pub(crate) body: Body,
    pub(crate) speeds: Rc<Speeds>,
    pub(crate) bench: Bench,
    pub(crate) holdings: Holdings,
    pub(crate) keeper: Keeper,
    /// What is on its storage, whether or not its program runs.
    pub(crate) store: Store,
    /// When it last kept a piece of weights.
    pub(crate) fetched_at: u64,
    /// The stages that its machine has accepted, and their epochs.
    pub(crate) taken: BTreeMap<StageId, PlanEpoch>,
    pub(crate) talks: BTreeMap<SessionId, Talk>,
    /// How long after it went to the background it is suspended.
    pub(crate) suspended_after: u64,
    pub(crate) in_background: bool,
    /// The profile that it sent last.
    pub(crate) told: Option<Profile>,
    pub(crate) series: Vec<Sample>,
    pub(crate) sent_bytes: u64,
    pub(crate) received_bytes: u64,
}

impl Host {
    /// Begins its program.
    pub(crate) fn begin(&mut self) {
        let origin = &self.origin;
        self.machine = Some(Box::new(Machine::new(MachineSetup {
            identity: Identity::from_seed(&origin.seed),
            circle: Circle::clone(&origin.circle),
            name: origin.name.clone(),
            software: concat!("potluck-sim/", env!("CARGO_PKG_VERSION")).to_owned(),
            stages: StageLimits::default(),
            run: 0,
        })));
        self.life = Life::Running;
        self.incarnation += 1;
        self.wakes_at = None;
        self.told = None;
        self.in_background = false;
        self.bench.end();
        self.keeper.end();
        self.taken.clear();
        self.holdings.clear();
    }

    pub(crate) fn runs(&self) -> bool {
        self.life == Life::Running
    }

    /// The host of a peer of its circle.
    pub(crate) fn member(&self, peer: PeerId) -> Option<u32> {
        let at = self
            .members
            .binary_search_by(|(member, _)| member.cmp(&peer));
        at.ok().map(|at| self.members[at].1)
    }

    /// The connection to a host that counts here.
    pub(crate) fn wire_to(&self, host: u32) -> Option<ConnectionId> {
        let wire = self.wires.iter().find(|wire| wire.host == host);
        wire.map(|wire| wire.connection)
    }

    /// Its profile now: rates as measured when it was cool, as a real node's, and power and heat as its
    /// system reports them.
    pub(crate) fn profile(&self, now: u64) -> Profile {
        let at_us = now;
        let hardware = &self.body.hardware;
        let rate = |per_second: u64| Measured {
            value: Rate::per_second(per_second.max(1)).expect("at least 1"),
            at_us: 0,
        };
        let decode = hardware.decode.iter();
        let decode = decode.map(|(format, speed)| (format.number(), rate(speed.per_second())));
        let measured = |value| Measured { value, at_us: 0 };
        Profile {
            memory_budget_bytes: Measured {
                value: self.origin.memory,
                at_us,
            },
            decode: decode.collect(),
            kv_read: rate(hardware.kv_read.per_second()),
            prefill: Some(rate(hardware.prefill.per_second())),
            stage_overhead: measured(hardware.stage_overhead.duration()),
            energy: self.origin.tells_energy.then(|| Measured {
                value: self.energy(),
                at_us: 0,
            }),
            power: Measured {
                value: self.body.power(),
                at_us,
            },
            thermal: Measured {
                value: self.body.thermal(),
                at_us,
            },
            limits: self.origin.limits,
            leaving: false,
            arithmetic: Arithmetic::CANONICAL_1,
            outdated: false,
        }
    }

    /// What computing takes, in picojoules, from its power at full speed.
    fn energy(&self) -> Energy {
        let hardware = &self.body.hardware;
        let power = hardware.power;
        let fastest = hardware.decode.values().map(|speed| speed.per_second());
        let read = fastest.max().unwrap_or(1) as f64;
        let of = |watts: f64, per_second: f64| (watts * 1e12 / per_second) as u64;
        let sent = |microjoules: f64| (microjoules * 1e6) as u64;
        Energy {
            picojoules_per_byte_read: of(power.compute_watts, read),
            picojoules_per_multiply_add: of(
                power.compute_watts,
                hardware.prefill.per_second() as f64,
            ),
            picojoules_per_byte_sent: sent(power.microjoules_per_byte_sent),
            picojoules_per_byte_received: sent(power.microjoules_per_byte_received),
        }
    }

    /// Its state, for the record.
    pub(crate) fn sample(&mut self, now: u64) {
        self.body.pass(now);
        let (chip_celsius, case_celsius) = self.body.celsius();
        let life = match self.life {
            Life::Dead => crate::record::Life::Dead,
            Life::Frozen => crate::record::Life::Frozen,
            Life::Running if self.away => crate::record::Life::Away,
            Life::Running => crate::record::Life::Running,
        };
        self.series.push(Sample {
            at_us: now,
            life,
            chip_celsius,
            case_celsius,
            speed: self.body.speed(),
            battery: self.body.charge(),
            layers: self.holdings.layers(),
            memory_bytes: self.holdings.bytes(),
            joules: self.body.joules(),
        });
    }
}

/// When a machine wants to be woken, in microseconds, rounded up.
pub(crate) fn due(machine: &Machine) -> Option<u64> {
    machine.poll_timeout().map(|at| {
        let micros = at.as_nanos().div_ceil(1_000);
        u64::try_from(micros).unwrap_or(u64::MAX)
    })
}

/// As the machine counts time.
pub(crate) fn duration(now: u64) -> Duration {
    Duration::from_micros(now)
}
