//! A node that has stages and maybe a session, and nothing else of a machine.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::requester::Requester;
use crate::PeerId;
use crate::stage::{StageLimits, StageOutput, Stages};
use crate::wire::{Arrived, Control, ControlReader, Frame, FrameReader, Hello, MINOR, Received};
use crate::world::{Act, Arrival, Fault, Node, Stream, World};

pub(super) fn peer(node: usize) -> PeerId {
    PeerId::from_public_key([node as u8 + 1; 32])
}

/// The nodes of these tests; the wires are there without connections.
pub(super) type Halves = World<Half>;

pub(super) struct Half {
    me: PeerId,
    pub(super) stages: Stages,
    pub(super) requester: Option<Requester>,
    controls: BTreeMap<PeerId, ControlReader>,
    frames: BTreeMap<PeerId, FrameReader>,
    /// What it sends to itself, which is not encoded: a frame is for its session, or else its stages.
    own: VecDeque<Own>,
}

enum Own {
    Message(Control),
    ToSession(Frame),
    ToStages(Frame),
}

pub(super) fn halves(nodes: usize) -> Halves {
    let node = |node: usize| {
        let half = Half {
            me: peer(node),
            stages: Stages::new(peer(node), StageLimits::default()),
            requester: None,
            controls: BTreeMap::new(),
            frames: BTreeMap::new(),
            own: VecDeque::new(),
        };
        (peer(node), half)
    };
    World::new((0..nodes).map(node).collect(), false)
}

/// Cuts two nodes off each other, or lets them hear each other again.
pub(super) fn cut(world: &mut Halves, a: usize, b: usize, cut: bool) {
    world.strike(Fault::Cut(a, b, cut));
}

impl Node for Half {
    fn poll_timeout(&self) -> Option<Duration> {
        let session = self.requester.as_ref();
        let session = session.and_then(|requester| requester.session.poll_timeout());
        [self.stages.poll_timeout(), session]
            .into_iter()
            .flatten()
            .min()
    }

    fn handle_timeout(&mut self, now: Duration) {
        self.stages.handle_timeout(now);
        if let Some(requester) = &mut self.requester {
            requester.session.handle_timeout(now);
        }
    }

    fn take(&mut self, now: Duration, arrival: Arrival) {
        match arrival {
            Arrival::Bytes(from, Stream::Control, bytes) => self.control(now, from, &bytes),
            Arrival::Bytes(from, Stream::Data, bytes) => self.data(now, from, &bytes),
            Arrival::Loaded(stage, epoch) => {
                self.stages.loaded(now, stage, epoch, Ok(()));
            }
            Arrival::Computed(number, hidden) => self.stages.computed(now, number, hidden),
            Arrival::Disconnected(peer) => {
                // New streams after a connection was lost.
                self.controls.remove(&peer);
                self.frames.remove(&peer);
            }
            Arrival::Bytes(_, Stream::Pairing | Stream::Transfer, _)
            | Arrival::Connected(_)
            | Arrival::PairingOpened(_)
            | Arrival::PairingClosed(_)
            | Arrival::Stored(_) => unreachable!("these nodes do not pair, and have their weights"),
        }
    }

    fn poll(&mut self, now: Duration) -> Option<Act> {
        loop {
            while let Some(own) = self.own.pop_front() {
                self.take_own(now, own);
            }
            if let Some(output) = self.stages.poll_output() {
                match output {
                    StageOutput::SendFrame(to, frame) if to == self.me => {
                        self.own.push_back(Own::ToSession(frame));
                    }
                    StageOutput::Send(to, message) if to == self.me => {
                        self.own.push_back(Own::Message(message));
                    }
                    StageOutput::SendFrame(to, frame) => return Some(send_frame(to, &frame)),
                    StageOutput::Send(to, message) => return Some(send(to, &message)),
                    StageOutput::Load(load) => return Some(Act::Load(load)),
                    StageOutput::Compute(step) => return Some(Act::Compute(step)),
                    StageOutput::Free(stage) => return Some(Act::Free(stage)),
                }
                continue;
            }
            match self.requester.as_mut()?.turn(now)? {
                (to, Ok(message)) if to == self.me => self.own.push_back(Own::Message(message)),
                (to, Err(frame)) if to == self.me => self.own.push_back(Own::ToStages(frame)),
                (to, Ok(message)) => return Some(send(to, &message)),
                (to, Err(frame)) => return Some(send_frame(to, &frame)),
            }
        }
    }

    fn accepts(&self, _peer: PeerId) -> bool {
        true
    }
}

fn send(to: PeerId, message: &Control) -> Act {
    let mut bytes = Vec::new();
    message.encode(&mut bytes).expect("within limits");
    Act::Send(to, Stream::Control, bytes)
}

fn send_frame(to: PeerId, frame: &Frame) -> Act {
    let mut bytes = Vec::new();
    frame.encode(&mut bytes);
    Act::Send(to, Stream::Data, bytes)
}

/// A reader behind the greeting.
fn greeted() -> ControlReader {
    let mut reader = ControlReader::new();
    let hello = Hello {
        minor: MINOR,
        software: "tests".to_owned(),
        run: 0,
    };
    let mut bytes = Vec::new();
    Control::from(hello)
        .encode(&mut bytes)
        .expect("within limits");
    reader.read(&mut bytes.as_slice()).expect("a greeting");
    reader
}

impl Half {
    fn take_own(&mut self, now: Duration, own: Own) {
        let me = self.me;
        match (own, &mut self.requester) {
            (Own::Message(message), _) => self.message(now, me, message),
            (Own::ToSession(frame), Some(requester)) => {
                requester.session.handle_frame(now, me, frame);
            }
            (Own::ToSession(frame) | Own::ToStages(frame), _) => {
                self.stages.handle_frame(now, me, frame);
            }
        }
    }

    fn control(&mut self, now: Duration, from: PeerId, mut bytes: &[u8]) {
        loop {
            let reader = self.controls.entry(from).or_insert_with(greeted);
            let received = reader.read(&mut bytes);
            match received.expect("what nodes send is well formed") {
                None => return,
                Some(Received::Message(message)) => self.message(now, from, message),
                Some(Received::Unknown) => {}
            }
        }
    }

    fn message(&mut self, now: Duration, from: PeerId, message: Control) {
        match message {
            Control::OpenStage(open) => self.stages.open(now, from, open),
            Control::CloseStage(close) => self.stages.close(from, close),
            Control::SessionQuery(query) => self.stages.query(now, from, query.session),
            other => {
                if let Some(requester) = &mut self.requester {
                    requester.session.handle_control(now, from, other);
                }
            }
        }
    }

    fn data(&mut self, now: Duration, from: PeerId, mut bytes: &[u8]) {
        let Self {
            stages, requester, ..
        } = self;
        let reader = self.frames.entry(from).or_default();
        loop {
            let session = requester.as_mut().map(|requester| &mut requester.session);
            let arrived = reader.read(&mut bytes, |header| {
                let of_session = session.as_ref().and_then(|s| s.agreed(from, header));
                of_session.or_else(|| stages.agreed(from, header))
            });
            let Some(arrived) = arrived.expect("what nodes send is well formed") else {
                return;
            };
            if let Arrived::Frame(frame) = arrived {
                match session.filter(|s| s.agreed(from, frame.header()).is_some()) {
                    Some(session) => session.handle_frame(now, from, frame),
                    None => stages.handle_frame(now, from, frame),
                }
            }
        }
    }
}
