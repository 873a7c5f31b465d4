#!/usr/bin/env bash
# Over IPv6, libp2p's mDNS hears and asks on one interface only.
#
# For each IPv6 address of the system it opens sockets, but joins the group ff02::fb on "interface 0" and
# sends from an address that is unspecified: both mean the one interface that the system takes by default.
# A device with two interfaces is not found on the other one, and finds nobody there. Over IPv4 each
# interface has sockets of its own.
#
# Seen with libp2p-mdns 0.49.0 on Linux, with two interfaces that have link-local addresses:
#   IPv6 groups joined: one of two interfaces
#   IPv4 groups joined: two of two interfaces
set -euo pipefail
[ "$(uname)" = Linux ] || { echo "this is about Linux"; exit 0; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

cargo init --quiet --vcs none --name groups
cargo add --quiet libp2p@=0.57.0 --no-default-features --features tokio,mdns,ed25519
cargo add --quiet libp2p-mdns@=0.49.0
cargo add --quiet tokio@1.48 --features rt,net,macros,time
cat > src/main.rs <<'RUST'
//! Runs libp2p's mDNS over both protocols for two seconds, and then says which interfaces are in the
//! groups, as the system tells it.
use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use libp2p::identity::Keypair;
use libp2p::mdns;
use libp2p::swarm::NetworkBehaviour as _;

/// The interfaces of the two that are in the group of mDNS over IPv6.
fn six() -> usize {
    let text = std::fs::read_to_string("/proc/net/igmp6").expect("the system tells");
    let joined = text.lines().filter(|line| line.contains("ff0200000000000000000000000000fb"));
    joined.filter(|line| line.contains(" one ") || line.contains(" two ")).count()
}

/// And over IPv4, by the group's number in the order of bytes of a little-endian machine.
fn four() -> usize {
    let text = std::fs::read_to_string("/proc/net/igmp").expect("the system tells");
    text.lines().filter(|line| line.contains("FB0000E0")).count()
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let me = Keypair::generate_ed25519().public().to_peer_id();
    let mut over = [false, true].map(|enable_ipv6| {
        let config = mdns::Config { enable_ipv6, ..mdns::Config::default() };
        mdns::tokio::Behaviour::new(config, me).expect("it starts")
    });
    let drive = poll_fn(|cx| {
        for device in &mut over {
            while device.poll(cx).is_ready() {}
        }
        Poll::<()>::Pending
    });
    let _ = tokio::time::timeout(Duration::from_secs(2), drive).await;
    let number = ["none", "one", "two"];
    println!("IPv6 groups joined: {} of two interfaces", number[six().min(2)]);
    println!("IPv4 groups joined: {} of two interfaces", number[four().min(2)]);
}
RUST
cargo build --quiet
# In a network namespace of its own, on interfaces that lead to each other's ends.
unshare --map-root-user --net sh -ec '
  ip link set lo up
  ip link add one type veth peer name one-end
  ip link add two type veth peer name two-end
  for name in one two; do
    echo 1 > /proc/sys/net/ipv6/conf/$name-end/disable_ipv6
    ip link set $name up; ip link set $name-end up
  done
  ip address add 10.9.1.1/24 dev one
  ip address add 10.9.2.1/24 dev two
  ip address add fe80::1/64 dev one nodad
  ip address add fe80::2/64 dev two nodad
  ./target/debug/groups' | tee seen
cat > expected <<'TEXT'
IPv6 groups joined: one of two interfaces
IPv4 groups joined: two of two interfaces
TEXT
cmp -s seen expected || { echo "the behaviour has changed"; exit 1; }
