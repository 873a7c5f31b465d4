#!/usr/bin/env bash
# A dial over several addresses ends with the first that another peer answers at.
#
# libp2p's swarm dials the addresses of a peer side by side and takes the connection that is there first.
# Only then it looks who answered. If that is another peer, as where a device has got the address that the
# other one had before, the whole dial fails with `WrongPeerId`, though the peer listens at the next
# address. A program has to forget that address and dial again, as Potluck does.
#
# Seen with libp2p 0.57.0 (libp2p-swarm 0.48.0), one address at a time so that the order is known:
#   dial of [where another peer is, where the peer is]: wrong peer
#   dial of [where nobody is, where the peer is]: connected
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

cargo init --quiet --vcs none --name wrong-peer
cargo add --quiet libp2p@=0.57.0 --no-default-features --features tokio,tcp,noise,yamux,ed25519
cargo add --quiet libp2p-swarm@=0.48.0 futures@0.3.31
cargo add --quiet tokio@1.48 --features rt,net,macros,time
cat > src/main.rs <<'RUST'
use std::num::NonZeroU8;
use std::time::Duration;

use futures::StreamExt as _;
use libp2p::swarm::dial_opts::DialOpts;
use libp2p::swarm::{DialError, Swarm, SwarmEvent, dummy};
use libp2p::{Multiaddr, PeerId, SwarmBuilder, noise, tcp, yamux};

fn swarm() -> Swarm<dummy::Behaviour> {
    SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
        .expect("TCP")
        .with_behaviour(|_| dummy::Behaviour)
        .expect("a behaviour")
        .with_swarm_config(|config| config.with_idle_connection_timeout(Duration::from_secs(10)))
        .build()
}

/// A peer that listens, on a task of its own.
async fn listening() -> (PeerId, Multiaddr) {
    let mut swarm = swarm();
    let peer = *swarm.local_peer_id();
    swarm.listen_on("/ip4/127.0.0.1/tcp/0".parse().expect("an address")).expect("it listens");
    let address = loop {
        if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
            break address;
        }
    };
    tokio::spawn(async move {
        loop {
            swarm.select_next_some().await;
        }
    });
    (peer, address)
}

async fn dial(peer: PeerId, addresses: Vec<Multiaddr>) -> &'static str {
    let mut swarm = swarm();
    let one_at_a_time = NonZeroU8::MIN;
    let options = DialOpts::peer_id(peer).addresses(addresses).override_dial_concurrency_factor(one_at_a_time);
    swarm.dial(options.build()).expect("it dials");
    loop {
        match swarm.select_next_some().await {
            SwarmEvent::ConnectionEstablished { .. } => return "connected",
            SwarmEvent::OutgoingConnectionError { error: DialError::WrongPeerId { .. }, .. } => {
                return "wrong peer";
            }
            SwarmEvent::OutgoingConnectionError { .. } => return "another failure",
            _ => {}
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let (_, others) = listening().await;
    let (peer, address) = listening().await;
    let nobodys: Multiaddr = {
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = free.local_addr().expect("an address").port();
        format!("/ip4/127.0.0.1/tcp/{port}").parse().expect("an address")
    };
    println!(
        "dial of [where another peer is, where the peer is]: {}",
        dial(peer, vec![others, address.clone()]).await
    );
    println!(
        "dial of [where nobody is, where the peer is]: {}",
        dial(peer, vec![nobodys, address]).await
    );
}
RUST
cargo build --quiet
./target/debug/wrong-peer | tee seen
cat > expected <<'TEXT'
dial of [where another peer is, where the peer is]: wrong peer
dial of [where nobody is, where the peer is]: connected
TEXT
cmp -s seen expected || { echo "the behaviour has changed"; exit 1; }
