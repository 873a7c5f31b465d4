//! What the network tells the driver: connections, streams, bytes, addresses.

use std::time::Duration;

use libp2p::core::ConnectedPoint;
use libp2p::swarm::{ConnectionId, SwarmEvent};
use potluck_protocol::PeerId;
use potluck_protocol::machine::{Event, Input};
use potluck_protocol::pairing::{Invitation, Wish};

use super::circle::Joining;
use super::connections::Established;
use super::driver::{Driver, unix_seconds};
use super::gate::StreamOf;
use super::handler::Opened;
use super::ids;
use super::node::NodeEvent;
use super::pump::Arrival;
use super::reach::without_peer;
use super::stream::Purpose;
use super::underway::PairingId;
use crate::device::random;

/// How long the device that invites is looked for.
const JOINING: Duration = Duration::from_secs(6);
/// How long a peer is not dialled that said that two nodes run with this device's key.
const IN_PEACE: Duration = Duration::from_secs(60);

impl Driver {
    pub(super) fn on_swarm(&mut self, event: SwarmEvent<StreamOf>) {
        match event {
            SwarmEvent::Behaviour(stream) => self.on_stream(stream),
            SwarmEvent::ConnectionEstablished {
                peer_id,
                connection_id,
                endpoint,
                ..
            } => self.on_connected(peer_id, connection_id, &endpoint),
            SwarmEvent::ConnectionClosed {
                peer_id,
                connection_id,
                ..
            } => self.on_disconnected(peer_id, connection_id),
            SwarmEvent::OutgoingConnectionError {
                connection_id,
                error,
                ..
            } => self.dial_failed(connection_id, &error),
            SwarmEvent::NewListenAddr {
                listener_id,
                address,
            } => self.listens_at(listener_id, &address),
            SwarmEvent::ExpiredListenAddr { address, .. } => self.lost_address(&address),
            SwarmEvent::ListenerClosed { .. } => self.tell_listening(),
            _ => {}
        }
    }

    fn on_connected(
        &mut self,
        peer: libp2p::PeerId,
        connection: ConnectionId,
        endpoint: &ConnectedPoint,
    ) {
        let now = self.now();
        self.addresses.dial_ended(connection);
        let joining = self.joining_whom();
        if joining.is_some() && joining == ids::of_libp2p(&peer) && endpoint.is_dialer() {
            self.joining_over = Some(connection);
        }
        let Some(id) = ids::of_libp2p(&peer).filter(|id| self.machine.is_member(*id)) else {
            self.pairings.stranger(now, connection);
            return;
        };
        let dialled = endpoint.is_dialer();
        let stays = self.machine.is_copied(id);
        match self
            .connections
            .established(now, id, connection, dialled, stays)
        {
            Established::Superfluous => {
                self.swarm.close_connection(connection);
            }
            Established::Counts { instead_of } => {
                if let Some(before) = instead_of {
                    self.swarm.close_connection(before);
                }
                // A peer dials from the port that it listens on, where its system allows that.
                let address = endpoint.get_remote_address();
                self.addresses.insert(peer, without_peer(address), dialled);
                self.store_addresses();
                self.tell(Input::Connected(id));
            }
        }
    }

    /// What the machine tells has to do with where peers are.
    pub(super) fn note(&mut self, event: &Event) {
        match event {
            // Not before: one that is refused or closed at once is not tried again at once.
            Event::PeerConnected { peer, .. } => self.addresses.reached(&ids::to_libp2p(*peer)),
            Event::ThisIsCopied { told_by } => {
                let until = self.now() + IN_PEACE;
                self.addresses
                    .leave_in_peace(&ids::to_libp2p(*told_by), until);
            }
            _ => {}
        }
    }

    fn on_disconnected(&mut self, peer: libp2p::PeerId, connection: ConnectionId) {
        if let Some((peer, open)) = self.pairings.closed(connection) {
            self.pairing_ended(peer, open);
        }
        let Some(id) = ids::of_libp2p(&peer) else {
            return;
        };
        if self.connections.closed(id, connection) {
            self.tell(Input::Disconnected(id));
        }
        if self.joining_over == Some(connection) && self.joining.is_some() {
            // Before there was a stream to say why.
            self.end_joining(id);
            self.not_reached("it lets nobody pair now, ask for a new invitation".to_owned());
        }
    }

    fn on_stream(&mut self, stream: StreamOf) {
        let StreamOf {
            peer,
            connection,
            opened,
        } = stream;
        let Some(id) = ids::of_libp2p(&peer) else {
            return;
        };
        let counts = self.connections.counts(id, connection);
        match opened {
            Opened::Outbound(Purpose::Pairing, stream) => {
                self.begin_joining(id, connection, stream)
            }
            Opened::Inbound(Purpose::Pairing, stream) => {
                // An owner that invites nobody lets nobody pair: the stream is dropped.
                if self.machine.is_inviting() && self.pairings.opened(id, connection, stream) {
                    self.tell_clock();
                    match random() {
                        Ok(ephemeral) => self.tell(Input::PairingOpened {
                            peer: id,
                            ephemeral,
                        }),
                        Err(error) => self.tell_watchers(&NodeEvent::Problem(error.to_string())),
                    }
                }
            }
            Opened::Outbound(purpose, stream) if counts => {
                self.connections.opened(id, purpose, stream);
            }
            Opened::Inbound(purpose, stream) if counts => {
                if !self.connections.came(id, purpose, stream) {
                    // A second stream of one kind is nothing that a correct node opens.
                    self.swarm.close_connection(connection);
                }
            }
            Opened::Failed(Purpose::Pairing) => {
                self.not_reached("the device does not pair".to_owned());
            }
            Opened::Failed(_) if counts => {
                self.swarm.close_connection(connection);
            }
            Opened::Outbound(..) | Opened::Inbound(..) | Opened::Failed(_) => {}
        }
    }

    pub(super) fn on_arrival(&mut self, arrival: Arrival) {
        let Arrival {
            connection,
            purpose,
            bytes,
        } = arrival;
        self.traffic.bytes_received += bytes.len() as u64;
        if purpose == Purpose::Pairing {
            if bytes.is_empty() {
                if let Some((peer, open)) = self.pairings.ended(connection) {
                    self.pairing_ended(peer, open);
                }
            } else if let Some(peer) = self.pairings.peer_of(connection) {
                self.tell(Input::PairingBytes(peer, bytes));
            }
            return;
        }
        let Some(peer) = self.connections.peer_of(connection) else {
            return;
        };
        if bytes.is_empty() {
            // A connection that has lost one of its streams is of no use.
            self.swarm.close_connection(connection);
        } else {
            self.tell(match purpose {
                Purpose::Control | Purpose::Pairing => Input::ControlBytes(peer, bytes),
                Purpose::Data => Input::DataBytes(peer, bytes),
                Purpose::Transfer => Input::TransferBytes(peer, bytes),
            });
        }
    }

    /// Whom this device is about to join.
    pub(super) fn joining_whom(&self) -> Option<PeerId> {
        let joining = self.joining.as_ref();
        joining.map(|joining| joining.invitation.peer())
    }

    /// The joining that the machine has not begun yet comes to nothing.
    pub(super) fn not_reached(&mut self, why: String) {
        if let Some(Joining { id: of, .. }) = self.joining.take() {
            self.tell_watchers(&NodeEvent::NotReached { of, why });
        }
    }

    /// Goes to another device to pair by its invitation; watchers are told how it went.
    pub(super) fn join(&mut self, id: PairingId, invitation: Invitation, wish: Wish) {
        let peer = ids::to_libp2p(invitation.peer());
        let addresses = invitation.addresses().iter().rev();
        for address in addresses.filter_map(|address| address.as_str().parse().ok()) {
            self.addresses.insert(peer, address, true);
        }
        let until = self.now() + JOINING;
        let connected = self.connections.of(invitation.peer());
        self.joining = Some(Joining {
            id,
            invitation,
            wish,
            until,
        });
        self.joining_over = connected;
        let gate = self.swarm.behaviour_mut();
        gate.set_joining(Some(peer));
        if let Some(connection) = connected {
            gate.open(peer, connection, Purpose::Pairing);
            return;
        }
        // Whatever was tried before, it is tried now.
        self.addresses.reached(&peer);
        self.look_after_peers();
    }

    fn begin_joining(&mut self, peer: PeerId, connection: ConnectionId, stream: libp2p::Stream) {
        let is_it = |joining: &mut Joining| joining.invitation.peer() == peer;
        let Some(joining) = self.joining.take_if(is_it) else {
            return;
        };
        let Joining {
            id,
            invitation,
            wish,
            until: _,
        } = joining;
        if !self.pairings.opened(peer, connection, stream) {
            return;
        }
        let now = self.now();
        let begun = random()
            .map_err(|error| error.to_string())
            .and_then(|ephemeral| {
                let machine = &mut self.machine;
                machine
                    .join(now, unix_seconds(), &invitation, peer, wish, ephemeral)
                    .map_err(|error| error.to_string())
            });
        match begun {
            Ok(()) => self.underway.joining = Some((invitation.peer(), id)),
            Err(why) => {
                self.pairings.close(now, peer);
                self.tell_watchers(&NodeEvent::NotReached { of: id, why });
            }
        }
    }

    fn pairing_ended(&mut self, peer: PeerId, open: bool) {
        if open {
            self.tell(Input::PairingClosed(peer));
        }
        self.end_joining(peer);
    }

    pub(super) fn end_joining(&mut self, peer: PeerId) {
        let gate = self.swarm.behaviour_mut();
        gate.end_joining(&ids::to_libp2p(peer));
    }
}
