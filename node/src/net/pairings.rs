//! The pairing streams.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use libp2p::Stream;
use libp2p::futures::AsyncReadExt as _;
use libp2p::swarm::ConnectionId;
use potluck_protocol::PeerId;
use tokio::sync::{Notify, watch};

use super::pump::{self, Arrivals, Writer};
use super::stream::Purpose;

/// How long a stranger may be connected without pairing.
const IDLE: Duration = Duration::from_secs(10);
/// How long a connection stays open for the last message to arrive.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Pairing streams, one for each peer, and the connections that serve only for pairing.
pub(super) struct Pairings {
    streams: BTreeMap<PeerId, Pairing>,
    /// Connections of peers that are not members, and when to close them.
    strangers: BTreeMap<ConnectionId, Duration>,
    drained: Arc<Notify>,
    arrivals: Arrivals,
}

struct Pairing {
    connection: ConnectionId,
    writer: Option<Writer>,
    _reading: watch::Sender<bool>,
}

impl Pairings {
    pub(super) fn new(drained: Arc<Notify>, arrivals: Arrivals) -> Self {
        Self {
            streams: BTreeMap::new(),
            strangers: BTreeMap::new(),
            drained,
            arrivals,
        }
    }

    /// A peer connected that is not a member.
    pub(super) fn stranger(&mut self, now: Duration, connection: ConnectionId) {
        self.strangers.insert(connection, now + IDLE);
    }

    /// Closes a connection after the last message has had time to arrive.
    pub(super) fn let_go(&mut self, now: Duration, connection: ConnectionId) {
        self.strangers.insert(connection, now + LAST_WORDS);
    }

    /// Keeps a connection only for its pairing, and closes it afterwards.
    pub(super) fn keep_for_pairing(&mut self, connection: ConnectionId) {
        self.strangers.insert(connection, Duration::MAX);
    }

    /// A pairing stream was opened; false if there is one with this peer already.
    pub(super) fn opened(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        stream: Stream,
    ) -> bool {
        if self.streams.contains_key(&peer) {
            return false;
        }
        if let Some(until) = self.strangers.get_mut(&connection) {
            // The machine enforces the time limit of a pairing.
            *until = Duration::MAX;
        }
        let (drained, arrivals) = (Arc::clone(&self.drained), self.arrivals.clone());
        let mut writer = Writer::new(connection, Purpose::Pairing, drained, arrivals.clone());
        let (reader, writing) = stream.split();
        writer.begin(writing);
        let reading = watch::Sender::new(true);
        let wanted = reading.subscribe();
        pump::read(connection, Purpose::Pairing, reader, wanted, arrivals);
        let pairing = Pairing {
            connection,
            writer: Some(writer),
            _reading: reading,
        };
        self.streams.insert(peer, pairing);
        true
    }

    /// The peer of the pairing stream on this connection.
    pub(super) fn peer_of(&self, connection: ConnectionId) -> Option<PeerId> {
        let mut streams = self.streams.iter();
        streams
            .find(|(_, pairing)| pairing.connection == connection)
            .map(|(peer, _)| *peer)
    }

    pub(super) fn send(&self, peer: PeerId, bytes: Vec<u8>) {
        let writer = self.streams.get(&peer).and_then(|p| p.writer.as_ref());
        if let Some(writer) = writer {
            writer.write(bytes);
        }
    }

    /// Closes a stream once its queue is sent, and its connection if that was only for pairing.
    pub(super) fn close(&mut self, now: Duration, peer: PeerId) {
        if let Some(pairing) = self.streams.get_mut(&peer) {
            pairing.writer = None;
            if let Some(until) = self.strangers.get_mut(&pairing.connection) {
                *until = now + LAST_WORDS;
            }
        }
    }

    /// The peer closed its stream: which peer, and whether this side still had it open.
    pub(super) fn ended(&mut self, connection: ConnectionId) -> Option<(PeerId, bool)> {
        let peer = self.peer_of(connection)?;
        let pairing = self.streams.remove(&peer)?;
        if let Some(until) = self.strangers.get_mut(&connection) {
            *until = Duration::ZERO;
        }
        Some((peer, pairing.writer.is_some()))
    }

    /// A connection has ended.
    pub(super) fn closed(&mut self, connection: ConnectionId) -> Option<(PeerId, bool)> {
        self.strangers.remove(&connection);
        self.ended(connection)
    }

    /// Connections to close now.
    pub(super) fn due(&mut self, now: Duration) -> Vec<ConnectionId> {
        let due = self.strangers.iter().filter(|(_, until)| **until <= now);
        let due: Vec<_> = due.map(|(connection, _)| *connection).collect();
        for connection in &due {
            self.strangers.remove(connection);
        }
        due
    }
}
