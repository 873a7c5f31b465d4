//! A test world: nodes in one process and in virtual time, with real machines, real encoded bytes and a
//! made-up model.
//!
//! Tests differ in what a node is ([`Node`]); the wires between nodes, the devices under them and the faults
//! of both are the same.

mod host;
mod model;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use host::{Host, LOAD, STORE};
pub(crate) use model::{LAYERS, alone, content, prompt};

use crate::stage::{Load, Step};
use crate::transfer::StoreAnswer;
use crate::{PeerId, PlanEpoch, StageId};

/// How long a message is on its way, and how much longer for each of its bytes.
pub(crate) const DELAY: Duration = Duration::from_millis(2);
const BYTE: Duration = Duration::from_nanos(20);
/// Bytes of data that come at once on a slow way.
const PIECE: usize = 8;
/// How long after a connection was lost its two nodes try to have another, in a world that redials.
const REDIAL: Duration = Duration::from_millis(300);

/// Something that runs on a host.
pub(crate) trait Node {
    fn poll_timeout(&self) -> Option<Duration>;
    fn handle_timeout(&mut self, now: Duration);
    fn take(&mut self, now: Duration, arrival: Arrival);
    /// What it wants done next.
    fn poll(&mut self, now: Duration) -> Option<Act>;
    /// Whether it would accept a connection.
    fn accepts(&self, peer: PeerId) -> bool;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    Control,
    Data,
    Transfer,
    Pairing,
}

/// What comes to a node.
#[derive(Debug)]
pub(crate) enum Arrival {
    Bytes(PeerId, Stream, Vec<u8>),
    Connected(PeerId),
    Disconnected(PeerId),
    PairingOpened(PeerId),
    PairingClosed(PeerId),
    Loaded(StageId, PlanEpoch),
    Computed(u64, Vec<Vec<u8>>),
    Stored(StoreAnswer),
}

/// What a node wants done.
#[derive(Debug)]
pub(crate) enum Act {
    Send(PeerId, Stream, Vec<u8>),
    Disconnect(PeerId),
    ClosePairing(PeerId),
    Load(Load),
    Compute(Step),
    Free(StageId),
    /// What comes of an order to its store.
    Store(StoreAnswer),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    Running,
    /// Neither runs nor hears, but will have heard.
    Frozen,
    Dead,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Fault {
    Set(usize, Life),
    /// Nothing passes between two nodes from now on; or it passes again, over a new connection.
    Cut(usize, usize, bool),
    /// A node's steps take so many times longer.
    Slow(usize, u32),
    /// What two nodes send each other from now on comes after so long, all at once.
    Stall(usize, usize, Duration),
}

#[derive(Debug)]
enum Event {
    /// Comes if the connection that it was sent on is the receiver's still.
    Arrives(usize, Option<u64>, Arrival),
    Fault(Fault),
    Redial(usize, usize),
}

pub(crate) struct World<N> {
    pub(crate) now: Duration,
    pub(crate) nodes: Vec<N>,
    pub(crate) hosts: Vec<Host>,
    peers: Vec<PeerId>,
    redials: bool,
    events: BTreeMap<(Duration, u64), Event>,
    count: u64,
    /// The connection that a node (first) has to another.
    connections: BTreeMap<(usize, usize), u64>,
    /// When the last byte that one sent to another comes.
    last: BTreeMap<(usize, usize), Duration>,
    cut: BTreeSet<(usize, usize)>,
    /// How much longer data are on their way for each of their bytes, as those of a wider model.
    pub(crate) data_byte: Duration,
    /// Bytes that were sent.
    pub(crate) sent_bytes: usize,
}

impl<N: Node> World<N> {
    pub(crate) fn new(nodes: Vec<(PeerId, N)>, redials: bool) -> Self {
        let (peers, nodes): (Vec<_>, Vec<_>) = nodes.into_iter().unzip();
        Self {
            now: Duration::ZERO,
            hosts: nodes.iter().map(|_| Host::new()).collect(),
            nodes,
            peers,
            redials,
            events: BTreeMap::new(),
            count: 0,
            connections: BTreeMap::new(),
            last: BTreeMap::new(),
            cut: BTreeSet::new(),
            data_byte: BYTE,
            sent_bytes: 0,
        }
    }

    pub(crate) fn index(&self, peer: PeerId) -> usize {
        let place = self.peers.iter().position(|other| *other == peer);
        place.expect("a node of this world")
    }

    pub(crate) fn peer(&self, node: usize) -> PeerId {
        self.peers[node]
    }

    fn at(&mut self, at: Duration, event: Event) {
        self.count += 1;
        self.events.insert((at, self.count), event);
    }

    pub(crate) fn fault_at(&mut self, at: Duration, fault: Fault) {
        self.at(at.max(self.now), Event::Fault(fault));
    }

    /// Runs until `done`, at most until `limit`; whether it was.
    pub(crate) fn run(&mut self, limit: Duration, done: impl Fn(&Self) -> bool) -> bool {
        loop {
            self.drain();
            if done(self) {
                return true;
            }
            let due = (0..self.nodes.len())
                .filter_map(|node| self.due(node))
                .min();
            let event = self.events.keys().next().copied();
            let next = [due, event.map(|(at, _)| at)].into_iter().flatten().min();
            let Some(next) = next.filter(|next| *next <= limit) else {
                self.now = self.now.max(limit);
                return false;
            };
            self.now = self.now.max(next);
            match event {
                Some(key) if due.is_none_or(|due| key.0 <= due) => {
                    let event = self.events.remove(&key).expect("the first key");
                    self.happen(event);
                }
                _ => self.wake(),
            }
        }
    }

    /// Runs for a while.
    pub(crate) fn pass(&mut self, time: Duration) {
        self.run(self.now + time, |_| false);
    }

    fn due(&self, node: usize) -> Option<Duration> {
        let due = self.nodes[node].poll_timeout();
        due.filter(|_| self.hosts[node].state == Life::Running)
    }

    fn wake(&mut self) {
        for node in 0..self.nodes.len() {
            if self.due(node).is_some_and(|due| due <= self.now) {
                self.nodes[node].handle_timeout(self.now);
                let due = self.nodes[node].poll_timeout();
                assert!(due.is_none_or(|due| due > self.now), "it wakes for nothing");
            }
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Arrives(to, connection, arrival) => self.arrive(to, connection, arrival),
            Event::Fault(fault) => self.strike(fault),
            Event::Redial(a, b) => self.redial(a, b),
        }
    }

    fn arrive(&mut self, to: usize, connection: Option<u64>, arrival: Arrival) {
        if let Arrival::Bytes(from, Stream::Control | Stream::Data | Stream::Transfer, _)
        | Arrival::Disconnected(from) = &arrival
        {
            let way = (to, self.index(*from));
            if self.connections.get(&way).copied() != connection {
                return;
            }
            if let Arrival::Disconnected(_) = &arrival {
                self.connections.remove(&way);
            }
        }
        match self.hosts[to].state {
            Life::Running => self.nodes[to].take(self.now, arrival),
            Life::Frozen => self.hosts[to].missed.push(arrival),
            Life::Dead => {}
        }
    }

    pub(crate) fn strike(&mut self, fault: Fault) {
        match fault {
            Fault::Set(node, state) => {
                self.hosts[node].state = state;
                if state == Life::Running {
                    for arrival in std::mem::take(&mut self.hosts[node].missed) {
                        self.nodes[node].take(self.now, arrival);
                    }
                }
                if state == Life::Dead {
                    for other in 0..self.nodes.len() {
                        self.disconnect(node, other);
                    }
                }
            }
            Fault::Cut(a, b, cut) => {
                for (at, of) in [(a, b), (b, a)] {
                    if cut {
                        self.cut.insert((at, of));
                    } else {
                        self.cut.remove(&(at, of));
                        let connection = self.connections.get(&(at, of)).copied();
                        let ended = Arrival::Disconnected(self.peers[of]);
                        self.arrive(at, connection, ended);
                    }
                }
                if !cut && self.redials {
                    self.at(self.now + REDIAL, Event::Redial(a, b));
                }
            }
            Fault::Slow(node, slowness) => self.hosts[node].slowness = slowness,
            Fault::Stall(a, b, time) => {
                for way in [(a, b), (b, a)] {
                    let last = self.last.entry(way).or_default();
                    *last = (*last).max(self.now + time);
                }
            }
        }
    }

    /// Connects two nodes that are not.
    pub(crate) fn connect(&mut self, a: usize, b: usize) {
        self.count += 1;
        let connection = self.count;
        for (at, of) in [(a, b), (b, a)] {
            self.connections.insert((at, of), connection);
            let connected = Arrival::Connected(self.peers[of]);
            self.arrive(at, None, connected);
        }
    }

    pub(crate) fn connect_all(&mut self) {
        for b in 0..self.nodes.len() {
            for a in 0..b {
                self.connect(a, b);
            }
        }
    }

    pub(crate) fn are_connected(&self, a: usize, b: usize) -> bool {
        self.connections.contains_key(&(a, b)) && self.connections.contains_key(&(b, a))
    }

    /// A node ends its connection: the other hears of it behind all that was sent.
    fn disconnect(&mut self, node: usize, other: usize) {
        let Some(connection) = self.connections.remove(&(node, other)) else {
            return;
        };
        let ended = Arrival::Disconnected(self.peers[node]);
        let sent = self.last.get(&(node, other)).copied().unwrap_or_default();
        let at = sent.max(self.now + DELAY);
        self.at(at, Event::Arrives(other, Some(connection), ended));
        if self.redials {
            self.at(at + REDIAL, Event::Redial(node, other));
        }
    }

    fn redial(&mut self, a: usize, b: usize) {
        let runs = |node: usize| self.hosts[node].state == Life::Running;
        let accepted = self.nodes[a].accepts(self.peers[b]) && self.nodes[b].accepts(self.peers[a]);
        let passes = !self.cut.contains(&(a, b));
        if self.are_connected(a, b) {
        } else if runs(a) && runs(b) && accepted && passes {
            self.connect(a, b);
        } else {
            self.at(self.now + REDIAL, Event::Redial(a, b));
        }
    }

    /// Bytes from one node to another, as they are.
    pub(crate) fn send(&mut self, from: usize, to: usize, stream: Stream, mut bytes: Vec<u8>) {
        if self.cut.contains(&(from, to)) {
            return;
        }
        if stream == Stream::Data && self.data_byte > BYTE && bytes.len() > PIECE {
            let rest = bytes.split_off(PIECE);
            self.send(from, to, stream, bytes);
            return self.send(from, to, stream, rest);
        }
        let byte = match stream {
            Stream::Data => self.data_byte,
            Stream::Control | Stream::Transfer | Stream::Pairing => BYTE,
        };
        self.sent_bytes += bytes.len();
        let length = u32::try_from(bytes.len()).expect("short");
        let before = self.last.get(&(from, to)).copied().unwrap_or_default();
        let at = before.max(self.now + DELAY) + byte * length;
        self.last.insert((from, to), at);
        let connection = self.connections.get(&(from, to)).copied();
        let arrival = Arrival::Bytes(self.peers[from], stream, bytes);
        self.at(at, Event::Arrives(to, connection, arrival));
    }

    /// A process ends and begins anew as another node on the same device.
    pub(crate) fn restart(&mut self, node: usize, anew: N) {
        self.strike(Fault::Set(node, Life::Dead));
        self.nodes[node] = anew;
        self.hosts[node] = Host::new();
    }

    /// Opens a pairing stream.
    pub(crate) fn open_pairing(&mut self, from: usize, to: usize) {
        let opened = Arrival::PairingOpened(self.peers[from]);
        self.at(self.now + DELAY, Event::Arrives(to, None, opened));
    }

    /// Does what the nodes want done.
    fn drain(&mut self) {
        for node in 0..self.nodes.len() {
            while self.hosts[node].state == Life::Running
                && let Some(act) = self.nodes[node].poll(self.now)
            {
                self.act(node, act);
            }
        }
    }

    fn act(&mut self, node: usize, act: Act) {
        match act {
            Act::Send(to, stream, bytes) => self.send(node, self.index(to), stream, bytes),
            Act::Disconnect(peer) => self.disconnect(node, self.index(peer)),
            Act::ClosePairing(peer) => {
                let other = self.index(peer);
                let closed = Arrival::PairingClosed(self.peers[node]);
                let sent = self.last.get(&(node, other)).copied().unwrap_or_default();
                let at = sent.max(self.now + DELAY);
                self.at(at, Event::Arrives(other, None, closed));
            }
            Act::Store(answer) => {
                let stored = Arrival::Stored(answer);
                self.at(self.now + STORE, Event::Arrives(node, None, stored));
            }
            Act::Load(load) => {
                self.hosts[node].load(&load);
                let loaded = Arrival::Loaded(load.stage, load.epoch);
                self.at(self.now + LOAD, Event::Arrives(node, None, loaded));
            }
            Act::Compute(step) => {
                let number = step.number;
                let (time, hidden) = self.hosts[node].compute(step);
                let computed = Arrival::Computed(number, hidden);
                self.at(self.now + time, Event::Arrives(node, None, computed));
            }
            Act::Free(stage) => self.hosts[node].free(stage),
        }
    }
}
