#!/usr/bin/env bash
# libp2p's TCP transport drops the zone of a link-local address, and the dial fails.
#
# An IPv6 address of fe80::/10 is on every interface, so a system dials it only by one that is named. A
# multiaddress can name it: /ip6zone/lo/ip6/fe80::1/tcp/4001. The transport takes such an address without
# complaint, leaves the zone out, and the system refuses what is left. A program has to dial these
# addresses itself, with the number of the interface, as Potluck does.
#
# Seen with libp2p-tcp 0.45.0 on Linux:
#   the system, with the zone: connected
#   libp2p-tcp, with the zone: Invalid argument (os error 22)
set -euo pipefail
[ "$(uname)" = Linux ] || { echo "this is about Linux"; exit 0; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

cargo init --quiet --vcs none --name zones
cargo add --quiet libp2p-tcp@=0.45.0 --features tokio
cargo add --quiet libp2p-core@=0.44.0 futures@0.3.31
cargo add --quiet tokio@1.48 --features rt,net,macros
cat > src/main.rs <<'RUST'
//! Listens at fe80::1 on the loopback interface, which is number 1, and dials that in two ways.
use std::net::{Ipv6Addr, SocketAddrV6, TcpListener, TcpStream};

use libp2p_core::transport::{DialOpts, PortUse};
use libp2p_core::{Endpoint, Multiaddr, Transport as _};

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let ip: Ipv6Addr = "fe80::1".parse().expect("an address");
    let listener = TcpListener::bind(SocketAddrV6::new(ip, 0, 0, 1)).expect("it listens");
    let port = listener.local_addr().expect("bound").port();
    let outcome = match TcpStream::connect(SocketAddrV6::new(ip, port, 0, 1)) {
        Ok(_) => "connected".to_owned(),
        Err(error) => error.to_string(),
    };
    println!("the system, with the zone: {outcome}");

    let address: Multiaddr = format!("/ip6zone/lo/ip6/fe80::1/tcp/{port}").parse().expect("one");
    let mut transport = libp2p_tcp::tokio::Transport::new(libp2p_tcp::Config::default());
    let options = DialOpts { role: Endpoint::Dialer, port_use: PortUse::New };
    let outcome = match transport.dial(address, options) {
        Ok(dial) => match dial.await {
            Ok(_) => "connected".to_owned(),
            Err(error) => error.to_string(),
        },
        Err(error) => format!("not dialled: {error}"),
    };
    println!("libp2p-tcp, with the zone: {outcome}");
}
RUST
cargo build --quiet
# In a network namespace of its own, where it may give the loopback interface an address.
unshare --map-root-user --net sh -ec '
  ip link set lo up
  ip address add fe80::1/64 dev lo nodad
  ./target/debug/zones' | tee seen
cat > expected <<'TEXT'
the system, with the zone: connected
libp2p-tcp, with the zone: Invalid argument (os error 22)
TEXT
cmp -s seen expected || { echo "the behaviour has changed"; exit 1; }
