//! Listening on ports that no other process uses.
//!
//! libp2p sets `SO_REUSEPORT` on its listening sockets, so that it can dial from the same port. Another
//! process of the same user can then listen there, too, and the system distributes connections over both.
//! So a fixed port is first bound for a moment without that option, which fails if the port is in use.

use std::error::Error;
use std::io;
use std::net::SocketAddr;

use libp2p::core::transport::ListenerId;
use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, Swarm};
use socket2::{Domain, Socket, Type};

use super::gate::Gate;
use crate::words;

/// Why a node cannot listen somewhere.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Another process listens there.
    #[error(
        "another program listens there: end it, or choose another address or port with --listen"
    )]
    Taken,
    /// The system's or the network library's words.
    #[error("{0}")]
    Failed(String),
}

/// Listens on an address. Port 0 means any free port.
pub(super) fn on(swarm: &mut Swarm<Gate>, address: Multiaddr) -> Result<ListenerId, ListenError> {
    if let Some(place) = place(&address) {
        check_free(place).map_err(failed)?;
    }
    let listening = swarm.listen_on(address);
    listening.map_err(|error| match &error {
        libp2p::TransportError::Other(below) => taken(below).unwrap_or_else(|| words_of(&error)),
        libp2p::TransportError::MultiaddrNotSupported(_) => ListenError::Failed(
            "it is no address of this kind: /ip4/0.0.0.0/tcp/4001 and /ip6/::/tcp/4001 are"
                .to_owned(),
        ),
    })
}

fn failed(error: io::Error) -> ListenError {
    taken(&error).unwrap_or_else(|| words_of(&error))
}

fn words_of(error: &dyn Error) -> ListenError {
    ListenError::Failed(words::of(error))
}

fn taken(error: &io::Error) -> Option<ListenError> {
    (error.kind() == io::ErrorKind::AddrInUse).then_some(ListenError::Taken)
}

/// The socket address, if it is TCP with a fixed port.
fn place(address: &Multiaddr) -> Option<SocketAddr> {
    let mut parts = address.iter();
    let ip = match parts.next()? {
        Protocol::Ip4(ip) => ip.into(),
        Protocol::Ip6(ip) => ip.into(),
        _ => return None,
    };
    match parts.next()? {
        Protocol::Tcp(port) if port != 0 => Some(SocketAddr::new(ip, port)),
        _ => None,
    }
}

/// Binds and listens for a moment without `SO_REUSEPORT`.
fn check_free(place: SocketAddr) -> io::Result<()> {
    let socket = Socket::new(Domain::for_address(place), Type::STREAM, None)?;
    if place.is_ipv6() {
        // As the network library does: the same port may be in use over IPv4.
        socket.set_only_v6(true)?;
    }
    // Ended connections in TIME_WAIT do not count.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.bind(&place.into())?;
    socket.listen(1)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn only_a_place_where_nobody_listens_is_free() {
        let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let place = taken.local_addr().expect("bound");
        let error = failed(check_free(place).expect_err("taken"));
        assert!(matches!(error, ListenError::Taken), "{error}");
        drop(taken);
        check_free(place).expect("free again");
        check_free(place).expect("and still");
    }

    #[test]
    fn a_place_is_what_names_a_port() {
        let of = |text: &str| place(&text.parse().expect("an address"));
        let port = of("/ip4/127.0.0.1/tcp/4001").expect("a place");
        assert_eq!(port.to_string(), "127.0.0.1:4001");
        assert!(of("/ip6/::1/tcp/4001").is_some());
        for any in [
            "/ip4/127.0.0.1/tcp/0",
            "/ip4/127.0.0.1",
            "/dns4/a.example/tcp/4001",
        ] {
            assert!(of(any).is_none(), "{any}");
        }
    }
}
