//! Handles the events of the network: connections, streams, bytes, addresses.

use std::time::Duration;

use libp2p::Multiaddr;
use libp2p::core::ConnectedPoint;
use libp2p::swarm::{ConnectionError, ConnectionId, ListenError, SwarmEvent};
use potluck_protocol::PeerId;
use potluck_protocol::machine::{Event, Input};
use potluck_protocol::pairing::{Invitation, Wish};

use super::connections::Established;
use super::driver::{Driver, unix_seconds};
use super::gate::StreamOf;
use super::handler::Opened;
use super::ids;
use super::parts::without_peer;
use super::pump::Arrival;
use super::report::{AskedFor, NodeEvent};
use super::stream::Purpose;
use super::underway::{Joining, PairingId};
use crate::device::random;
use crate::words;

/// How long to look for the inviting device.
const JOINING: Duration = Duration::from_secs(6);
/// How long not to dial a peer of which two copies run, so that both of them connect and are told; and a
/// peer that said that two copies of this device run, which would take an earlier connection for one of a
/// copy that has not been told.
const IN_PEACE: Duration = Duration::from_secs(20);

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
                cause,
                ..
            } => self.on_disconnected(peer_id, connection_id, cause.as_ref()),
            SwarmEvent::IncomingConnectionError {
                send_back_addr,
                error,
                peer_id,
                ..
            } => self.incoming_failed(peer_id, &send_back_addr, &error),
            SwarmEvent::OutgoingConnectionError {
                connection_id,
                error,
                ..
            } => {
                self.dialled_in_vain(&error);
                self.dial_failed(connection_id, &error);
            }
            SwarmEvent::NewListenAddr {
                listener_id,
                address,
            } => self.listens_at(listener_id, &address),
            SwarmEvent::ExpiredListenAddr { address, .. } => self.lost_address(&address),
            SwarmEvent::ListenerClosed { reason, .. } => {
                if let Err(error) = reason {
                    tracing::warn!(why = %error, "this device listens at one address less");
                }
                self.tell_listening();
            }
            SwarmEvent::ListenerError { error, .. } => {
                tracing::warn!(why = %error, "a connection that came could not be taken");
            }
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
        if self.swarm.behaviour().dialled_to_join(connection) {
            // Dialled only to pair.
            if self.joining.is_some() && self.joining_over.is_none() {
                self.joining_over = Some(connection);
                self.pairings.stranger(now, connection);
            } else {
                // Another dial was faster.
                self.swarm.close_connection(connection);
            }
            return;
        }
        let Some(id) = ids::of_libp2p(&peer).filter(|id| self.machine.is_member(*id)) else {
            self.pairings.stranger(now, connection);
            return;
        };
        let dialled = endpoint.is_dialer();
        let stays = self.machine.stays_connected(id);
        match self
            .connections
            .established(now, id, connection, dialled, stays)
        {
            // A member may open another connection to pair again; whether it does shows soon.
            Established::Superfluous if self.machine.is_inviting() && !dialled => {
                self.pairings.stranger(now, connection);
            }
            Established::Superfluous => {
                self.swarm.close_connection(connection);
            }
            Established::Counts { instead_of } => {
                if let Some(before) = instead_of {
                    self.replaced(before);
                }
                // Useful also for inbound connections: a peer dials from its listening port, if its system
                // allows that.
                let address = endpoint.get_remote_address();
                self.journal
                    .links
                    .opened(now, &self.machine, id, address, dialled);
                self.addresses.insert(peer, without_peer(address), dialled);
                self.store_addresses();
                self.met(address);
                self.tell(Input::Connected(id));
            }
        }
    }

    /// Events of the machine that affect dialling.
    pub(super) fn note(&mut self, event: &Event) {
        match event {
            // Not earlier: a connection that is refused at once must not reset the pause.
            Event::PeerConnected { peer, .. } => self.addresses.reached(&ids::to_libp2p(*peer)),
            Event::Copied(peer) | Event::ThisIsCopied { told_by: peer } => {
                let until = self.now() + IN_PEACE;
                self.addresses.leave_in_peace(&ids::to_libp2p(*peer), until);
            }
            _ => {}
        }
    }

    /// An inbound connection failed before it was established.
    fn incoming_failed(
        &mut self,
        peer: Option<libp2p::PeerId>,
        address: &Multiaddr,
        error: &ListenError,
    ) {
        self.came_in_vain(error);
        let (now, peer) = (self.now(), peer.and_then(|peer| ids::of_libp2p(&peer)));
        let links = &mut self.journal.links;
        let told = links.incoming_failed(now, &self.machine, peer, address, error);
        told.iter().for_each(|event| self.tell_watchers(event));
    }

    fn on_disconnected(
        &mut self,
        peer: libp2p::PeerId,
        connection: ConnectionId,
        cause: Option<&ConnectionError>,
    ) {
        if let Some((peer, open)) = self.pairings.closed(connection) {
            self.pairing_ended(peer, open);
        }
        let Some(id) = ids::of_libp2p(&peer) else {
            return;
        };
        if self.connections.closed(id, connection) {
            if let Some(cause) = cause {
                self.journal.links.ended(id, words::of(cause));
            }
            self.tell(Input::Disconnected(id));
        }
        if !self.joins_over(connection) {
            return;
        }
        // Closed before there was a stream to give a reason on.
        if self.swarm.behaviour().dialled_to_join(connection) {
            self.not_reached("it lets nobody pair now, ask for a new invitation".to_owned());
        } else {
            // An older connection, perhaps to a node that has ended.
            self.joining_over = None;
            self.look_after_peers();
        }
    }

    /// Closes a connection that has lost one of its streams, unless a pairing uses it.
    fn of_no_use(&mut self, peer: PeerId, connection: ConnectionId) {
        if !self.is_of_pairing(connection) {
            self.swarm.close_connection(connection);
        } else if self.connections.closed(peer, connection) {
            self.pairings.keep_for_pairing(connection);
            self.tell(Input::Disconnected(peer));
        }
    }

    /// A newer connection replaces this one, which is closed unless a pairing uses it.
    fn replaced(&mut self, before: ConnectionId) {
        if self.is_of_pairing(before) {
            self.pairings.keep_for_pairing(before);
        } else if self.machine.is_inviting() {
            // A member that pairs again may be about to open a pairing stream on it.
            self.pairings.stranger(self.now(), before);
        } else {
            self.swarm.close_connection(before);
        }
    }

    /// Whether a pairing uses this connection, or is about to.
    pub(super) fn is_of_pairing(&self, connection: ConnectionId) -> bool {
        self.joins_over(connection) || self.pairings.peer_of(connection).is_some()
    }

    /// Whether the joining that is about to begin will use this connection.
    fn joins_over(&self, connection: ConnectionId) -> bool {
        self.joining.is_some() && self.joining_over == Some(connection)
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
                // Without an open invitation nobody may pair: the stream is dropped.
                if !self.machine.is_inviting() {
                    let why = "no invitation is open".to_owned();
                    return self.refuse(id, AskedFor::Pairing, why);
                }
                self.leave_to_pairing(id, connection);
                if self.pairings.opened(id, connection, stream) {
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
            // Even if its connection no longer counts, a last message may wait to be sent.
            Opened::Outbound(purpose, stream) => {
                self.connections.opened(id, connection, purpose, stream);
            }
            Opened::Inbound(purpose, stream) if counts => {
                if !self.connections.came(id, purpose, stream) {
                    // A correct node opens one stream of each purpose.
                    self.of_no_use(id, connection);
                }
            }
            Opened::Failed(Purpose::Pairing) if self.joins_over(connection) => {
                self.not_reached("the device does not pair".to_owned());
            }
            Opened::Failed(purpose) if counts && purpose != Purpose::Pairing => {
                self.of_no_use(id, connection);
            }
            Opened::Inbound(..) | Opened::Failed(_) => {}
        }
    }

    pub(super) fn on_arrival(&mut self, arrival: Arrival) {
        let Arrival {
            connection,
            purpose,
            bytes,
            why,
        } = arrival;
        self.traffic.bytes_received += bytes.len() as u64;
        tracing::trace!(
            %connection,
            stream = purpose.name(),
            bytes = bytes.len(),
            "received"
        );
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
            let stream = purpose.name();
            tracing::debug!(%connection, stream, why = why.as_ref().map(ToString::to_string), "a stream ended");
            if let Some(why) = why {
                self.journal.links.ended(peer, words::of(&why));
            }
            self.of_no_use(peer, connection);
        } else {
            self.tell(match purpose {
                Purpose::Control | Purpose::Pairing => Input::ControlBytes(peer, bytes),
                Purpose::Data => Input::DataBytes(peer, bytes),
                Purpose::Transfer => Input::TransferBytes(peer, bytes),
            });
        }
    }

    /// The device that this one is about to join.
    pub(super) fn joining_whom(&self) -> Option<PeerId> {
        let joining = self.joining.as_ref();
        joining.map(|joining| joining.invitation.peer())
    }

    /// A member opened a connection only to pair, without the streams between members: it stops counting.
    fn leave_to_pairing(&mut self, peer: PeerId, connection: ConnectionId) {
        if self.connections.counts(peer, connection) && !self.connections.is_used(peer) {
            self.connections.closed(peer, connection);
            self.pairings.stranger(self.now(), connection);
            self.tell(Input::Disconnected(peer));
        }
    }

    /// Ends a joining that the machine has not begun yet.
    pub(super) fn not_reached(&mut self, why: String) {
        if let Some(Joining { id, invitation, .. }) = self.joining.take() {
            self.end_joining(invitation.peer());
            let why = match clocks(invitation.expires_unix_s(), unix_seconds()) {
                Some(clocks) => format!("{why}; {clocks}"),
                None => why,
            };
            self.journal.pairings.not_reached(id, &why);
            self.tell_watchers(&NodeEvent::NotReached { of: id, why });
        }
    }

    /// Reports that a request was refused.
    fn refuse(&mut self, peer: PeerId, request: AskedFor, why: String) {
        let (now, links) = (self.now(), &mut self.journal.links);
        let told = links.refused(now, &self.machine, Some(peer), request, why);
        told.iter().for_each(|event| self.tell_watchers(event));
    }

    /// Starts to pair by an invitation; watchers are told the outcome.
    pub(super) fn join(&mut self, id: PairingId, invitation: Invitation, wish: Wish) {
        let peer = ids::to_libp2p(invitation.peer());
        let addresses = invitation.addresses().iter().rev();
        for address in addresses.filter_map(|address| address.as_str().parse().ok()) {
            self.addresses.insert(peer, address, true);
        }
        self.journal.pairings.joins(id, invitation.peer());
        let until = self.now() + JOINING;
        let connected = self.connections.of(invitation.peer());
        self.joining = Some(Joining {
            id,
            invitation,
            wish,
            until,
        });
        self.joining_over = connected;
        if let Some(connection) = connected {
            let gate = self.swarm.behaviour_mut();
            gate.open(peer, connection, Purpose::Pairing);
            return;
        }
        // Dialled at once, whatever failed before.
        self.addresses.forget_dials();
        self.addresses.reached(&peer);
        let (now, listening) = (self.now(), self.listening());
        self.nearby.look(now, &listening);
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
            let why = "an earlier pairing with it is ending, try again in a moment".to_owned();
            self.journal.pairings.not_reached(id, &why);
            self.tell_watchers(&NodeEvent::NotReached { of: id, why });
            return;
        }
        self.tell_clock();
        let now = self.now();
        let begun = random()
            .map_err(|error| error.to_string())
            .and_then(|ephemeral| {
                let machine = &mut self.machine;
                machine
                    .join(now, &invitation, peer, wish, ephemeral)
                    .map_err(|error| error.to_string())
            });
        match begun {
            Ok(()) => self.underway.joining = Some((invitation.peer(), id)),
            Err(why) => {
                self.pairings.close(now, peer);
                self.journal.pairings.not_reached(id, &why);
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

/// What both clocks say, if the invitation has expired by this device's clock.
fn clocks(expires_unix_s: u64, now_unix_s: u64) -> Option<String> {
    let time = |unix_s: u64| {
        let minutes = unix_s / 60;
        format!("{:02}:{:02} UTC", minutes / 60 % 24, minutes % 60)
    };
    let (ends, here) = (time(expires_unix_s), time(now_unix_s));
    let days = now_unix_s.saturating_sub(expires_unix_s) / 86_400;
    let here = match days {
        0 => here,
        _ => format!("{here}, {days} days later"),
    };
    (now_unix_s >= expires_unix_s).then(|| {
        format!(
            "the invitation expired at {ends} by the clock of the device that made it, and this device's \
             shows {here}: ask for a new one; if it is new, one of the two clocks is wrong"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invitation_that_seems_to_have_expired_shows_both_clocks() {
        assert_eq!(clocks(600, 599), None);
        let told = clocks(3_600 * 5, 3_600 * 5 + 1_800).unwrap_or_default();
        assert!(
            told.contains("at 05:00 UTC") && told.contains("shows 05:30 UTC:"),
            "{told}"
        );
        let told = clocks(60, 3 * 86_400 + 60).unwrap_or_default();
        assert!(told.contains("shows 00:01 UTC, 3 days later"), "{told}");
    }
}
