//! Listening where nobody else does.
//!
//! libp2p sets `SO_REUSEPORT` on the sockets on which it listens, so that it can dial from the same port.
//! With it another process of the same user may listen there, too, and the system deals connections out
//! to both. So a port that was asked for is taken for a moment by a socket without it, which the system
//! refuses if anybody listens there.

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
    /// Somebody does.
    #[error(
        "another program listens there: end it, or choose another address or port with --listen"
    )]
    Taken,
    /// The system's or the network library's words.
    #[error("{0}")]
    Failed(String),
}

/// Listens on an address. Port 0 is any that is free.
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

/// The address and port that are asked for, if that is one of TCP and not any port.
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

/// Listens for a moment, as nobody who lets others listen there does.
fn check_free(place: SocketAddr) -> io::Result<()> {
    let socket = Socket::new(Domain::for_address(place), Type::STREAM, None)?;
    if place.is_ipv6() {
        // So does the network library: the same port may be listened on by IPv4.
        socket.set_only_v6(true)?;
    }
    // Connections that have ended there are no hindrance.
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
