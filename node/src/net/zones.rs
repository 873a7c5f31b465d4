//! Dialling link-local addresses of IPv6.
//!
//! `fe80::/10` is on every interface, so a system needs to know by which one to dial such an address: its
//! zone (RFC 4007). libp2p's TCP transport drops the zone. Here
//! - an address with a zone, `/ip6zone/wlan0/ip6/fe80::1/tcp/4001`, is dialled by that interface;
//! - an address without, as mDNS and peers give them, is dialled by all interfaces that have a link-local
//!   address, in parallel, a moment later than other addresses of the peer. The first connection is used.
//!   As always, the peer has to prove its id.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddrV6};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use libp2p::Multiaddr;
use libp2p::core::Transport;
use libp2p::core::transport::{DialOpts, ListenerId, TransportError, TransportEvent};
use libp2p::futures::future::{BoxFuture, FutureExt as _, select_ok};
use libp2p::multiaddr::Protocol;
use libp2p::tcp::tokio::TcpStream;

/// How much later an address without a zone is dialled. A connection between other addresses shows in which
/// network the peer is.
const LATER: Duration = Duration::from_millis(200);

/// A TCP transport that also dials link-local addresses.
pub(super) struct Zoned<T>(pub(super) T);

impl<T> Transport for Zoned<T>
where
    T: Transport<Output = TcpStream, Error = io::Error, Dial: Send + 'static> + Unpin,
{
    type Output = TcpStream;
    type Error = io::Error;
    type ListenerUpgrade = T::ListenerUpgrade;
    type Dial = BoxFuture<'static, io::Result<TcpStream>>;

    fn listen_on(
        &mut self,
        id: ListenerId,
        address: Multiaddr,
    ) -> Result<(), TransportError<io::Error>> {
        self.0.listen_on(id, address)
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.0.remove_listener(id)
    }

    fn dial(
        &mut self,
        address: Multiaddr,
        options: DialOpts,
    ) -> Result<Self::Dial, TransportError<io::Error>> {
        match LinkLocal::of(&address) {
            Some(link_local) => Ok(link_local.dial().boxed()),
            None => Ok(self.0.dial(address, options)?.boxed()),
        }
    }

    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<TransportEvent<Self::ListenerUpgrade, io::Error>> {
        Pin::new(&mut self.0).poll(cx)
    }
}

/// A link-local address and port.
#[derive(Debug, Clone, PartialEq, Eq)]
struct LinkLocal {
    /// The name or number of the interface, if it is said.
    zone: Option<String>,
    ip: Ipv6Addr,
    port: u16,
}

impl LinkLocal {
    /// Of a multiaddress that is one.
    fn of(address: &Multiaddr) -> Option<Self> {
        let mut parts = address.iter().peekable();
        let zone = match parts.peek()? {
            Protocol::Ip6zone(zone) => Some(zone.to_string()),
            _ => None,
        };
        if zone.is_some() {
            parts.next();
        }
        let (Protocol::Ip6(ip), Protocol::Tcp(port)) = (parts.next()?, parts.next()?) else {
            return None;
        };
        let is_one = ip.is_unicast_link_local() && port != 0;
        let ends = matches!(parts.next(), None | Some(Protocol::P2p(_)));
        (is_one && ends).then_some(Self { zone, ip, port })
    }

    async fn dial(self) -> io::Result<TcpStream> {
        let places = self.places(interfaces()?);
        if places.is_empty() {
            let words = "no interface of this device leads to link-local addresses";
            return Err(io::Error::new(io::ErrorKind::AddrNotAvailable, words));
        }
        if self.zone.is_none() {
            tokio::time::sleep(LATER).await;
        }
        let dials = places.into_iter().map(|place| connect(place).boxed());
        let (stream, _) = select_ok(dials).await?;
        Ok(TcpStream(stream))
    }

    /// Where to dial, by the interfaces that there are.
    fn places(&self, interfaces: Vec<(String, u32)>) -> Vec<SocketAddrV6> {
        let named = |(name, number): &(String, u32)| match &self.zone {
            Some(zone) => zone == name || *zone == number.to_string(),
            None => true,
        };
        let numbers = interfaces.into_iter().filter(named);
        let places = numbers.map(|(_, number)| SocketAddrV6::new(self.ip, self.port, 0, number));
        places.collect()
    }
}

async fn connect(place: SocketAddrV6) -> io::Result<tokio::net::TcpStream> {
    let stream = tokio::net::TcpStream::connect(place).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// The interfaces that have a link-local address, by name and number.
pub(super) fn interfaces() -> io::Result<Vec<(String, u32)>> {
    let mut interfaces = Vec::new();
    for interface in if_addrs::get_if_addrs()? {
        let is_link_local = match interface.ip() {
            IpAddr::V6(ip) => ip.is_unicast_link_local(),
            IpAddr::V4(_) => false,
        };
        if let Some(number) = interface.index.filter(|_| is_link_local) {
            interfaces.push((interface.name, number));
        }
    }
    // One may have several such addresses.
    interfaces.sort();
    interfaces.dedup();
    Ok(interfaces)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Option<LinkLocal> {
        LinkLocal::of(&text.parse().expect("an address"))
    }

    #[test]
    fn only_link_local_addresses_of_tcp_are_dialled_by_interface() {
        let peer = "/p2p/12D3KooWBmAwcd4PJNJvfV89HwE48nwkRmAgo8Vy3uQEyNNHBox2";
        for text in ["/ip6/fe80::1/tcp/7", &format!("/ip6/febf::1/tcp/7{peer}")] {
            assert_eq!(of(text).and_then(|address| address.zone), None, "{text}");
            assert_eq!(of(text).map(|address| address.port), Some(7), "{text}");
        }
        let zoned = of("/ip6zone/wlan0/ip6/fe80::1/tcp/7").expect("one");
        assert_eq!(zoned.zone.as_deref(), Some("wlan0"));
        for other in [
            "/ip6/fd00::1/tcp/7",
            "/ip6/fe80::1/tcp/0",
            "/ip6/fe80::1/udp/7",
            "/ip6/fe80::1/tcp/7/ws",
            "/ip4/169.254.1.1/tcp/7",
            "/ip6zone/wlan0/ip6/fd00::1/tcp/7",
            "/dns6/kitchen.local/tcp/7",
        ] {
            assert_eq!(of(other), None, "{other}");
        }
    }

    #[test]
    fn an_address_is_dialled_by_its_zone_or_by_every_interface() {
        let interfaces = || vec![("eth0".to_owned(), 2), ("wlan0".to_owned(), 7)];
        let zones = |text: &str| {
            let places = of(text).expect("link-local").places(interfaces());
            places
                .iter()
                .map(SocketAddrV6::scope_id)
                .collect::<Vec<_>>()
        };
        assert_eq!(zones("/ip6/fe80::1/tcp/7"), [2, 7]);
        assert_eq!(zones("/ip6zone/wlan0/ip6/fe80::1/tcp/7"), [7]);
        assert_eq!(zones("/ip6zone/2/ip6/fe80::1/tcp/7"), [2]);
        assert!(zones("/ip6zone/eth1/ip6/fe80::1/tcp/7").is_empty());
    }
}
