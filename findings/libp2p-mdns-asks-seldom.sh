#!/usr/bin/env bash
# After one answer, libp2p's mDNS asks again only after five minutes, whoever answered.
#
# It begins with a question, and repeats it after 0.5, 1, 2, … seconds. The first answer of anybody ends
# that: the next question comes after `query_interval`, 300 seconds unless it is set. Devices announce
# nothing unasked. So who comes into the network later and asks itself is found at once, but who does not
# ask, as for its own reasons, or whose answer was lost, is not found for five minutes. A program that
# waits for somebody sends the question itself, as Potluck does: answers go to all.
#
# Seen with libp2p-mdns 0.49.0, in 12 seconds after the start:
#   nobody answers: 4 questions
#   somebody else answers the first: 1 question
set -euo pipefail
[ "$(uname)" = Linux ] || { echo "this is run on Linux"; exit 0; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

cargo init --quiet --vcs none --name asks
cargo add --quiet libp2p@=0.57.0 --no-default-features --features tokio,mdns,ed25519
cargo add --quiet libp2p-mdns@=0.49.0 futures@0.3.31
cargo add --quiet tokio@1.48 --features rt,net,macros,time
cargo add --quiet socket2@0.6 --features all
cat > src/main.rs <<'RUST'
//! One device runs libp2p's mDNS; a socket beside it counts its questions and answers the first, if the
//! argument says so.
use std::future::poll_fn;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::task::Poll;
use std::time::{Duration, Instant};

use libp2p::identity::Keypair;
use libp2p::mdns;
use libp2p::swarm::NetworkBehaviour as _;
use socket2::{Domain, Socket, Type};

const GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);
const OWN: Ipv4Addr = Ipv4Addr::new(10, 9, 8, 7);

fn name(parts: &[&str]) -> Vec<u8> {
    let mut name: Vec<u8> = Vec::new();
    for part in parts {
        name.push(part.len() as u8);
        name.extend(part.as_bytes());
    }
    name.push(0);
    name
}

fn record(name: &[u8], kind: u16, what: &[u8]) -> Vec<u8> {
    let length = what.len() as u16;
    let fields: [&[u8]; 6] =
        [name, &kind.to_be_bytes(), &[0, 1], &[0, 0, 1, 44], &length.to_be_bytes(), what];
    fields.concat()
}

/// What another device would answer.
fn answer() -> Vec<u8> {
    let peer = Keypair::generate_ed25519().public().to_peer_id();
    let text = format!("dnsaddr=/ip4/10.9.8.6/tcp/4001/p2p/{peer}");
    let text = [&[text.len() as u8], text.as_bytes()].concat();
    let it = name(&["another", "_p2p", "_udp", "local"]);
    let mut packet = vec![0, 0, 0x84, 0, 0, 0, 0, 1, 0, 0, 0, 1];
    packet.extend(record(&name(&["_p2p", "_udp", "local"]), 12, &it));
    packet.extend(record(&it, 16, &text));
    packet
}

fn count(answers: bool) -> usize {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).expect("a socket");
    socket.set_reuse_address(true).expect("set");
    socket.set_reuse_port(true).expect("set");
    socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, 5353)).into()).expect("bound");
    let socket = UdpSocket::from(socket);
    socket.join_multicast_v4(&GROUP, &OWN).expect("joined");
    socket.set_read_timeout(Some(Duration::from_millis(100))).expect("set");
    let (start, mut questions) = (Instant::now(), 0);
    let mut bytes = [0; 2000];
    while start.elapsed() < Duration::from_secs(12) {
        let Ok((length, _)) = socket.recv_from(&mut bytes) else { continue };
        if length > 2 && bytes[2] & 0x80 == 0 {
            questions += 1;
            if answers && questions == 1 {
                socket.send_to(&answer(), (GROUP, 5353)).expect("sent");
            }
        }
    }
    questions
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let answers = std::env::args().nth(1).as_deref() == Some("answer");
    let counted = std::thread::spawn(move || count(answers));
    std::thread::sleep(Duration::from_millis(200));
    let me = Keypair::generate_ed25519().public().to_peer_id();
    let mut device = mdns::tokio::Behaviour::new(mdns::Config::default(), me).expect("it starts");
    let drive = poll_fn(|cx| {
        while device.poll(cx).is_ready() {}
        Poll::<()>::Pending
    });
    let _ = tokio::time::timeout(Duration::from_secs(13), drive).await;
    println!("{}", counted.join().expect("counted"));
}
RUST
cargo build --quiet
# In a network namespace of its own, on an interface that leads nowhere.
asked() {
  unshare --map-root-user --net sh -ec '
    ip link set lo up
    ip link add one type veth peer name other
    ip link set one up; ip link set other up
    ip address add 10.9.8.7/24 dev one
    ip route add 224.0.0.0/4 dev one
    ./target/debug/asks '"$1"
}
alone=$(asked none)
answered=$(asked answer)
echo "nobody answers: $alone questions"
echo "somebody else answers the first: $answered question"
[ "$alone" -ge 4 ] && [ "$answered" = 1 ] || { echo "the behaviour has changed"; exit 1; }
