//! Who may connect, and the streams of those who did.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::task::{Context, Poll, Waker};

use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::swarm::behaviour::{ConnectionClosed, ListenFailure};
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, NotifyHandler, THandler,
    THandlerInEvent, THandlerOutEvent, ToSwarm,
};
use libp2p::{Multiaddr, PeerId};

use super::handler::{Handler, Opened};
use super::reach::ip_of;
use super::stream::Purpose;

/// Connections from one address at a time, those that have not proved who they are among them.
const MOST_FROM_ADDRESS: usize = 16;
/// Connections that others opened, at a time.
const MOST_INBOUND: usize = 128;

/// Lets paired peers in, and others only to pair while this device's owner has that open.
#[derive(Debug, Default)]
pub(super) struct Gate {
    members: BTreeSet<PeerId>,
    /// Whether anyone may connect to pair.
    inviting: bool,
    /// Whom this device is pairing with by its invitation.
    joining: Option<PeerId>,
    inbound: BTreeMap<ConnectionId, Option<IpAddr>>,
    actions: VecDeque<ToSwarm<StreamOf, Purpose>>,
    waker: Option<Waker>,
}

/// A stream of a connection.
#[derive(Debug)]
pub(super) struct StreamOf {
    pub(super) peer: PeerId,
    pub(super) connection: ConnectionId,
    pub(super) opened: Opened,
}

/// Why a connection is refused.
#[derive(Debug, thiserror::Error)]
enum Denied {
    #[error("the peer is not paired with this device")]
    NotPaired,
    #[error("too many connections")]
    TooMany,
}

impl Gate {
    pub(super) fn set_members(&mut self, members: BTreeSet<PeerId>) {
        self.members = members;
    }

    pub(super) fn is_member(&self, peer: &PeerId) -> bool {
        self.members.contains(peer)
    }

    pub(super) fn set_inviting(&mut self, inviting: bool) {
        self.inviting = inviting;
    }

    pub(super) fn set_joining(&mut self, joining: Option<PeerId>) {
        self.joining = joining;
    }

    /// Pairing with this peer is over.
    pub(super) fn end_joining(&mut self, peer: &PeerId) {
        self.joining.take_if(|joining| joining == peer);
    }

    /// Opens a stream on a connection that is there.
    pub(super) fn open(&mut self, peer: PeerId, connection: ConnectionId, purpose: Purpose) {
        self.act(ToSwarm::NotifyHandler {
            peer_id: peer,
            handler: NotifyHandler::One(connection),
            event: purpose,
        });
    }

    fn act(&mut self, action: ToSwarm<StreamOf, Purpose>) {
        self.actions.push_back(action);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn handler(&self, peer: PeerId, outbound: bool) -> Result<Handler, ConnectionDenied> {
        if self.is_member(&peer) {
            Ok(Handler::opening(&[Purpose::Control, Purpose::Data]))
        } else if outbound && self.joining == Some(peer) {
            Ok(Handler::opening(&[Purpose::Pairing]))
        } else if !outbound && self.inviting {
            Ok(Handler::opening(&[]))
        } else {
            Err(ConnectionDenied::new(Denied::NotPaired))
        }
    }
}

impl NetworkBehaviour for Gate {
    type ConnectionHandler = Handler;
    type ToSwarm = StreamOf;

    fn handle_pending_inbound_connection(
        &mut self,
        connection: ConnectionId,
        _local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        let address = ip_of(remote);
        let same = self.inbound.values().filter(|other| **other == address);
        if self.inbound.len() >= MOST_INBOUND || same.count() >= MOST_FROM_ADDRESS {
            return Err(ConnectionDenied::new(Denied::TooMany));
        }
        self.inbound.insert(connection, address);
        Ok(())
    }

    fn handle_established_inbound_connection(
        &mut self,
        _connection: ConnectionId,
        peer: PeerId,
        _local: &Multiaddr,
        _remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.handler(peer, false)
    }

    fn handle_established_outbound_connection(
        &mut self,
        _connection: ConnectionId,
        peer: PeerId,
        _address: &Multiaddr,
        _role: Endpoint,
        _port: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.handler(peer, true)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionClosed(ConnectionClosed { connection_id, .. })
            | FromSwarm::ListenFailure(ListenFailure { connection_id, .. }) => {
                self.inbound.remove(&connection_id);
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        opened: THandlerOutEvent<Self>,
    ) {
        self.act(ToSwarm::GenerateEvent(StreamOf {
            peer,
            connection,
            opened,
        }));
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        if let Some(action) = self.actions.pop_front() {
            return Poll::Ready(action);
        }
        self.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pending(gate: &mut Gate, connection: usize, from: &str) -> bool {
        let local = "/ip4/127.0.0.1/tcp/1".parse().expect("an address");
        let remote = from.parse().expect("an address");
        let id = ConnectionId::new_unchecked(connection);
        gate.handle_pending_inbound_connection(id, &local, &remote)
            .is_ok()
    }

    #[test]
    fn one_address_cannot_take_all_connections() {
        let mut gate = Gate::default();
        let taken = (0..1000).filter(|&i| pending(&mut gate, i, "/ip4/10.0.0.1/tcp/7"));
        assert_eq!(taken.count(), MOST_FROM_ADDRESS);
        assert!(pending(&mut gate, 2000, "/ip4/10.0.0.2/tcp/7"));
        assert_eq!(gate.inbound.len(), MOST_FROM_ADDRESS + 1);
    }

    #[test]
    fn strangers_connect_only_to_pair() {
        let mut gate = Gate::default();
        let (member, stranger) = (PeerId::random(), PeerId::random());
        gate.set_members([member].into());
        assert!(gate.handler(member, false).is_ok() && gate.handler(member, true).is_ok());
        assert!(gate.handler(stranger, false).is_err() && gate.handler(stranger, true).is_err());
        gate.set_inviting(true);
        assert!(gate.handler(stranger, false).is_ok() && gate.handler(stranger, true).is_err());
        gate.set_inviting(false);
        gate.set_joining(Some(stranger));
        assert!(gate.handler(stranger, false).is_err() && gate.handler(stranger, true).is_ok());
    }
}
