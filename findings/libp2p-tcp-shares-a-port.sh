#!/usr/bin/env bash
# Two libp2p programs can listen on one TCP port, and neither is told.
#
# libp2p's TCP transport sets SO_REUSEPORT on every listening socket, whatever its configuration says, so
# on Linux a second process of the same user that is given the same fixed port also gets it. Incoming
# connections then go to one or the other by the kernel's choice. A program that wants the usual "address
# already in use" has to try the port with a socket of its own first, as Potluck does.
#
# Seen with libp2p-tcp 0.45.0 on Linux:
#   first: listens on 127.0.0.1:PORT
#   second: listens on 127.0.0.1:PORT
set -euo pipefail
[ "$(uname)" = Linux ] || { echo "this is about Linux"; exit 0; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

cargo init --quiet --vcs none --name one-port
cargo add --quiet libp2p-tcp@=0.45.0 --features tokio
cargo add --quiet libp2p-core@=0.44.0 futures@0.3.31
cargo add --quiet tokio@1.48 --features rt,net,macros
cat > src/main.rs <<'RUST'
//! Listens on the port that the first argument says; 0 is any. Prints which it is, and holds it until its
//! standard input ends.
use futures::StreamExt as _;
use libp2p_core::Transport as _;
use libp2p_core::transport::{ListenerId, TransportEvent};

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let port = std::env::args().nth(1).expect("a port");
    let address = format!("/ip4/127.0.0.1/tcp/{port}").parse().expect("an address");
    let mut transport = libp2p_tcp::tokio::Transport::new(libp2p_tcp::Config::default()).boxed();
    if let Err(error) = transport.listen_on(ListenerId::next(), address) {
        println!("refused: {error:?}");
        return;
    }
    while let Some(event) = transport.next().await {
        if let TransportEvent::NewAddress { listen_addr, .. } = event {
            println!("{}", listen_addr.to_string().rsplit('/').next().expect("a port"));
            break;
        }
    }
    let _ = std::io::stdin().read_line(&mut String::new());
}
RUST
cargo build --quiet

coproc FIRST { ./target/debug/one-port 0; }
read -r port <&"${FIRST[0]}"
echo "first: listens on 127.0.0.1:$port"
second=$(./target/debug/one-port "$port" </dev/null)
echo "second: listens on 127.0.0.1:$second"
echo >&"${FIRST[1]}"
[ "$second" = "$port" ] || { echo "the behaviour has changed"; exit 1; }
