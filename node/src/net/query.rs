//! mDNS queries beside those of `libp2p-mdns`, and the IPv6 group on all interfaces.
//!
//! The library joins the group ff02::fb and sends on the default multicast interface only. On Linux a socket
//! that is in a group on one interface receives what comes to the group on any interface on which some
//! socket of the system is in it. So [`Queries`] joins it on all of them, for the library's sockets, and
//! sends its queries on all of them. A device of the other interfaces that hears the query answers on its
//! own, and is found. The library's own answers still go out on the default interface, so the device that
//! has several interfaces has to be the one that asks.

use std::collections::BTreeSet;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};

use super::zones;

const GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);
const GROUP_6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb);
const PORT: u16 = 5353;
/// A query for the PTR records (12) of class IN (1) of `_p2p._udp.local`.
const QUESTION: &[u8] = b"\0\0\0\0\0\x01\0\0\0\0\0\0\x04_p2p\x04_udp\x05local\0\0\x0c\0\x01";

/// Sends the query from one of this device's addresses.
///
/// # Errors
/// The device has lost the address, or there is no route for multicast.
pub(super) fn ask_over_ipv4(from: Ipv4Addr) -> io::Result<()> {
    let socket = UdpSocket::bind((from, 0))?;
    socket.send_to(QUESTION, (GROUP, PORT)).map(drop)
}

/// Queries over IPv6, and the membership in the group that they need.
#[derive(Debug, Default)]
pub(super) struct Queries {
    socket: Option<UdpSocket>,
    joined: BTreeSet<u32>,
}

impl Queries {
    /// Sends the query on each interface that has a link-local address, joining the group there.
    ///
    /// # Errors
    /// There is no socket, or the system names no interfaces.
    pub(super) fn ask(&mut self) -> io::Result<()> {
        let socket = match self.socket.take() {
            Some(socket) => socket,
            None => UdpSocket::bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)))?,
        };
        let socket = self.socket.insert(socket);
        let interfaces: BTreeSet<_> = zones::interfaces()?
            .into_iter()
            .map(|(_, number)| number)
            .collect();
        // An interface that went took its membership with it.
        self.joined.retain(|number| interfaces.contains(number));
        for number in interfaces {
            if !self.joined.contains(&number) {
                match socket.join_multicast_v6(&GROUP_6, number) {
                    Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
                        tracing::debug!(number, why = %error, "the mDNS group could not be joined");
                    }
                    Ok(()) | Err(_) => {
                        self.joined.insert(number);
                    }
                }
            }
            let group = SocketAddrV6::new(GROUP_6, PORT, 0, number);
            if let Err(error) = socket.send_to(QUESTION, group) {
                tracing::debug!(number, why = %error, "a discovery query could not be sent");
            }
        }
        Ok(())
    }
}
