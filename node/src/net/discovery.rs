//! Finding devices on the local network.

use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
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
use super::parts::ip_of;
use super::query::{self, Queries};

/// When a node announces its id in its networks, where everybody can see it. The id never changes. The
/// node queries for others in all networks; a query does not contain its id.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Announces {
    /// In networks where a member was met before, and everywhere while an invitation is open. In other
    /// networks nobody learns its id. Paired devices that meet in a new network do not find each other
    /// there, unless one of them announces itself always or they pair once more.
    #[default]
    WhereExpected,
    /// In every network.
    Always,
}

impl Announces {
    /// Always, or only where it is expected.
    pub fn always(always: bool) -> Self {
        if always {
            Self::Always
        } else {
            Self::WhereExpected
        }
    }
}

/// A way to find devices of the same network and to be found by them: [`Mdns`], or what a phone's system
/// offers instead.
///
/// It does not know who is paired, and its results are only hints: whoever answers at an address has to
/// prove its id.
pub trait Discovery: Send {
    /// Starts it, inside the runtime of the node's network thread.
    ///
    /// # Errors
    /// It cannot work at all.
    fn start(&mut self, me: PeerId) -> io::Result<()>;

    /// Replaces the addresses that are announced; none to stop announcing. Called only when they change.
    fn announce(&mut self, addresses: &[Multiaddr]);

    /// Sends a query now, if this means of discovery does not query all the time. `listening` are this
    /// node's own addresses.
    fn look(&mut self, _listening: &[Multiaddr]) {}

    /// The next address that was found; it ends in `/p2p/` and the device's id. If there is none, the task
    /// of `cx` is woken when one is found.
    fn poll_found(&mut self, cx: &mut Context<'_>) -> Poll<Multiaddr>;

    /// The addresses at which a device is announced now. [`poll_found`](Self::poll_found) gave each of them
    /// once, perhaps before the device was paired.
    fn known(&mut self, _peer: &Libp2pPeerId) -> Vec<Multiaddr> {
        Vec::new()
    }
}

/// Multicast DNS with service discovery (RFC 6762 and 6763) as libp2p specifies it, over one of the
/// two internet protocols.
///
/// # Limits over IPv6
/// `libp2p-mdns` 0.49 joins the multicast group, queries and answers only on the system's default
/// multicast interface, because it does not learn the numbers of the others. [`look`](Discovery::look)
/// makes up for the first two, on Linux; the answers cannot be redirected, because the library's sockets are
/// private. So of two devices that share only IPv6, the one for which the shared interface is not the
/// default has to find the other. Over IPv4 the library has a socket for each interface.
///
/// Link-local addresses (`fe80::`) are announced without their zone and dialled by all interfaces (see
/// `zones`).
pub struct Mdns {
    config: mdns::Config,
    behaviour: Option<mdns::tokio::Behaviour>,
    announced: Vec<Multiaddr>,
    found: VecDeque<Multiaddr>,
    queries: Queries,
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
                queries: Queries::default(),
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
        // Any id will do: the library looks at the addresses only.
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

    /// The library queries when it starts, and after one answer only every five minutes. Answers are
    /// multicast, so the library hears those to this query.
    fn look(&mut self, listening: &[Multiaddr]) {
        if self.config.enable_ipv6 {
            if let Err(error) = self.queries.ask() {
                tracing::debug!(why = %error, "discovery queries could not be sent over IPv6");
            }
            return;
        }
        for ip in listening.iter().filter_map(ip_of) {
            let IpAddr::V4(ip) = ip else { continue };
            if !ip.is_loopback()
                && let Err(error) = query::ask_over_ipv4(ip)
            {
                tracing::debug!(%ip, why = %error, "a discovery query could not be sent");
            }
        }
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
        // The call that a swarm makes before it dials. It looks at the peer only and never denies.
        let any = ConnectionId::new_unchecked(0);
        let (peer, as_dialer) = (Some(*peer), Endpoint::Dialer);
        behaviour
            .handle_pending_outbound_connection(any, peer, &[], as_dialer)
            .unwrap_or_default()
    }
}

fn with_peer(address: Multiaddr, peer: Libp2pPeerId) -> Multiaddr {
    match address.iter().last() {
        Some(Protocol::P2p(_)) => address,
        _ => address.with(Protocol::P2p(peer)),
    }
}
