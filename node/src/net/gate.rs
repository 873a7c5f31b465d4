//! Who may connect, and the streams of those who did.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::task::{Context, Poll, Waker};

use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::swarm::behaviour::{ConnectionClosed, DialFailure, ListenFailure};
use libp2p::swarm::{
    CloseConnection, ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, NotifyHandler,
    THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
};
use libp2p::{Multiaddr, PeerId};

use super::handler::{Handler, Opened};
use super::parts::ip_of;
use super::stream::Purpose;

/// Connections from one IP address, including those still in the handshake.
const MOST_FROM_ADDRESS: usize = 16;
/// Inbound connections.
const MOST_INBOUND: usize = 128;
/// Inbound connections of strangers, who may connect while an invitation is open. When there are more, the
/// oldest is closed.
const MOST_STRANGERS: usize = 32;

/// Admits paired peers, and strangers only to pair while an invitation is open.
#[derive(Debug, Default)]
pub(super) struct Gate {
    members: BTreeSet<PeerId>,
    /// Whether an invitation is open.
    inviting: bool,
    /// Connections that this device dials only to pair, and with whom.
    joining: BTreeMap<ConnectionId, PeerId>,
    inbound: BTreeMap<ConnectionId, Option<IpAddr>>,
    /// Connected strangers, the oldest first.
    strangers: VecDeque<(ConnectionId, PeerId)>,
    /// The stranger that pairing is in progress with.
    pairs_with: Option<PeerId>,
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

    /// Exempts a stranger that has proved to have the invitation from being closed.
    pub(super) fn set_pairs_with(&mut self, peer: Option<PeerId>) {
        self.pairs_with = peer;
    }

    /// A stranger connected. Closes the oldest if there are too many.
    fn stranger(&mut self, connection: ConnectionId, peer: PeerId) {
        self.strangers.push_back((connection, peer));
        if self.strangers.len() > MOST_STRANGERS {
            let pairs_with = self.pairs_with;
            let oldest = |(_, peer): &(_, PeerId)| pairs_with != Some(*peer);
            if let Some(at) = self.strangers.iter().position(oldest)
                && let Some((connection, peer)) = self.strangers.remove(at)
            {
                self.act(ToSwarm::CloseConnection {
                    peer_id: peer,
                    connection: CloseConnection::One(connection),
                });
            }
        }
    }

    /// This device dials a peer only to pair.
    pub(super) fn dials_to_join(&mut self, peer: PeerId, connection: ConnectionId) {
        self.joining.insert(connection, peer);
    }

    /// Whether a connection was dialled only to pair.
    pub(super) fn dialled_to_join(&self, connection: ConnectionId) -> bool {
        self.joining.contains_key(&connection)
    }

    /// Pairing with this peer is over.
    pub(super) fn end_joining(&mut self, peer: &PeerId) {
        self.joining.retain(|_, joining| joining != peer);
    }

    /// Opens a stream on an existing connection.
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

    fn handler(
        &self,
        peer: PeerId,
        dialled: Option<ConnectionId>,
    ) -> Result<Handler, ConnectionDenied> {
        // Checked first: the peer may be a member here but have forgotten this device, and pair again.
        let joins = dialled.and_then(|connection| self.joining.get(&connection)) == Some(&peer);
        if joins {
            Ok(Handler::opening(&[Purpose::Pairing]))
        } else if self.is_member(&peer) {
            Ok(Handler::opening(&[Purpose::Control, Purpose::Data]))
        } else if dialled.is_none() && self.inviting {
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
        connection: ConnectionId,
        peer: PeerId,
        _local: &Multiaddr,
        _remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        let handler = self.handler(peer, None)?;
        if !self.is_member(&peer) {
            self.stranger(connection, peer);
        }
        Ok(handler)
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        _address: &Multiaddr,
        _role: Endpoint,
        _port: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.handler(peer, Some(connection))
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::DialFailure(DialFailure { connection_id, .. }) => {
                self.joining.remove(&connection_id);
            }
            FromSwarm::ConnectionClosed(ConnectionClosed { connection_id, .. })
            | FromSwarm::ListenFailure(ListenFailure { connection_id, .. }) => {
                self.inbound.remove(&connection_id);
                self.strangers.retain(|(of, _)| *of != connection_id);
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
    fn strangers_hold_some_places_and_the_oldest_loses_its_own() {
        let mut gate = Gate::default();
        gate.set_inviting(true);
        let address: Multiaddr = "/ip4/127.0.0.1/tcp/1".parse().expect("an address");
        let connect = |gate: &mut Gate, id: usize| {
            let (id, peer) = (ConnectionId::new_unchecked(id), PeerId::random());
            let come = gate.handle_established_inbound_connection(id, peer, &address, &address);
            assert!(come.is_ok());
            peer
        };
        let first = connect(&mut gate, 0);
        gate.set_pairs_with(Some(first));
        for id in 1..100 {
            connect(&mut gate, id);
        }
        assert_eq!(gate.strangers.len(), MOST_STRANGERS);
        let closed = gate.actions.iter().map(|action| match action {
            ToSwarm::CloseConnection {
                connection: CloseConnection::One(id),
                ..
            } => *id,
            other => panic!("{other:?}"),
        });
        let expected = (1..=100 - MOST_STRANGERS).map(ConnectionId::new_unchecked);
        assert!(closed.eq(expected), "not the one that pairs");
    }

    #[test]
    fn strangers_connect_only_to_pair() {
        let mut gate = Gate::default();
        let (member, stranger) = (PeerId::random(), PeerId::random());
        gate.set_members([member].into());
        let [dialled, another] = [1, 2].map(ConnectionId::new_unchecked);
        let (outbound, inbound) = (Some(dialled), None);
        assert!(gate.handler(member, inbound).is_ok() && gate.handler(member, outbound).is_ok());
        assert!(gate.handler(stranger, inbound).is_err());
        assert!(gate.handler(stranger, outbound).is_err());
        gate.set_inviting(true);
        assert!(gate.handler(stranger, inbound).is_ok());
        assert!(gate.handler(stranger, outbound).is_err());
        gate.set_inviting(false);
        gate.dials_to_join(stranger, dialled);
        assert!(gate.handler(stranger, inbound).is_err());
        assert!(gate.handler(stranger, outbound).is_ok());
        assert!(gate.handler(stranger, Some(another)).is_err());
        assert!(gate.dialled_to_join(dialled) && !gate.dialled_to_join(another));
        gate.end_joining(&stranger);
        assert!(gate.handler(stranger, outbound).is_err());
    }
}
