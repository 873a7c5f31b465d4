//! Any sequence of inputs, as peers and a driver may give it: nothing panics, nothing is sent to who
//! is not connected, what is sent can be read, and nothing stays for ever.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;

use super::any::{any_frame, any_message, any_transfer, lacking, offer, peer};
use super::device::{circle, machine, name, request};
use super::solo::hello;
use crate::machine::{Choice, Event, Input, Machine, Output, Reach};
use crate::pairing::Wish;
use crate::pairing::{Invitation, Secret};
use crate::profile::tests::profile;
use crate::stage::{Load, Step};
use crate::transfer::{Kept, Missing, StoreAnswer, StoreOrder};
use crate::wire::{
    Answer, Control, ControlReader, Frame, HandOverReason, Ping, Pong, Received, ShardRefusedCode,
    StageRefusedCode,
};
use crate::{PeerId, SessionId, StageId};

#[derive(Debug, Clone)]
enum Act {
    /// Maybe it greets at once.
    Connect(usize, bool),
    Disconnect(usize),
    Say(usize, Box<Control>),
    Bytes(usize, bool, Vec<u8>),
    /// On the stream for weights, with a greeting first or not.
    Transfer(usize, bool, Box<Control>, Vec<u8>),
    Frame(usize, Frame),
    Pair(usize, Vec<u8>),
    Loaded {
        fails: bool,
    },
    Computed,
    Stored(u8),
    Measure(u64, u64),
    HandOver,
    Start(u64, bool),
    Submit(u64, u32),
    RollBack(u64, u32),
    Finish(u64),
    Revoke(usize),
    Invite,
    Join(usize),
    Pass(u64),
}

fn any_act() -> impl Strategy<Value = Act> {
    let node = || 0..6_usize;
    let id = || 0..3_u64;
    let bytes = || prop::collection::vec(any::<u8>(), 0..60);
    prop_oneof![
        4 => (node(), prop::bool::weighted(0.8)).prop_map(|(node, greets)| Act::Connect(node, greets)),
        1 => node().prop_map(Act::Disconnect),
        1 => node().prop_map(|node| Act::Say(node, Box::new(hello().into()))),
        12 => (node(), any_message()).prop_map(|(node, m)| Act::Say(node, Box::new(m))),
        1 => (node(), any::<bool>(), bytes()).prop_map(|(n, control, b)| Act::Bytes(n, control, b)),
        6 => (node(), any::<bool>(), any_transfer(), bytes())
            .prop_map(|(node, greets, m, b)| Act::Transfer(node, greets, Box::new(m), b)),
        6 => (node(), any_frame()).prop_map(|(node, frame)| Act::Frame(node, frame)),
        1 => (node(), bytes()).prop_map(|(node, bytes)| Act::Pair(node, bytes)),
        6 => prop::bool::weighted(0.1).prop_map(|fails| Act::Loaded { fails }),
        6 => Just(Act::Computed),
        6 => any::<u8>().prop_map(Act::Stored),
        2 => (0..400_u64, 1..400_u64).prop_map(|(budget, rate)| Act::Measure(budget, rate)),
        1 => Just(Act::HandOver),
        3 => (id(), any::<bool>()).prop_map(|(id, alone)| Act::Start(id, alone)),
        5 => (id(), 1..5_u32).prop_map(|(id, rows)| Act::Submit(id, rows)),
        1 => (id(), 0..9_u32).prop_map(|(id, position)| Act::RollBack(id, position)),
        1 => id().prop_map(Act::Finish),
        1 => node().prop_map(Act::Revoke),
        1 => Just(Act::Invite),
        1 => node().prop_map(Act::Join),
        6 => (0..3_000_u64).prop_map(Act::Pass),
    ]
}

fn answer(ping: &Ping) -> Pong {
    Pong {
        id: ping.id,
        ping_sent_at_us: ping.sent_at_us,
        received_at_us: 1,
        sent_at_us: 1,
    }
}

/// What may come of an order.
fn stored(order: StoreOrder, how: u8) -> Option<StoreAnswer> {
    let kept = match how % 3 {
        0 => Kept::Kept,
        1 => Kept::Corrupt,
        _ => Kept::Failed("the disk is full".to_owned()),
    };
    Some(match order {
        StoreOrder::Tell { to, manifest } => StoreAnswer::Has {
            to,
            offer: offer(manifest, how),
        },
        StoreOrder::Prepare { manifest, .. } => StoreAnswer::Prepared {
            manifest,
            result: match how % 4 {
                0 => Err("no\nroom".to_owned()),
                1 => Ok(Missing::Manifest),
                pieces => Ok(Missing::Pieces(lacking(u32::from(pieces)))),
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
            result: match how % 2 {
                0 => Ok(vec![how; range.bytes() as usize]),
                _ => Err(ShardRefusedCode::Range),
            },
        },
        StoreOrder::End { .. } => return None,
    })
}

/// The driver: remembers what is connected, loaded and computed, and where sessions are.
struct Driver {
    machine: Machine,
    now: Duration,
    /// Connections in force, with a reader of what is said on each.
    connected: BTreeMap<PeerId, ControlReader>,
    loads: Vec<Load>,
    steps: Vec<Step>,
    orders: Vec<StoreOrder>,
    loaded: BTreeSet<StageId>,
    next: BTreeMap<SessionId, u32>,
    pongs: Vec<(PeerId, Pong)>,
}

impl Driver {
    fn new() -> Self {
        Self {
            machine: machine(0, circle(5)),
            now: Duration::ZERO,
            connected: BTreeMap::new(),
            loads: Vec::new(),
            steps: Vec::new(),
            orders: Vec::new(),
            loaded: BTreeSet::new(),
            next: BTreeMap::new(),
            pongs: Vec::new(),
        }
    }

    fn input(&mut self, input: Input) {
        self.machine.handle_input(self.now, input);
    }

    fn act(&mut self, act: Act) {
        let now = self.now;
        match act {
            Act::Connect(node, greets) => {
                self.connected.insert(peer(node), ControlReader::new());
                self.input(Input::Connected(peer(node)));
                if greets {
                    self.drain();
                    self.act(Act::Say(node, Box::new(hello().into())));
                }
            }
            Act::Disconnect(node) => {
                self.connected.remove(&peer(node));
                self.input(Input::Disconnected(peer(node)));
            }
            Act::Say(node, message) => {
                let mut bytes = Vec::new();
                message.encode(&mut bytes).expect("within limits");
                self.input(Input::ControlBytes(peer(node), bytes));
            }
            Act::Bytes(node, true, bytes) => self.input(Input::ControlBytes(peer(node), bytes)),
            Act::Bytes(node, false, bytes) => self.input(Input::DataBytes(peer(node), bytes)),
            Act::Transfer(node, greets, message, behind) => {
                let mut bytes = Vec::new();
                if greets {
                    let hello = Control::from(hello());
                    hello.encode(&mut bytes).expect("within limits");
                }
                message.encode(&mut bytes).expect("within limits");
                bytes.extend(behind);
                self.input(Input::TransferBytes(peer(node), bytes));
            }
            Act::Frame(node, frame) => {
                let mut bytes = Vec::new();
                frame.encode(&mut bytes);
                if self.machine.wants_data(peer(node)) {
                    self.input(Input::DataBytes(peer(node), bytes));
                }
            }
            Act::Pair(node, bytes) => {
                let (peer, ephemeral) = (peer(node), [now.subsec_millis() as u8; 32]);
                self.input(match bytes.first() {
                    None => Input::PairingClosed(peer),
                    Some(0..80) => Input::PairingOpened { peer, ephemeral },
                    Some(_) => Input::PairingBytes(peer, bytes),
                });
            }
            Act::Loaded { .. }
            | Act::Computed
            | Act::Stored(_)
            | Act::Measure(..)
            | Act::HandOver => {
                self.of_device(act);
            }
            _ => self.of_owner(act),
        }
        self.drain();
    }

    fn of_device(&mut self, act: Act) {
        match act {
            Act::Loaded { fails } if !self.loads.is_empty() => {
                let load = self.loads.remove(0);
                let of_weights = load.layers.len() < 3;
                let refused = crate::machine::LoadRefused {
                    code: if of_weights {
                        StageRefusedCode::NoWeights
                    } else {
                        StageRefusedCode::Other(0)
                    },
                    words: "no\n".repeat(400),
                    available_bytes: u64::MAX,
                };
                self.input(Input::Loaded {
                    stage: load.stage,
                    epoch: load.epoch,
                    result: if fails { Err(refused) } else { Ok(()) },
                });
            }
            Act::Computed => {
                if let Some(step) = self.steps.pop() {
                    let hidden = step.parts.iter().map(|part| part.hidden.clone());
                    self.input(Input::Computed {
                        number: step.number,
                        hidden: hidden.collect(),
                    });
                }
            }
            Act::Stored(how) if !self.orders.is_empty() => {
                let order = self.orders.remove(0);
                if let Some(answer) = stored(order, how) {
                    self.input(Input::Stored(answer));
                }
            }
            Act::Measure(budget, rate) => {
                let profile = profile(budget << 20, rate << 20);
                self.input(Input::Profile(profile));
            }
            Act::HandOver => self.input(Input::HandOver {
                reason: HandOverReason::Owner,
                within: Duration::MAX,
            }),
            _ => {}
        }
    }

    fn of_owner(&mut self, act: Act) {
        let (now, machine) = (self.now, &mut self.machine);
        let invitation = |node: usize| {
            let secret = Secret::from_random([3; 16]);
            Invitation::new(peer(node), secret, 1_000, vec![]).expect("few")
        };
        match act {
            Act::Start(id, alone) => {
                let choice = if alone { Choice::Alone } else { Choice::Best };
                machine.find_weights(now, request(id, choice.clone()).manifest);
                let _ = machine.start(now, request(id, choice));
            }
            Act::Submit(id, rows) => {
                let start = self.next.get(&SessionId(id)).copied().unwrap_or_default();
                let hidden = vec![0; 8 * rows as usize];
                let answer = Answer::AllRows;
                let id = SessionId(id);
                let submitted = machine.submit(now, id, start, rows, answer, hidden);
                if submitted.is_ok() {
                    self.next.insert(id, start + rows);
                }
            }
            Act::RollBack(id, position) => {
                machine.roll_back(now, SessionId(id), position);
                if let Some(next) = self.next.get_mut(&SessionId(id)) {
                    *next = position.min(*next);
                }
            }
            Act::Finish(id) => machine.finish(now, SessionId(id)),
            Act::Revoke(node) => {
                let _ = machine.revoke(now, peer(node), Reach::Alone);
                let _ = machine.rename(now, &name(node));
            }
            Act::Invite => {
                let _ = machine.invite(now, 900, invitation(0), Wish::Asks);
            }
            Act::Join(node) => {
                let _ = machine.join(now, &invitation(node), peer(node), Wish::Asks, [5; 32]);
            }
            Act::Pass(ms) => {
                self.now += Duration::from_millis(ms);
                self.machine.handle_timeout(self.now);
                let due = self.machine.poll_timeout();
                assert!(due.is_none_or(|due| due > self.now), "it wakes for nothing");
            }
            _ => {}
        }
    }

    /// Takes what the machine wants done. Its pings are answered at once, so that plans go over peers.
    fn drain(&mut self) {
        loop {
            self.take_outputs();
            let pongs = std::mem::take(&mut self.pongs);
            if pongs.is_empty() {
                return;
            }
            for (peer, pong) in pongs {
                let mut bytes = Vec::new();
                Control::from(pong)
                    .encode(&mut bytes)
                    .expect("within limits");
                self.input(Input::ControlBytes(peer, bytes));
            }
        }
    }

    fn take_outputs(&mut self) {
        while let Some(output) = self.machine.poll_output() {
            match output {
                Output::SendControl(to, bytes) => {
                    let reader = self.connected.get_mut(&to).expect("it is connected");
                    let mut bytes = bytes.as_slice();
                    let received = reader.read(&mut bytes).expect("a peer can read it");
                    assert!(received.is_some() && bytes.is_empty());
                    if let Some(Received::Message(Control::Ping(ping))) = received {
                        self.pongs.push((to, answer(&ping)));
                    }
                }
                Output::SendData(to, _) | Output::SendTransfer(to, _) => {
                    assert!(self.connected.contains_key(&to));
                }
                Output::Store(order) => self.orders.push(order),
                Output::Disconnect(peer) => {
                    self.connected.remove(&peer).expect("it is connected");
                }
                Output::Load(load) => {
                    self.loaded.insert(load.stage);
                    self.loads.push(load);
                }
                Output::Compute(step) => {
                    assert!(self.steps.is_empty(), "one step at a time");
                    self.steps.push(step);
                }
                Output::Free(stage) => {
                    self.loaded.remove(&stage);
                }
                Output::Event(Event::Session(id, event)) => {
                    if let crate::session::SessionEvent::Ready { from, .. } = event {
                        self.next.insert(id, from);
                    }
                }
                Output::SendPairing(..)
                | Output::ClosePairing(_)
                | Output::CircleChanged
                | Output::PeerAddresses(..)
                | Output::Event(_) => {}
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn no_sequence_of_inputs_does_harm(acts in prop::collection::vec(any_act(), 1..150)) {
        let mut driver = Driver::new();
        driver.act(Act::Measure(300, 100));
        for node in 1..4 {
            driver.act(Act::Connect(node, true));
        }
        for act in acts {
            driver.act(act);
        }
        // Whatever happened, nothing stays for ever.
        for id in 0..3 {
            driver.act(Act::Finish(id));
        }
        for node in 0..6 {
            driver.act(Act::Disconnect(node));
        }
        driver.act(Act::Computed);
        driver.machine.stop_inviting(driver.now);
        for _ in 0..3 {
            driver.act(Act::Pass(601_000));
        }
        prop_assert!(driver.machine.is_idle() && driver.loaded.is_empty());
        prop_assert_eq!(driver.machine.poll_timeout(), None);
    }
}
