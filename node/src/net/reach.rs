//! Listening, announcing this node, and dialling peers that are not connected.
//!
//! Whether to dial a peer depends only on this node's own records: which connection to it counts
//! (`connections`) and which of its addresses are being dialled (`addresses`). libp2p still lists
//! connections that have not finished closing, and would refuse to dial because of them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::num::NonZeroU8;

use libp2p::Multiaddr;
use libp2p::core::transport::ListenerId;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{ConnectionId, DialError};
use potluck_protocol::PeerId;
use potluck_protocol::machine::Input;
use potluck_protocol::pairing::{Address, Invitation, by_reach};

use super::driver::Driver;
use super::ids;
use super::listen::{self, ListenError};
use super::nearby::Expected;
use super::parts::{ip_of, peer_in, without_peer};
use super::report::NodeEvent;

/// Addresses of a peer that are dialled in parallel: all of them, because a dead address does not answer
/// and would hold up the next.
const AT_ONCE: NonZeroU8 = NonZeroU8::MAX;
/// Why joining failed, if the inviting device was not found.
const NOT_FOUND: &str = "it answers at none of its addresses, so bring both devices into one network, \
                         and ask for a new invitation";
/// Why joining failed, if other devices answered at its addresses.
const NOT_THERE: &str = "another device answers at its address, so ask for a new invitation";

impl Driver {
    /// Listens on an address; on the same port as last time, if it asks for any.
    pub(super) fn listen(&mut self, asked: &Multiaddr) -> Result<(), ListenError> {
        let last = self.ports.last(asked);
        let again = last.map(|last| listen::on(&mut self.swarm, last));
        let is_taken = matches!(again, Some(Err(_)));
        let listener = match again {
            Some(Ok(listener)) => listener,
            Some(Err(_)) | None => listen::on(&mut self.swarm, asked.clone())?,
        };
        self.ports.listens(listener, asked);
        if is_taken && self.untold.is_none() {
            let words = "another program uses the port that this device had, so it chose another: \
                         devices that do not find it by themselves need its new address";
            self.untold = Some(NodeEvent::Problem(words.to_owned()));
        }
        Ok(())
    }

    /// A new listen address is there; the device may be in another network now.
    pub(super) fn listens_at(&mut self, listener: ListenerId, address: &Multiaddr) {
        if let Err(error) = self.ports.note(listener, address) {
            let words = format!("cannot remember the port of this device: {error}");
            self.tell_watchers(&NodeEvent::Problem(words));
        }
        self.tell_listening();
        let (now, listening) = (self.now(), self.listening());
        self.nearby.look(now, &listening);
        self.addresses.try_again();
        self.look_after_peers();
    }

    /// A listen address is gone. Ends the connections that came from it.
    pub(super) fn lost_address(&mut self, address: &Multiaddr) {
        if let Some(ip) = ip_of(address) {
            self.sockets.lost(ip);
        }
        self.addresses.forget_dials();
        self.tell_listening();
    }

    /// Tells the machine and the discovery where this node listens.
    pub(super) fn tell_listening(&mut self) {
        self.announce();
        let listening = self.listening();
        let addresses = told_addresses(&listening);
        self.tell(Input::Listening(addresses));
    }

    /// Announces this node in the networks where it is expected, and no longer in others.
    pub(super) fn announce(&mut self) {
        let (listening, by) = (self.listening(), self.expected());
        self.nearby.announce(&listening, by);
    }

    fn expected(&self) -> Expected {
        let others = self.others().count();
        Expected {
            by_invitation: self.machine.is_inviting(),
            by_members: others > 0,
        }
    }

    /// The other members of the circle.
    fn others(&self) -> impl Iterator<Item = PeerId> {
        let members = self.machine.circle().members().map(|member| member.peer);
        members.filter(|peer| self.machine.is_member(*peer))
    }

    /// Remembers that a member was reached at this address.
    pub(super) fn met(&mut self, at: &Multiaddr) {
        let Some(ip) = ip_of(at) else {
            return;
        };
        let listening = self.listening();
        if let Err(error) = self.nearby.met(ip, &listening) {
            let words = format!("cannot remember in which networks paired devices are: {error}");
            self.tell_watchers(&NodeEvent::Problem(words));
        }
    }

    /// A member told its own addresses, or those of another member.
    pub(super) fn learn_addresses(&mut self, peer: PeerId, addresses: &[Address]) {
        let peer = ids::to_libp2p(peer);
        for address in addresses.iter().filter_map(|a| a.as_str().parse().ok()) {
            self.addresses.insert(peer, without_peer(&address), false);
        }
        self.look_after_peers();
    }

    /// Dials members that are not connected and the device that this one is joining, and closes
    /// connections that have become useless.
    pub(super) fn look_after_peers(&mut self) {
        let now = self.now();
        for connection in self.pairings.due(now) {
            self.swarm.close_connection(connection);
        }
        let joining = self.joining_whom();
        let absent = self.others();
        let absent = absent.filter(|peer| !self.connections.contains(*peer));
        // The device that this one is joining may still be listed as a member; it is dialled to pair only.
        let absent: Vec<_> = absent.filter(|peer| joining != Some(*peer)).collect();
        if !absent.is_empty() {
            self.look_for_others();
        }
        for peer in absent {
            self.dial(ids::to_libp2p(peer), false);
        }
        self.look_for_inviter();
    }

    /// Sends a discovery query from time to time. If no member is found, tells the owner once that this
    /// device does not announce itself here.
    fn look_for_others(&mut self) {
        let (now, listening, by) = (self.now(), self.listening(), self.expected());
        self.nearby.look_sometimes(now, &listening);
        let connected = self.connections.has_any();
        let told = self.nearby.unannounced(now, &listening, by, connected);
        if let Some(words) = told {
            self.tell_watchers(&NodeEvent::Problem(words.to_owned()));
        }
    }

    /// Dials the device that this one is joining, until the search times out.
    fn look_for_inviter(&mut self) {
        let Some(joining) = self.joining.as_ref() else {
            return;
        };
        let (peer, until) = (ids::to_libp2p(joining.invitation.peer()), joining.until);
        if self.joining_over.is_some() {
            return;
        }
        if self.now() < until {
            self.dial(peer, true);
        } else if !self.addresses.is_dialled(&peer) {
            self.not_reached(NOT_FOUND.to_owned());
        }
    }

    /// Dials all known addresses of a peer, if a dial is due. `to_join`: the connection is for pairing only.
    fn dial(&mut self, peer: libp2p::PeerId, to_join: bool) {
        let now = self.now();
        let found = self.nearby.known(&peer).into_iter();
        let found: Vec<_> = found.map(|address| without_peer(&address)).collect();
        let addresses = self.addresses.due(now, &peer, &found);
        if addresses.is_empty() {
            return;
        }
        let options = DialOpts::peer_id(peer)
            .condition(PeerCondition::Always)
            .addresses(addresses.clone())
            .override_dial_concurrency_factor(AT_ONCE)
            .build();
        let connection = options.connection_id();
        self.addresses.dialled(now, connection, peer, addresses);
        if to_join {
            let gate = self.swarm.behaviour_mut();
            gate.dials_to_join(peer, connection);
        }
        if let Err(error) = self.swarm.dial(options) {
            self.dial_failed(connection, &error);
        }
    }

    /// A dial failed, or another device answered. The peer is dialled again later, but not at an address
    /// where another device answered.
    pub(super) fn dial_failed(&mut self, connection: ConnectionId, error: &DialError) {
        let dialled = self.addresses.dial_ended(connection);
        let now = self.now();
        let id = dialled.and_then(|peer| ids::of_libp2p(&peer));
        let connected = id.is_some_and(|id| self.connections.contains(id));
        let links = &mut self.journal.links;
        let told = links.dial_failed(now, &self.machine, id, connected, error);
        told.iter().for_each(|event| self.tell_watchers(event));
        let Some(peer) = dialled else {
            return;
        };
        match error {
            DialError::WrongPeerId { address, .. } => {
                // The first answer has ended the dials that ran in parallel with it.
                self.addresses.is_not_at(now, peer, &without_peer(address));
                let is_joined = self.joining_whom() == ids::of_libp2p(&peer);
                if is_joined && !self.addresses.is_known(&peer) {
                    self.not_reached(NOT_THERE.to_owned());
                }
            }
            // Caused by this node itself. It does not dial another peer's connection, itself, or without
            // addresses; a peer that is denied has ceased to be a member.
            DialError::LocalPeerId { .. }
            | DialError::NoAddresses
            | DialError::DialPeerConditionFalse(_)
            | DialError::Denied { .. }
            | DialError::Aborted
            | DialError::Transport(_) => {}
        }
    }

    /// Discovery found a device. Its address is kept only if it is a member or the device that this one
    /// is joining.
    pub(super) fn add_found(&mut self, address: &Multiaddr) {
        let Some(peer) = peer_in(address) else {
            return;
        };
        let id = ids::of_libp2p(&peer);
        let is_awaited =
            id.is_some_and(|id| self.machine.is_member(id) || self.joining_whom() == Some(id));
        if is_awaited {
            self.addresses.insert(peer, without_peer(address), false);
            self.look_after_peers();
        } else {
            tracing::trace!(%address, "a device that is not paired was found");
        }
    }

    /// Adds an address of a peer that a person or another program gave.
    pub(super) fn add_address(&mut self, address: &Multiaddr) {
        match peer_in(address) {
            Some(peer) if !self.is_of_this_device(&peer) => {
                self.addresses.insert(peer, without_peer(address), true);
                self.look_after_peers();
            }
            _ => self.dial_anyone(address),
        }
    }
}

/// The addresses of this node that peers are told, the most reachable first. See [`by_reach`].
pub(super) fn told_addresses(listening: &[Multiaddr]) -> Vec<Address> {
    let texts = listening.iter();
    let addresses: Vec<_> = texts
        .filter_map(|address| Address::new(&address.to_string()).ok())
        .collect();
    by_reach(addresses, &routed(), Invitation::MAX_ADDRESSES)
}

/// The source addresses that the system would choose for the internet and for multicast. Connecting a UDP
/// socket tells them without sending anything.
fn routed() -> Vec<IpAddr> {
    let elsewhere: [IpAddr; 3] = [
        Ipv4Addr::new(203, 0, 113, 1).into(),
        Ipv4Addr::new(224, 0, 0, 251).into(),
        Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into(),
    ];
    let from = |to: IpAddr| {
        let any: IpAddr = match to {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = UdpSocket::bind(SocketAddr::new(any, 0)).ok()?;
        socket.connect(SocketAddr::new(to, 9)).ok()?;
        Some(socket.local_addr().ok()?.ip())
    };
    elsewhere.into_iter().filter_map(from).collect()
}
