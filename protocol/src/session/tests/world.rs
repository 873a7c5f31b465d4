//! Nodes in one process and in virtual time: real machines, real encoded bytes, a made-up model.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::requester::Requester;
use crate::stage::{StageLimits, StageOutput, Stages, Step};
use crate::wire::{Arrived, Control, ControlReader, Frame, FrameReader, Hello, MINOR, Received};
use crate::{LayerRange, PeerId, PlanEpoch, SessionId};

/// How long a message is on its way.
pub(super) const DELAY: Duration = Duration::from_millis(2);
/// How long a step takes, and each of its rows for each layer.
const STEP: Duration = Duration::from_micros(500);
const ROW: Duration = Duration::from_micros(10);
/// How long weights take to be mapped.
const LOAD: Duration = Duration::from_millis(20);

pub(super) fn peer(node: usize) -> PeerId {
    PeerId::from_public_key([node as u8 + 1; 32])
}

/// Mixes two words (the finaliser of MurmurHash3, Appleby 2011).
pub(super) fn mix(a: u64, b: u64) -> u64 {
    let mut x = a ^ b.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 33)).wrapping_mul(0xFF51_AFD7_ED55_8CCD);
    x = (x ^ (x >> 33)).wrapping_mul(0xC4CE_B9FE_1A85_EC53);
    x ^ (x >> 33)
}

/// A model whose every layer folds all rows so far, so that a missing or repeated row shows.
#[derive(Debug, Default)]
pub(super) struct Layers {
    /// For each layer, the fold of the rows up to each position.
    folds: BTreeMap<u32, Vec<u64>>,
}

impl Layers {
    /// One row through `layers`.
    ///
    /// # Panics
    /// If rows before it are missing.
    pub(super) fn row(&mut self, layers: LayerRange, position: u32, mut x: u64) -> u64 {
        for layer in layers.first()..layers.end() {
            let folds = self.folds.entry(layer).or_default();
            assert!(
                folds.len() >= position as usize,
                "rows before {position} are missing"
            );
            folds.truncate(position as usize);
            let before = folds.last().copied().unwrap_or(0);
            folds.push(mix(before, x));
            x = mix(u64::from(layer), mix(before, x));
        }
        x
    }
}

pub(super) struct Node {
    pub(super) stages: Stages,
    loaded: BTreeMap<SessionId, (LayerRange, Layers)>,
    pub(super) requester: Option<Requester>,
    /// Neither runs nor hears.
    pub(super) state: Life,
    /// What came while it was frozen.
    missed: Vec<Event>,
    pub(super) steps: Vec<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Life {
    Running,
    Frozen,
    Dead,
}

#[derive(Debug)]
enum Event {
    Bytes {
        from: usize,
        to: usize,
        control: bool,
        bytes: Vec<u8>,
    },
    /// A frame from a node to itself, which is not encoded: for its session, or else its stages.
    Own {
        node: usize,
        to_session: bool,
        frame: Frame,
    },
    Loaded {
        node: usize,
        session: SessionId,
        epoch: PlanEpoch,
    },
    Computed {
        node: usize,
        number: u64,
        hidden: Vec<Vec<u8>>,
    },
    Fault(Fault),
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Fault {
    Set(usize, Life),
    /// Nothing passes between two nodes from now on, or passes again.
    Cut(usize, usize, bool),
}

pub(super) struct World {
    pub(super) now: Duration,
    pub(super) nodes: Vec<Node>,
    events: BTreeMap<(Duration, u64), Event>,
    count: u64,
    controls: BTreeMap<(usize, usize), ControlReader>,
    frames: BTreeMap<(usize, usize), FrameReader>,
    cut: BTreeSet<(usize, usize)>,
}

impl World {
    pub(super) fn new(nodes: usize) -> Self {
        let node = |_| Node {
            stages: Stages::new(StageLimits::default()),
            loaded: BTreeMap::new(),
            requester: None,
            state: Life::Running,
            missed: Vec::new(),
            steps: Vec::new(),
        };
        Self {
            now: Duration::ZERO,
            nodes: (0..nodes).map(node).collect(),
            events: BTreeMap::new(),
            count: 0,
            controls: BTreeMap::new(),
            frames: BTreeMap::new(),
            cut: BTreeSet::new(),
        }
    }

    fn after(&mut self, delay: Duration, event: Event) {
        self.count += 1;
        self.events.insert((self.now + delay, self.count), event);
    }

    pub(super) fn fault_at(&mut self, at: Duration, fault: Fault) {
        self.after(at.saturating_sub(self.now), Event::Fault(fault));
    }

    /// Runs until `done`, at most until `limit`; whether it was.
    pub(super) fn run(&mut self, limit: Duration, done: impl Fn(&Self) -> bool) -> bool {
        while self.now <= limit {
            self.drain();
            if done(self) {
                return true;
            }
            let due = (0..self.nodes.len())
                .filter_map(|node| self.due(node))
                .min();
            let event = self.events.keys().next().copied();
            match (due, event) {
                (Some(due), event) if event.is_none_or(|(at, _)| due < at) => {
                    self.now = self.now.max(due);
                    self.wake();
                }
                (_, Some(key)) => {
                    self.now = self.now.max(key.0);
                    let event = self.events.remove(&key).expect("the first key");
                    self.happen(event);
                }
                _ => return false,
            }
        }
        false
    }

    fn due(&self, node: usize) -> Option<Duration> {
        let node = &self.nodes[node];
        let session = node
            .requester
            .as_ref()
            .and_then(|r| r.session.poll_timeout());
        let due = [node.stages.poll_timeout(), session]
            .into_iter()
            .flatten()
            .min();
        due.filter(|_| node.state == Life::Running)
    }

    fn wake(&mut self) {
        for index in 0..self.nodes.len() {
            if self.due(index).is_some_and(|due| due <= self.now) {
                let (now, node) = (self.now, &mut self.nodes[index]);
                node.stages.handle_timeout(now);
                if let Some(requester) = &mut node.requester {
                    requester.session.handle_timeout(now);
                }
            }
        }
    }

    fn happen(&mut self, event: Event) {
        let node = match &event {
            Event::Bytes { to, .. } => *to,
            Event::Own { node, .. } | Event::Loaded { node, .. } | Event::Computed { node, .. } => {
                *node
            }
            Event::Fault(fault) => return self.strike(*fault),
        };
        match self.nodes[node].state {
            Life::Running => self.deliver(event),
            Life::Frozen => self.nodes[node].missed.push(event),
            Life::Dead => {}
        }
    }

    pub(super) fn strike(&mut self, fault: Fault) {
        match fault {
            Fault::Set(node, state) => {
                self.nodes[node].state = state;
                if state == Life::Running {
                    for event in std::mem::take(&mut self.nodes[node].missed) {
                        self.deliver(event);
                    }
                }
            }
            Fault::Cut(a, b, cut) => {
                for way in [(a, b), (b, a)] {
                    if cut {
                        self.cut.insert(way);
                    } else {
                        self.cut.remove(&way);
                        // New streams after a connection was lost.
                        self.controls.remove(&way);
                        self.frames.remove(&way);
                    }
                }
            }
        }
    }

    fn deliver(&mut self, event: Event) {
        let now = self.now;
        match event {
            Event::Bytes {
                from,
                to,
                control: true,
                bytes,
            } => self.control(from, to, &bytes),
            Event::Bytes {
                from, to, bytes, ..
            } => self.frame(from, to, &bytes),
            Event::Own {
                node,
                to_session,
                frame,
            } => {
                let (from, node) = (peer(node), &mut self.nodes[node]);
                match &mut node.requester {
                    Some(requester) if to_session => {
                        requester.session.handle_frame(now, from, frame);
                    }
                    _ => node.stages.handle_frame(now, from, frame),
                }
            }
            Event::Loaded {
                node,
                session,
                epoch,
            } => {
                self.nodes[node]
                    .stages
                    .loaded(now, session, epoch, Ok(1 << 20));
            }
            Event::Computed {
                node,
                number,
                hidden,
            } => {
                self.nodes[node].stages.computed(now, number, hidden);
            }
            Event::Fault(_) => unreachable!("struck above"),
        }
    }

    fn control(&mut self, from: usize, to: usize, mut bytes: &[u8]) {
        let now = self.now;
        let hello = || {
            let mut reader = ControlReader::new();
            let hello = Hello {
                minor: MINOR,
                software: "tests".to_owned(),
                features: BTreeSet::new(),
            };
            let mut bytes = Vec::new();
            Control::from(hello)
                .encode(&mut bytes)
                .expect("within limits");
            reader.read(&mut bytes.as_slice()).expect("a greeting");
            reader
        };
        let reader = self.controls.entry((from, to)).or_insert_with(hello);
        while let Some(received) = reader
            .read(&mut bytes)
            .expect("what nodes send is well formed")
        {
            let Received::Message(message) = received else {
                continue;
            };
            let node = &mut self.nodes[to];
            let stages = &mut node.stages;
            match message {
                Control::OpenStage(open) => stages.open(now, peer(from), open),
                Control::CloseStage(close) => stages.close(peer(from), close),
                Control::SessionQuery(query) => stages.query(now, peer(from), query.session),
                other => {
                    if let Some(requester) = &mut node.requester {
                        requester.session.handle_control(now, peer(from), other);
                    }
                }
            }
        }
    }

    fn frame(&mut self, from: usize, to: usize, mut bytes: &[u8]) {
        let now = self.now;
        let reader = self.frames.entry((from, to)).or_default();
        loop {
            let Node {
                stages, requester, ..
            } = &mut self.nodes[to];
            let session = requester.as_mut().map(|requester| &mut requester.session);
            let arrived = reader.read(&mut bytes, |header| {
                let of_session = session.as_ref().and_then(|s| s.agreed(peer(from), header));
                of_session.or_else(|| stages.agreed(peer(from), header))
            });
            let Some(arrived) = arrived.expect("what nodes send is well formed") else {
                return;
            };
            if let Arrived::Frame(frame) = arrived {
                match session.filter(|s| s.agreed(peer(from), frame.header()).is_some()) {
                    Some(session) => session.handle_frame(now, peer(from), frame),
                    None => stages.handle_frame(now, peer(from), frame),
                }
            }
        }
    }

    pub(super) fn send_control(&mut self, from: usize, to: usize, message: &Control) {
        let mut bytes = Vec::new();
        message.encode(&mut bytes).expect("within limits");
        self.send(from, to, true, bytes);
    }

    fn send_frame(&mut self, from: usize, to: usize, to_session: bool, frame: Frame) {
        if from == to {
            let own = Event::Own {
                node: to,
                to_session,
                frame,
            };
            return self.after(Duration::ZERO, own);
        }
        let mut bytes = Vec::new();
        frame.encode(&mut bytes);
        self.send(from, to, false, bytes);
    }

    fn send(&mut self, from: usize, to: usize, control: bool, bytes: Vec<u8>) {
        if !self.cut.contains(&(from, to)) {
            let delay = if from == to { Duration::ZERO } else { DELAY };
            self.after(
                delay,
                Event::Bytes {
                    from,
                    to,
                    control,
                    bytes,
                },
            );
        }
    }

    /// Does what the nodes want done.
    fn drain(&mut self) {
        for index in 0..self.nodes.len() {
            while self.nodes[index].state == Life::Running {
                if let Some(output) = self.nodes[index].stages.poll_output() {
                    self.stage_output(index, output);
                    continue;
                }
                let now = self.now;
                let sends = match &mut self.nodes[index].requester {
                    Some(requester) => requester.turn(now),
                    None => None,
                };
                let Some((to, what)) = sends else { break };
                let to = Self::index(to);
                match what {
                    Ok(message) => self.send_control(index, to, &message),
                    Err(frame) => self.send_frame(index, to, false, frame),
                }
            }
        }
    }

    pub(super) fn index(peer: PeerId) -> usize {
        usize::from(peer.public_key()[0]) - 1
    }

    fn stage_output(&mut self, index: usize, output: StageOutput) {
        match output {
            StageOutput::Send(to, message) => self.send_control(index, Self::index(to), &message),
            StageOutput::SendFrame(to, frame) => {
                self.send_frame(index, Self::index(to), true, frame);
            }
            StageOutput::Load(load) => {
                let loaded = &mut self.nodes[index].loaded;
                let kept = loaded
                    .get(&load.session)
                    .is_some_and(|(l, _)| *l == load.layers);
                if !kept {
                    loaded.insert(load.session, (load.layers, Layers::default()));
                }
                let (session, epoch) = (load.session, load.epoch);
                self.after(
                    LOAD,
                    Event::Loaded {
                        node: index,
                        session,
                        epoch,
                    },
                );
            }
            StageOutput::Compute(step) => self.compute(index, step),
            StageOutput::Free(session) => {
                self.nodes[index].loaded.remove(&session);
            }
        }
    }

    fn compute(&mut self, index: usize, step: Step) {
        let node = &mut self.nodes[index];
        node.steps.push(step.parts.len());
        let (mut time, mut hidden) = (STEP, Vec::new());
        for part in step.parts {
            // Freed while it waited: nobody wants the result.
            let Some((layers, cache)) = node.loaded.get_mut(&part.session) else {
                hidden.push(part.hidden);
                continue;
            };
            time += ROW * layers.len() * part.rows;
            let (words, _) = part.hidden.as_chunks::<8>();
            let rows = (part.start_position..).zip(words);
            let rows = rows.flat_map(|(position, &word)| {
                let row = cache.row(*layers, position, u64::from_le_bytes(word));
                row.to_le_bytes()
            });
            hidden.push(rows.collect());
        }
        let number = step.number;
        self.after(
            time,
            Event::Computed {
                node: index,
                number,
                hidden,
            },
        );
    }
}
