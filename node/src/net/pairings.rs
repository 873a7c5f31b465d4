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
/// How long what was said last may take to arrive.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Pairing streams, one a peer, and the connections that are only for pairing.
pub(super) struct Pairings {
    streams: BTreeMap<PeerId, Pairing>,
    /// Connections of peers that are not paired, or not any more, and when they are to be closed.
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

    /// Someone connected who is not paired.
    pub(super) fn stranger(&mut self, now: Duration, connection: ConnectionId) {
        self.strangers.insert(connection, now + IDLE);
    }

    /// A connection is of no use any more; what was said last is to arrive before it is closed.
    pub(super) fn let_go(&mut self, now: Duration, connection: ConnectionId) {
        self.strangers.insert(connection, now + LAST_WORDS);
    }

    /// A connection is for its pairing alone from now on; it is closed when that is over.
    pub(super) fn keep_for_pairing(&mut self, connection: ConnectionId) {
        self.strangers.insert(connection, Duration::MAX);
    }

    /// A pairing stream is open; false if there is one with this peer already.
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
            // The machine gives up on those that take too long.
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

    /// With whom the stream is that this connection has.
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

    /// Closes a stream after what was to be sent; a connection that was only for it, too.
    pub(super) fn close(&mut self, now: Duration, peer: PeerId) {
        if let Some(pairing) = self.streams.get_mut(&peer) {
            pairing.writer = None;
            if let Some(until) = self.strangers.get_mut(&pairing.connection) {
                *until = now + LAST_WORDS;
            }
        }
    }

    /// The peer closed its stream: with whom, and whether this side had not.
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

    /// Connections that are to be closed now.
    pub(super) fn due(&mut self, now: Duration) -> Vec<ConnectionId> {
        let due = self.strangers.iter().filter(|(_, until)| **until <= now);
        let due: Vec<_> = due.map(|(connection, _)| *connection).collect();
        for connection in &due {
            self.strangers.remove(connection);
        }
        due
    }
}
