//! Finding devices on the local network.

use std::collections::VecDeque;
use std::io;
use std::task::{Context, Poll};

use libp2p::core::Endpoint;
use libp2p::core::transport::ListenerId;
use libp2p::mdns;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::{
    ConnectionId, ExpiredListenAddr, FromSwarm, NetworkBehaviour as _, NewListenAddr, ToSwarm,
};
use libp2p::{Multiaddr, PeerId as Libp2pPeerId};
use potluck_protocol::PeerId;
use serde::{Deserialize, Serialize};

use super::ids;

/// When a node lets others of its network find it. Whoever listens there sees its id, which does not
/// change; it looks for others itself without naming itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Announces {
    /// In every network, so that paired devices find each other wherever they meet.
    #[default]
    Always,
    /// While an invitation is open or a member is connected: in a network where nobody expects it, it
    /// says nothing. Paired devices that both do so and meet in a new network, or all of whose addresses
    /// have changed, do not find each other.
    WhereExpected,
}

impl Announces {
    /// Where it is expected only, or always.
    pub fn only_where_expected(only: bool) -> Self {
        if only {
            Self::WhereExpected
        } else {
            Self::Always
        }
    }
}

/// A way to find devices of the same network, and to be found by them: [`Mdns`], or what a phone's
/// system offers instead.
///
/// It need not know who is paired, and nothing that it says is believed: it says where to try, and
/// whoever answers there proves who it is.
pub trait Discovery: Send {
    /// Begins, in the runtime of the node's network thread.
    ///
    /// # Errors
    /// What keeps it from working at all.
    fn start(&mut self, me: PeerId) -> io::Result<()>;

    /// This node listens there now, and nowhere else; none if it is not to be found. Called only with
    /// others than before.
    fn announce(&mut self, addresses: &[Multiaddr]);

    /// Where a device may be reached: an address that ends in `/p2p/` and its id. While there is none,
    /// the task of `cx` is woken when there is.
    fn poll_found(&mut self, cx: &mut Context<'_>) -> Poll<Multiaddr>;

    /// Where a device was found that is still announced there: what was found of it before it was
    /// paired is not told again.
    fn known(&mut self, _peer: &Libp2pPeerId) -> Vec<Multiaddr> {
        Vec::new()
    }
}

/// Multicast DNS with service discovery (RFC 6762 and 6763) as libp2p specifies it, over one of the
/// two internet protocols.
///
/// # Limits over IPv6
/// These come of the libraries, `libp2p-mdns` 0.49 and `libp2p-tcp` 0.45:
/// - The group is joined, and queries are sent, on the interface that the system takes for multicast
///   by default, and on no other: the addresses of interfaces come without the interface's number.
/// - A link-local address (`fe80::`) is announced and dialled without its zone, and systems refuse such
///   a dial. An `/ip6zone` that a given address has is passed over.
///
/// So two devices whose only addresses are link-local ones of IPv6, or that meet over IPv6 on an
/// interface that is not the default one, do not find each other. Over IPv4 each interface has a socket
/// of its own, and its link-local addresses (169.254.0.0/16) need no zone.
pub struct Mdns {
    config: mdns::Config,
    behaviour: Option<mdns::tokio::Behaviour>,
    announced: Vec<Multiaddr>,
    found: VecDeque<Multiaddr>,
}

impl Mdns {
    /// Over IPv4 and over IPv6.
    pub fn both() -> Vec<Box<dyn Discovery>> {
        let over = |enable_ipv6| -> Box<dyn Discovery> {
            Box::new(Self {
                config: mdns::Config {
                    enable_ipv6,
                    ..mdns::Config::default()
                },
                behaviour: None,
                announced: Vec::new(),
                found: VecDeque::new(),
            })
        };
        vec![over(false), over(true)]
    }
}

impl Discovery for Mdns {
    fn start(&mut self, me: PeerId) -> io::Result<()> {
        let behaviour = mdns::Behaviour::new(self.config.clone(), ids::to_libp2p(me))?;
        self.behaviour = Some(behaviour);
        Ok(())
    }

    fn announce(&mut self, addresses: &[Multiaddr]) {
        let Some(behaviour) = &mut self.behaviour else {
            return;
        };
        // Any: it tells addresses apart by themselves.
        let listener_id = ListenerId::next();
        for addr in self.announced.iter().filter(|a| !addresses.contains(a)) {
            let expired = ExpiredListenAddr { listener_id, addr };
            behaviour.on_swarm_event(FromSwarm::ExpiredListenAddr(expired));
        }
        for addr in addresses.iter().filter(|a| !self.announced.contains(a)) {
            let new = NewListenAddr { listener_id, addr };
            behaviour.on_swarm_event(FromSwarm::NewListenAddr(new));
        }
        self.announced = addresses.to_vec();
    }

    fn poll_found(&mut self, cx: &mut Context<'_>) -> Poll<Multiaddr> {
        loop {
            if let Some(found) = self.found.pop_front() {
                return Poll::Ready(found);
            }
            let Some(behaviour) = &mut self.behaviour else {
                return Poll::Pending;
            };
            match behaviour.poll(cx) {
                Poll::Ready(ToSwarm::GenerateEvent(mdns::Event::Discovered(found))) => {
                    let named = found.into_iter().map(|(peer, at)| with_peer(at, peer));
                    self.found.extend(named);
                }
                Poll::Ready(_) => {}
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn known(&mut self, peer: &Libp2pPeerId) -> Vec<Multiaddr> {
        let Some(behaviour) = &mut self.behaviour else {
            return Vec::new();
        };
        // What a swarm asks it before it dials; it looks at nothing but the peer, and denies nothing.
        let any = ConnectionId::new_unchecked(0);
        let (peer, as_dialer) = (Some(*peer), Endpoint::Dialer);
        behaviour
            .handle_pending_outbound_connection(any, peer, &[], as_dialer)
            .unwrap_or_default()
    }
}

/// The next address that any of these has found.
pub(super) fn poll_any(
    discoveries: &mut [Box<dyn Discovery>],
    cx: &mut Context<'_>,
) -> Poll<Multiaddr> {
    for discovery in discoveries {
        if let Poll::Ready(found) = discovery.poll_found(cx) {
            return Poll::Ready(found);
        }
    }
    Poll::Pending
}

fn with_peer(address: Multiaddr, peer: Libp2pPeerId) -> Multiaddr {
    match address.iter().last() {
        Some(Protocol::P2p(_)) => address,
        _ => address.with(Protocol::P2p(peer)),
    }
}
