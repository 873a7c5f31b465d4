//! A node of the world that is a whole machine, with its owner's conversations.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::shelf::Shelf;
use super::talk::Talk;
use crate::circle::{Circle, DeviceName, Identity};
use crate::machine::{Choice, Event, Input, LoadRefused, Machine, MachineSetup, Output, Request};
use crate::pairing::{self, Address};
use crate::placement::{LayerShape, ModelShape, PlacementOptions, Weights};
use crate::profile::Quantisation;
use crate::profile::tests::profile;
use crate::stage::StageLimits;
use crate::wire::{Dtype, HiddenShape, StageRefusedCode};
use crate::world::{Act, Arrival, LAYERS, Node, Stream, World};
use crate::{LayerRange, PeerId, PlanEpoch, SessionId, StageId};

pub(super) const MIB: u64 = 1 << 20;
pub(super) const CONTEXT: u32 = 512;

pub(super) type Devices = World<Device>;

pub(super) struct Device {
    pub(super) machine: Machine,
    /// All but those of sessions.
    pub(super) events: VecDeque<Event>,
    pub(super) talks: BTreeMap<SessionId, Talk>,
    /// Where others can be reached, as it was told last.
    pub(super) reached_at: BTreeMap<PeerId, Vec<Address>>,
    /// How often it was to store the circle's log.
    pub(super) stored: usize,
    /// What its loads end in.
    pub(super) refuses: Option<LoadRefused>,
    /// The weights that it has; all, if nothing else is said.
    pub(super) shelf: Shelf,
    loads: BTreeMap<(StageId, PlanEpoch), LayerRange>,
    ephemeral: u8,
}

pub(super) fn identity(node: usize) -> Identity {
    Identity::from_seed(&[node as u8 + 1; 32])
}

pub(super) fn name(node: usize) -> DeviceName {
    DeviceName::new(&format!("device {node}")).expect("a name")
}

/// A device that is alone in a circle of its own.
pub(super) fn founder(node: usize) -> Circle {
    Circle::found(&identity(node), &name(node), [node as u8; 16])
}

/// The circle of so many devices.
pub(super) fn circle(nodes: usize) -> Circle {
    let mut circle = founder(0);
    for node in 1..nodes {
        let peer = identity(node).peer_id();
        let admitted = circle.admit(&identity(0), peer, &name(node));
        admitted.expect("there is room");
    }
    circle
}

pub(super) fn machine(node: usize, circle: Circle) -> Machine {
    Machine::new(MachineSetup {
        identity: identity(node),
        circle,
        name: name(node),
        software: "potluck/tests".to_owned(),
        stages: StageLimits::default(),
        run: 0,
    })
}

/// Devices of one circle, connected; each has so many MiB and reads so many MiB a second.
pub(super) fn devices(offers: &[(u64, u64)]) -> Devices {
    let circle = circle(offers.len());
    let nodes = (0..).zip(offers).map(|(node, offer)| {
        let mut device = Device::new(node, circle.clone());
        device.measure(Duration::ZERO, *offer);
        (identity(node).peer_id(), device)
    });
    let mut world = World::new(nodes.collect(), true);
    world.connect_all();
    world
}

/// [`devices`] that have measured the ways between them.
pub(super) fn measured(offers: &[(u64, u64)]) -> Devices {
    let mut world = devices(offers);
    world.pass(Duration::from_secs(3));
    world
}

/// Layers of 4 MiB of weights each, with 1 KiB of KV cache a position, and ends of 2 MiB.
pub(super) fn model() -> ModelShape {
    let weights = |bytes| {
        vec![Weights {
            quantisation: Quantisation(2),
            bytes,
        }]
    };
    let layer = LayerShape {
        weights: weights(4 * MIB),
        multiply_adds: 8 * MIB,
        kv_bytes_per_position: 1_024,
        window: None,
        most_kv_positions: None,
    };
    ModelShape {
        layers: vec![layer; LAYERS as usize],
        d_model: 2,
        embedding_bytes: 2 * MIB,
        embedding_row_bytes: 256,
        head: weights(2 * MIB),
        head_multiply_adds: 4 * MIB,
        head_is_embedding: true,
    }
}

pub(super) fn request(id: u64, choice: Choice) -> Request {
    Request {
        id: SessionId(id),
        manifest: super::shelf::MANIFEST,
        hidden: HiddenShape::new(2, Dtype::F32, 64).expect("small"),
        model: model(),
        options: PlacementOptions {
            context: CONTEXT,
            ..PlacementOptions::default()
        },
        choice,
        patience: None,
    }
}

/// A node asks for so many tokens.
pub(super) fn ask(world: &mut Devices, node: usize, id: u64, choice: Choice, wanted: usize) {
    let now = world.now;
    let device = &mut world.nodes[node];
    device.talks.insert(SessionId(id), Talk::new(wanted));
    device
        .machine
        .start(now, request(id, choice))
        .expect("there is room");
}

pub(super) fn talk(world: &Devices, node: usize, id: u64) -> &Talk {
    &world.nodes[node].talks[&SessionId(id)]
}

impl Device {
    pub(super) fn new(node: usize, circle: Circle) -> Self {
        Self {
            machine: machine(node, circle),
            events: VecDeque::new(),
            talks: BTreeMap::new(),
            stored: 0,
            refuses: None,
            shelf: Shelf::whole(),
            loads: BTreeMap::new(),
            ephemeral: 0,
            reached_at: BTreeMap::new(),
        }
    }

    /// So many MiB, so many MiB a second.
    pub(super) fn measure(&mut self, now: Duration, (budget, bandwidth): (u64, u64)) {
        let profile = profile(budget * MIB, bandwidth * MIB);
        self.machine.handle_input(now, Input::Profile(profile));
    }

    /// Random bytes.
    pub(super) fn ephemeral(&mut self) -> [u8; 32] {
        self.ephemeral += 1;
        [self.ephemeral; 32]
    }

    /// Why peers are gone that were let go or that refused.
    pub(super) fn whys(&self) -> Vec<&str> {
        let gone = self.events.iter().filter_map(|event| match event {
            Event::PeerGone { why, .. } => why.as_deref(),
            _ => None,
        });
        gone.collect()
    }

    fn loaded(&mut self, stage: StageId, epoch: PlanEpoch) -> Result<(), LoadRefused> {
        let layers = self.loads.remove(&(stage, epoch));
        let bytes = layers.map_or(0, |layers| u64::from(layers.len()) * 4 * MIB);
        if let Some(refused) = &self.refuses
            && (refused.code != StageRefusedCode::Memory || bytes > refused.available_bytes)
        {
            return Err(refused.clone());
        }
        if layers.is_some_and(|layers| !self.shelf.has(layers)) {
            return Err(LoadRefused {
                code: StageRefusedCode::NoWeights,
                words: "no weights here".to_owned(),
                available_bytes: 1 << 40,
            });
        }
        Ok(())
    }

    fn told(&mut self, now: Duration, event: Event) {
        if let Event::Pairing(pairing::Event::Proposed(proposal)) = &event {
            self.machine.answer_pairing(now, proposal.peer, true);
        }
        let Event::Session(id, event) = event else {
            return self.events.push_back(event);
        };
        let talk = self.talks.get_mut(&id).expect("it was asked for");
        talk.told(now, id, event, &mut self.machine);
    }
}

impl Node for Device {
    fn poll_timeout(&self) -> Option<Duration> {
        self.machine.poll_timeout()
    }

    fn handle_timeout(&mut self, now: Duration) {
        self.machine.handle_timeout(now);
    }

    fn take(&mut self, now: Duration, arrival: Arrival) {
        let input = match arrival {
            Arrival::Bytes(from, Stream::Control, bytes) => Input::ControlBytes(from, bytes),
            Arrival::Bytes(from, Stream::Data, bytes) => Input::DataBytes(from, bytes),
            Arrival::Bytes(from, Stream::Transfer, bytes) => Input::TransferBytes(from, bytes),
            Arrival::Bytes(from, Stream::Pairing, bytes) => Input::PairingBytes(from, bytes),
            Arrival::Connected(peer) => Input::Connected(peer),
            Arrival::Disconnected(peer) => Input::Disconnected(peer),
            Arrival::PairingOpened(peer) => Input::PairingOpened {
                peer,
                ephemeral: self.ephemeral(),
            },
            Arrival::PairingClosed(peer) => Input::PairingClosed(peer),
            Arrival::Loaded(stage, epoch) => Input::Loaded {
                stage,
                epoch,
                result: self.loaded(stage, epoch),
            },
            Arrival::Computed(number, hidden) => Input::Computed { number, hidden },
            Arrival::Stored(answer) => Input::Stored(answer),
        };
        self.machine.handle_input(now, input);
    }

    fn poll(&mut self, now: Duration) -> Option<Act> {
        loop {
            return Some(match self.machine.poll_output()? {
                Output::SendControl(to, bytes) => Act::Send(to, Stream::Control, bytes),
                Output::SendData(to, bytes) => Act::Send(to, Stream::Data, bytes),
                Output::SendTransfer(to, bytes) => Act::Send(to, Stream::Transfer, bytes),
                Output::SendPairing(to, bytes) => Act::Send(to, Stream::Pairing, bytes),
                Output::Disconnect(peer) => Act::Disconnect(peer),
                Output::ClosePairing(peer) => Act::ClosePairing(peer),
                Output::Load(load) => {
                    self.loads.insert((load.stage, load.epoch), load.layers);
                    Act::Load(load)
                }
                Output::Store(order) => match self.shelf.follow(order) {
                    Some(answer) => Act::Store(answer),
                    None => continue,
                },
                Output::Compute(step) => Act::Compute(step),
                Output::Free(stage) => Act::Free(stage),
                Output::CircleChanged => {
                    self.stored += 1;
                    continue;
                }
                Output::PeerAddresses(peer, addresses) => {
                    self.reached_at.insert(peer, addresses);
                    continue;
                }
                Output::Event(event) => {
                    self.told(now, event);
                    continue;
                }
            });
        }
    }

    fn accepts(&self, peer: PeerId) -> bool {
        self.machine.is_member(peer)
    }
}
