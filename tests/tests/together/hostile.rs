//! Whoever can reach a node's port can send it anything, as often as they like, and so can a member
//! that has turned against the others: the answers that a node helps with go on, and it takes no
//! memory for that.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use fastrand::Rng;
use potluck_protocol::stage::StageLimits;
use potluck_protocol::wire::limits::{MAX_BYTES, MAX_LAYERS, MAX_POSITIONS};
use potluck_protocol::wire::{
    Answer as Wanted, ContentHash, Control, Dtype, Frame, FrameHeader, Hello, HiddenShape, Kind,
    OpenStage, SessionQuery,
};
use potluck_protocol::{Arithmetic, Branch, LayerRange, PeerId, PlanEpoch, SessionId};
use potluck_tests::attacker::{Attacker, Purpose};
use potluck_tests::circle::{Answer, Node, Program, member, undisturbed};

use crate::{Model, SAMPLED, STEADY_TOKENS, alone, asked, circle};

/// Connections that are open at once, which a test's process may have.
const AT_ONCE: usize = 300;
/// What a node may take for strangers, beyond what it took before: far more than it should.
const MOST_MEMORY: u64 = 64 << 20;

/// Where a node listens.
fn port_of(node: &Node<'_>) -> SocketAddr {
    let address = &node.addresses()[0];
    let port = address.split('/').nth(4).expect("/ip4/…/tcp/PORT/…");
    ([127, 0, 0, 1], port.parse().expect("a port")).into()
}

/// The most memory that a node's process has had, in bytes. The kernel counts it approximately: of two
/// that are read one after the other, the later may be the smaller.
fn peak(node: &Node<'_>) -> u64 {
    let path = format!("/proc/{}/status", node.program().id());
    let status = fs::read_to_string(path).expect("it runs");
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1));
    kib.expect("a size").parse::<u64>().expect("a number") << 10
}

/// What a stranger says.
fn nonsense(rng: &mut Rng) -> Vec<u8> {
    let mut bytes = match rng.u8(0..4) {
        // Silence.
        0 => return Vec::new(),
        1 => Vec::new(),
        // What a peer begins with, and then an endless line.
        2 => b"\x13/multistream/1.0.0\n\xff\xff\x7f".to_vec(),
        // The same, and then a handshake that is none.
        _ => b"\x13/multistream/1.0.0\n\x07/noise\n".to_vec(),
    };
    bytes.extend((0..rng.usize(1..20_000)).map(|_| rng.u8(..)));
    bytes
}

/// The answer that comes while a thousand connections talk nonsense to a node, and those that are
/// still open then.
fn amid_nonsense(mut run: Program, node: &Node<'_>, rng: &mut Rng) -> (Answer, Vec<TcpStream>) {
    let _ = run.told("predicted");
    let mut open: Vec<TcpStream> = Vec::new();
    for _ in 0..1_000 {
        let mut stream = TcpStream::connect(port_of(node)).expect("it listens");
        let patience = Some(Duration::from_millis(100));
        stream.set_write_timeout(patience).expect("not zero");
        // It may have been shut before all was said.
        let _ = stream.write_all(&nonsense(rng));
        open.push(stream);
        if open.len() > AT_ONCE {
            open.swap_remove(rng.usize(..AT_ONCE));
        }
    }
    let during = run.runs();
    println!("1000 connections, the answer not yet there: {during}");
    (Answer::of(run.end()), open)
}

#[test]
fn a_thousand_connections_that_talk_nonsense_harm_no_answer() {
    let question = Model::steady().question(STEADY_TOKENS, &SAMPLED);
    let expected = alone(&question).tokens;
    let mut circle = circle(&["laptop", "kitchen", "tablet"], &Model::steady().path);
    let asked = asked(
        &question,
        &["--placement", "self:0..4,kitchen:4..12,tablet:12..16"],
    );
    // What it needs to compute is there afterwards.
    assert_eq!(circle.node("laptop").answer(&asked).tokens, expected);
    let before = peak(circle.node("kitchen"));

    let mut rng = Rng::with_seed(1);
    let open = undisturbed(|| {
        let run = circle.node("laptop").ask(&asked);
        let (answer, open) = amid_nonsense(run, circle.node("kitchen"), &mut rng);
        assert_eq!(answer.tokens, expected);
        (open, answer.recoveries)
    });
    let more = peak(circle.node("kitchen")).saturating_sub(before);
    println!("it took {} KiB more", more >> 10);
    assert!(more < MOST_MEMORY, "{more} bytes");

    // Those that stay silent hold no place forever, though they come from a member's address.
    circle.node_mut("tablet").kill();
    circle.node_mut("tablet").up();
    circle.await_connected();
    for mut stream in open {
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .expect("not zero");
        let mut buffer = [0; 1 << 10];
        while let Ok(1..) = stream.read(&mut buffer) {}
    }
    assert_eq!(circle.node("laptop").answer(&asked).tokens, expected);
}

fn encoded(message: impl Into<Control>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let written = message.into().encode(&mut bytes);
    written.expect("a message that can be written");
    bytes
}

fn hello() -> Vec<u8> {
    encoded(Hello {
        minor: 0,
        software: "a member".to_owned(),
        run: 0,
    })
}

/// The most that a stage can be asked for, of a model that nobody has.
fn stage(session: u64, me: PeerId) -> OpenStage {
    OpenStage {
        session: SessionId(session),
        epoch: PlanEpoch(1),
        manifest: ContentHash([3; 32]),
        layers: LayerRange::new(0, MAX_LAYERS).expect("forwards"),
        predecessor: me,
        successor: me,
        context: MAX_POSITIONS,
        shape: HiddenShape::new(1_024, Dtype::F32, 64).expect("small"),
        memory_bytes: MAX_BYTES,
        standby: false,
        last: true,
        arithmetic: Arithmetic::CANONICAL_1,
    }
}

/// A frame of a stage that there is not.
fn frame(session: u64) -> Vec<u8> {
    let header = FrameHeader {
        kind: Kind::Hidden {
            dtype: Dtype::F32,
            answer: Wanted::AllRows,
        },
        session: SessionId(session),
        epoch: PlanEpoch(1),
        branch: Branch(0),
        start_position: 0,
        rows: 64,
        payload_bytes: 0,
    };
    let frame = Frame::new(header, vec![1; 64 * 4_096]).expect("whole rows");
    let mut bytes = Vec::new();
    frame.encode(&mut bytes);
    bytes
}

/// What a member can do wrong, each on streams of its own.
fn wrongs(rng: &mut Rng, me: PeerId) -> Vec<Vec<(Purpose, Vec<u8>)>> {
    let mut random = |length: usize| -> Vec<u8> { (0..length).map(|_| rng.u8(..)).collect() };
    let after_hello = |rest: &[u8]| (Purpose::Control, [&hello(), rest].concat());
    let many = 4 * StageLimits::default().sessions as u64;
    let stages = (0..many).flat_map(|session| encoded(stage(session, me)));
    let stages: Vec<u8> = stages.collect();
    vec![
        // Nothing, nonsense, a length beyond all bounds.
        vec![after_hello(&[])],
        vec![(Purpose::Control, random(50_000))],
        vec![after_hello(&random(50_000))],
        vec![after_hello(&[0xff, 0xff, 0xff, 0xff, 0x0f])],
        // More stages than anybody may have, and rows for those and for none.
        vec![after_hello(&stages)],
        vec![after_hello(&stages), (Purpose::Data, frame(1).repeat(20))],
        vec![after_hello(&[]), (Purpose::Data, frame(1 << 40))],
        vec![after_hello(&[]), (Purpose::Data, vec![0xff; 32])],
        vec![after_hello(&[]), (Purpose::Data, random(100_000))],
        vec![after_hello(&[]), (Purpose::Weights, random(100_000))],
        vec![after_hello(&[]), (Purpose::Pairing, random(100_000))],
    ]
}

/// The answers that come while a member does all that is wrong.
fn amid_wrongs(
    ask: impl Fn() -> Program,
    node: &Node<'_>,
    key: [u8; 32],
    wrongs: Vec<Vec<(Purpose, Vec<u8>)>>,
) -> Vec<Answer> {
    let address = &node.addresses()[0];
    let asked = || {
        let mut run = ask();
        let _ = run.told("predicted");
        run
    };
    let (mut run, mut answers) = (asked(), Vec::new());
    for (number, wrong) in wrongs.into_iter().enumerate() {
        let stays = Duration::from_millis(200);
        let said = Attacker::new(key).say(address, wrong, stays);
        let during = run.runs();
        println!("{number}: all of it said: {said}, the answer not yet there: {during}");
        if !during {
            let before = std::mem::replace(&mut run, asked());
            answers.push(Answer::of(before.end()));
        }
    }
    answers.push(Answer::of(run.end()));
    answers
}

#[test]
fn a_member_that_sends_what_it_likes_harms_no_answer() {
    let question = Model::steady().question(STEADY_TOKENS, &SAMPLED);
    let expected = alone(&question).tokens;
    let names = ["laptop", "kitchen", "tablet", "traitor"];
    let mut circle = circle(&names, &Model::steady().path);
    let key = fs::read(circle.node("traitor").home().join("device.key"));
    let key: [u8; 32] = key.expect("a key").try_into().expect("32 bytes");
    let me = circle.node("traitor").peer_id().parse();
    let me: PeerId = me.expect("an id");
    circle.node_mut("traitor").kill();
    let asked = asked(
        &question,
        &["--placement", "self:0..4,kitchen:4..12,tablet:12..16"],
    );
    assert_eq!(circle.node("laptop").answer(&asked).tokens, expected);
    let before = peak(circle.node("kitchen"));

    let mut rng = Rng::with_seed(2);
    let kitchen = circle.node("kitchen");
    undisturbed(|| {
        let wrongs = wrongs(&mut rng, me);
        let ask = || circle.node("laptop").ask(&asked);
        let answers = amid_wrongs(ask, kitchen, key, wrongs);
        let tokens = |answer: &Answer| answer.tokens == expected;
        assert!(answers.iter().all(tokens), "other tokens");
        let recoveries = answers.into_iter().flat_map(|answer| answer.recoveries);
        ((), recoveries.collect())
    });
    let more = peak(kitchen).saturating_sub(before);
    println!("it took {} KiB more", more >> 10);
    assert!(more < MOST_MEMORY, "{more} bytes");

    // It is still a member, and welcome again when it behaves.
    circle.node_mut("traitor").up();
    circle.await_connected();
    let members = circle.node("kitchen").members();
    assert!(member(&members, "traitor").is_some());
}

/// Questions of a peer that reads no answer: more than what a stream takes of itself and a node lets
/// wait, many times.
const UNREAD_QUESTIONS: usize = 2_000_000;

#[test]
fn a_member_that_asks_and_does_not_read_costs_bounded_memory() {
    let question = Model::steady().question(STEADY_TOKENS, &SAMPLED);
    let expected = alone(&question).tokens;
    let mut circle = circle(&["laptop", "kitchen", "traitor"], &Model::steady().path);
    let key = fs::read(circle.node("traitor").home().join("device.key"));
    let key: [u8; 32] = key.expect("a key").try_into().expect("32 bytes");
    circle.node_mut("traitor").kill();
    let asked = asked(&question, &["--placement", "self:0..4,kitchen:4..16"]);
    assert_eq!(circle.node("laptop").answer(&asked).tokens, expected);
    let kitchen = circle.node("kitchen");
    let before = peak(kitchen);
    let query = encoded(SessionQuery {
        session: SessionId(7),
    });
    let said = [hello(), query.repeat(UNREAD_QUESTIONS)].concat();
    let stays = Duration::from_secs(1);
    let address = &kitchen.addresses()[0];
    let said = Attacker::new(key).say_deaf(address, vec![(Purpose::Control, said)], stays);
    let more = peak(kitchen).saturating_sub(before);
    println!("all of it said: {said}; it took {} KiB more", more >> 10);
    assert!(more < MOST_MEMORY, "{more} bytes");
    assert_eq!(circle.node("laptop").answer(&asked).tokens, expected);
    // It is still a member.
    circle.node_mut("traitor").up();
    circle.await_connected();
}
