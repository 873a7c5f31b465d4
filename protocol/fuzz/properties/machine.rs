//! Three machines of one circle that ask each other for sessions, over wires that cut, change and
//! repeat what they carry, with whatever a driver may say: none panics, each goes on.
//!
//! A step of the input is a byte that says what, a byte of detail, and sometimes more.

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroU32;
use std::time::Duration;

use potluck_protocol::circle::{Circle, DeviceName, Identity};
use potluck_protocol::machine::{
    Choice, Event, Input, LoadRefused, Machine, MachineSetup, Output, Reach, Request,
};
use potluck_protocol::placement::{LayerShape, ModelShape, PlacementOptions, Weights};
use potluck_protocol::profile::{
    Measured, OwnerLimits, Power, Profile, Quantisation, Rate, Thermal,
};
use potluck_protocol::session::SessionEvent;
use potluck_protocol::stage::{StageLimits, Step};
use potluck_protocol::transfer::{Kept, Lacking, Missing, Part, StoreAnswer, StoreOrder};
use potluck_protocol::wire::{
    Answer, ContentHash, Dtype, HandOverReason, HiddenShape, ModelOffer, ShardRefusedCode,
    StageRefusedCode,
};
use potluck_protocol::{Arithmetic, LayerRange, PeerId, SessionId};

const NODES: usize = 3;
const D_MODEL: u32 = 2;
const SESSION: SessionId = SessionId(1);

fn identity(node: usize) -> Identity {
    Identity::from_seed(&[node as u8 + 1; 32])
}

fn name() -> DeviceName {
    DeviceName::new("device").expect("a name")
}

fn profile(budget: u64, bytes_per_s: u64) -> Profile {
    fn measured<T>(value: T) -> Measured<T> {
        Measured { value, at_us: 0 }
    }
    let rate = Rate::per_second(bytes_per_s.max(1)).expect("above 0");
    Profile {
        memory_budget_bytes: measured(budget),
        decode: BTreeMap::from([(Quantisation(2), measured(rate))]),
        kv_read: measured(rate),
        prefill: None,
        stage_overhead: measured(Duration::ZERO),
        energy: None,
        power: measured(Power::Mains),
        thermal: measured(Thermal::Nominal),
        limits: OwnerLimits::default(),
        leaving: false,
        arithmetic: Arithmetic::CANONICAL_1,
        outdated: false,
    }
}

fn request() -> Request {
    let weights = vec![Weights {
        quantisation: Quantisation(2),
        bytes: 1_000,
    }];
    let layer = LayerShape {
        weights: weights.clone(),
        multiply_adds: 1_000,
        kv_bytes_per_position: 8,
        window: None,
        most_kv_positions: None,
    };
    Request {
        id: SESSION,
        manifest: ContentHash([7; 32]),
        hidden: HiddenShape::new(D_MODEL, Dtype::F32, 16).expect("small"),
        model: ModelShape {
            layers: vec![layer; 4],
            d_model: D_MODEL,
            embedding_bytes: 100,
            embedding_row_bytes: 8,
            head: weights,
            head_multiply_adds: 1_000,
            head_is_embedding: true,
        },
        options: PlacementOptions {
            context: 64,
            rows_per_step: NonZeroU32::MIN,
            ..PlacementOptions::default()
        },
        choice: Choice::Best,
        patience: None,
    }
}

/// A machine and what its driver remembers.
struct Node {
    machine: Machine,
    loads: VecDeque<Input>,
    steps: VecDeque<Step>,
    orders: VecDeque<StoreOrder>,
    /// The next row of its session.
    next: u32,
}

/// Of which stream bytes are.
#[derive(Clone, Copy)]
enum Stream {
    Control,
    Data,
    Transfer,
}

impl Stream {
    fn input(self, from: PeerId, bytes: Vec<u8>) -> Input {
        match self {
            Self::Control => Input::ControlBytes(from, bytes),
            Self::Data => Input::DataBytes(from, bytes),
            Self::Transfer => Input::TransferBytes(from, bytes),
        }
    }
}

/// What is on its way: to whom, from whom, on which stream.
type Wire = VecDeque<(usize, PeerId, Stream, Vec<u8>)>;

impl Node {
    fn new(node: usize, circle: &Circle) -> Self {
        let machine = Machine::new(MachineSetup {
            identity: identity(node),
            circle: circle.clone(),
            name: name(),
            software: "fuzz".to_owned(),
            stages: StageLimits::default(),
            run: 0,
        });
        Self {
            machine,
            loads: VecDeque::new(),
            steps: VecDeque::new(),
            orders: VecDeque::new(),
            next: 0,
        }
    }

    fn drain(&mut self, me: PeerId, peers: &[PeerId; NODES], wire: &mut Wire) {
        let index = |peer| peers.iter().position(|other| *other == peer);
        while let Some(output) = self.machine.poll_output() {
            match output {
                Output::SendControl(to, bytes) => {
                    wire.extend(index(to).map(|to| (to, me, Stream::Control, bytes)));
                }
                Output::SendData(to, bytes) => {
                    wire.extend(index(to).map(|to| (to, me, Stream::Data, bytes)));
                }
                Output::SendTransfer(to, bytes) => {
                    wire.extend(index(to).map(|to| (to, me, Stream::Transfer, bytes)));
                }
                Output::Store(order) => self.orders.push_back(order),
                Output::Load(load) => self.loads.push_back(Input::Loaded {
                    stage: load.stage,
                    epoch: load.epoch,
                    result: Ok(()),
                }),
                Output::Compute(step) => {
                    assert!(self.steps.is_empty(), "one step at a time");
                    self.steps.push_back(step);
                }
                Output::Event(Event::Session(_, SessionEvent::Ready { from, .. })) => {
                    self.next = from;
                }
                Output::Disconnect(_)
                | Output::SendPairing(..)
                | Output::ClosePairing(_)
                | Output::Free(_)
                | Output::CircleChanged
                | Output::PeerAddresses(..)
                | Output::Event(_) => {}
            }
        }
    }

    /// What its device does next: a load ends, or a step.
    fn compute(&mut self, now: Duration, fails: bool, detail: u8) {
        let input = match (self.loads.pop_front(), self.steps.pop_front()) {
            (Some(Input::Loaded { stage, epoch, .. }), None) if fails => Input::Loaded {
                stage,
                epoch,
                result: Err(LoadRefused {
                    code: if detail & 1 == 0 {
                        StageRefusedCode::Memory
                    } else {
                        StageRefusedCode::NoWeights
                    },
                    words: "full".to_owned(),
                    available_bytes: 1 << 30,
                }),
            },
            (Some(loaded), step) => {
                self.steps.extend(step);
                loaded
            }
            (None, Some(step)) => Input::Computed {
                number: step.number,
                hidden: step.parts.into_iter().map(|part| part.hidden).collect(),
            },
            (None, None) => return,
        };
        self.machine.handle_input(now, input);
    }

    /// What its store does next.
    fn store(&mut self, now: Duration, detail: u8) {
        let order = self.orders.pop_front();
        if let Some(answer) = order.and_then(|order| stored(order, detail)) {
            self.machine.handle_input(now, Input::Stored(answer));
        }
    }
}

/// What may come of an order.
fn stored(order: StoreOrder, detail: u8) -> Option<StoreAnswer> {
    let kept = match detail & 15 {
        0 => Kept::Failed("full".to_owned()),
        1 => Kept::Corrupt,
        _ => Kept::Kept,
    };
    Some(match order {
        StoreOrder::Tell { to, manifest } => StoreAnswer::Has {
            to,
            offer: ModelOffer {
                manifest,
                layers: LayerRange::new(0, 1 + u32::from(detail & 3))
                    .into_iter()
                    .collect(),
                ends: true,
                manifest_bytes: u64::from(detail) + 1,
            },
        },
        StoreOrder::Prepare { manifest, .. } => StoreAnswer::Prepared {
            manifest,
            result: match detail & 3 {
                0 => Err("full".to_owned()),
                1 => Ok(Missing::Manifest),
                _ => Ok(Missing::Pieces(vec![Lacking {
                    content: ContentHash([detail; 32]),
                    part: Part::Layer(u32::from(detail & 4)),
                    bytes: u64::from(detail),
                    missing: vec![0, u32::from(detail & 1)],
                }])),
            },
        },
        StoreOrder::KeepManifest { manifest, .. } => StoreAnswer::ManifestKept { manifest, kept },
        StoreOrder::Keep {
            manifest,
            content,
            piece,
            ..
        } => StoreAnswer::Kept {
            manifest,
            content,
            piece,
            kept,
        },
        StoreOrder::Read { to, id, range, .. } => StoreAnswer::Read {
            to,
            id,
            result: match detail & 7 {
                0 => Err(ShardRefusedCode::NotHere),
                _ => Ok(vec![detail; range.bytes() as usize]),
            },
        },
        StoreOrder::End { .. } => return None,
    })
}

/// Hands over what is next on the wire, as the step wants it.
fn carry(nodes: &mut [Node], now: Duration, wire: &mut Wire, what: u8, detail: u8) {
    let Some((to, from, stream, mut bytes)) = wire.pop_front() else {
        return;
    };
    match what & 7 {
        // Lost, changed, repeated, cut; mostly as it is.
        0 => return,
        1 => {
            let at = usize::from(detail) % bytes.len().max(1);
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= detail | 1;
            }
        }
        2 => wire.push_back((to, from, stream, bytes.clone())),
        3 => {
            let rest = bytes.split_off(usize::from(detail).min(bytes.len()));
            wire.push_front((to, from, stream, rest));
        }
        _ => {}
    }
    let input = stream.input(from, bytes);
    nodes[to].machine.handle_input(now, input);
}

fn connect(nodes: &mut [Node], now: Duration, peers: &[PeerId; NODES], a: usize, b: usize) {
    if a != b {
        for (at, of) in [(a, b), (b, a)] {
            nodes[at]
                .machine
                .handle_input(now, Input::Connected(peers[of]));
        }
    }
}

/// What a node's owner does.
fn own(node: &mut Node, now: Duration, what: u8, detail: u8, peers: &[PeerId; NODES]) {
    let machine = &mut node.machine;
    let rows = 1 + u32::from(detail % 4);
    match what & 7 {
        0 => {
            machine.find_weights(now, request().manifest);
            let _ = machine.start(now, request());
        }
        1..4 => {
            let hidden = vec![0; (rows * 4 * D_MODEL) as usize];
            let next = node.next;
            let submitted = machine.submit(now, SESSION, next, rows, Answer::LastRow, hidden);
            if submitted.is_ok() {
                node.next += rows;
            }
        }
        4 => {
            let position = node.next.min(u32::from(detail));
            machine.roll_back(now, SESSION, position);
            node.next = position;
        }
        5 => {
            let profile = profile(u64::from(detail) * 100, u64::from(detail) * 1_000);
            machine.handle_input(now, Input::Profile(profile));
        }
        6 if detail < 200 => machine.finish(now, SESSION),
        6 => {
            let reach = if detail & 1 == 0 {
                Reach::Alone
            } else {
                Reach::WithAdmitted
            };
            let _ = machine.revoke(now, peers[usize::from(detail) % NODES], reach);
        }
        _ => machine.handle_input(
            now,
            Input::HandOver {
                reason: HandOverReason::Owner,
                within: Duration::from_secs(u64::from(detail)),
            },
        ),
    }
}

/// Panics on an input that violates the property.
pub(super) fn check(input: &[u8]) {
    let peers: [PeerId; NODES] = std::array::from_fn(|node| identity(node).peer_id());
    let mut circle = Circle::found(&identity(0), &name(), [0; 16]);
    for peer in &peers[1..] {
        circle
            .admit(&identity(0), *peer, &name())
            .expect("there is room");
    }
    let mut nodes: Vec<_> = (0..NODES).map(|node| Node::new(node, &circle)).collect();
    let (mut now, mut wire) = (Duration::from_secs(1), Wire::new());
    for (node, budget) in nodes.iter_mut().zip([2_000, 4_000, 20_000]) {
        let profile = Input::Profile(profile(budget, budget));
        node.machine.handle_input(now, profile);
    }

    let mut rest = input;
    while let [what, detail, tail @ ..] = rest {
        rest = tail;
        let node = usize::from(*detail) % NODES;
        match what >> 5 {
            0 => connect(&mut nodes, now, &peers, node, usize::from(what & 7) % NODES),
            1 => {
                now += Duration::from_millis(u64::from(*detail) * u64::from(1 + (what & 31)));
                for node in &mut nodes {
                    node.machine.handle_timeout(now);
                    let due = node.machine.poll_timeout();
                    assert!(due.is_none_or(|due| due > now), "it wakes for nothing");
                }
            }
            2 => own(&mut nodes[node], now, *what, *detail, &peers),
            3 if what & 16 == 0 => nodes[node].compute(now, what & 7 == 0, *detail),
            3 => nodes[node].store(now, *detail),
            4 => {
                let length = usize::from(what & 31).min(rest.len());
                let (bytes, tail) = rest.split_at(length);
                rest = tail;
                let from = peers[(node + 1) % NODES];
                let bytes = bytes.to_vec();
                let stream = match detail >> 6 {
                    0 | 1 => Stream::Control,
                    2 => Stream::Data,
                    _ => Stream::Transfer,
                };
                nodes[node]
                    .machine
                    .handle_input(now, stream.input(from, bytes));
            }
            _ => carry(&mut nodes, now, &mut wire, *what, *detail),
        }
        for (node, me) in nodes.iter_mut().zip(peers) {
            node.drain(me, &peers, &mut wire);
        }
        // A wire holds no more than what a second brings.
        wire.truncate(4_096);
    }

    for node in &mut nodes {
        node.machine.finish(now, SESSION);
        assert!(node.machine.devices().profiles.len() <= NODES);
    }
}
