//! Whoever can reach a node's port can send it anything, as often as they like: the answers that it
//! helps with go on, and it takes no memory for that.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use fastrand::Rng;
use potluck_tests::circle::{Answer, Node};

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

/// The most memory that a node's process has had, in bytes.
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

    let address = port_of(circle.node("kitchen"));
    let mut run = circle.node("laptop").ask(&asked);
    let _ = run.told("predicted");
    let mut rng = Rng::with_seed(1);
    let mut open: Vec<TcpStream> = Vec::new();
    for _ in 0..1_000 {
        let mut stream = TcpStream::connect(address).expect("it listens");
        let patience = Some(Duration::from_millis(100));
        stream.set_write_timeout(patience).expect("not zero");
        // It may have been shut before all was said.
        let _ = stream.write_all(&nonsense(&mut rng));
        open.push(stream);
        if open.len() > AT_ONCE {
            open.swap_remove(rng.usize(..AT_ONCE));
        }
    }
    let during = run.runs();
    let answer = Answer::of(run.end());
    println!(
        "1000 connections, the answer not yet there: {during}; {:?}",
        answer.recoveries
    );
    assert_eq!(answer.tokens, expected);
    assert_eq!(answer.recoveries.len(), 0, "{:?}", answer.recoveries);
    let more = peak(circle.node("kitchen")) - before;
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
