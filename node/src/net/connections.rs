//! The one connection to each peer that counts, and its streams.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use libp2p::Stream;
use libp2p::futures::AsyncWrite;
use libp2p::swarm::ConnectionId;
use potluck_protocol::PeerId;
use tokio::sync::{Notify, watch};

use super::pump::{self, Arrivals, Writer};
use super::stream::Purpose;

/// Two connections within this time mean that two nodes dialled each other at once. Otherwise a second
/// connection means that the first one is dead, because nodes dial only peers that they are not connected
/// to. A peer that changes networks right after connecting is refused for the rest of this time, so it is
/// as short as a handshake with one retransmission.
const AT_ONCE: Duration = Duration::from_secs(1);

/// A peer is congested when so many bytes of hidden states wait for it: nothing more is computed for it.
const MOST_QUEUED: usize = 8 << 20;
/// It is no longer congested when no more than this wait.
const FEW_QUEUED: usize = MOST_QUEUED / 2;
/// Bytes of control messages, or of weights, that may wait for one peer. A peer that reads never leaves so
/// many; one that requests without reading is disconnected.
const MOST_UNREAD: usize = 4 << 20;

/// The connections to members, one for each.
pub(super) struct Connections {
    me: PeerId,
    links: BTreeMap<PeerId, Link>,
    /// Last messages to peers that were dropped before their streams were open.
    last_words: BTreeMap<ConnectionId, Writer>,
    drained: Arc<Notify>,
    arrivals: Arrivals,
}

/// The connection to a peer.
struct Link {
    connection: ConnectionId,
    since: Duration,
    dialled_by: PeerId,
    control: Writer,
    data: Writer,
    /// Whether the machine was told that it is congested.
    congested: bool,
    transfer: Writer,
    /// Whether the stream for weights was requested; it is opened on first use.
    transfer_wanted: bool,
    /// Which of its streams the peer has opened; it opens each once.
    came: [bool; 3],
    read_control: watch::Sender<bool>,
    read_data: watch::Sender<bool>,
    read_transfer: watch::Sender<bool>,
}

/// What a new connection means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Established {
    /// It counts. The previous one, if any, is to be closed.
    Counts {
        /// The previous one.
        instead_of: Option<ConnectionId>,
    },
    /// The previous one counts; this one is to be closed.
    Superfluous,
}

impl Connections {
    pub(super) fn new(me: PeerId, drained: Arc<Notify>, arrivals: Arrivals) -> Self {
        Self {
            me,
            links: BTreeMap::new(),
            last_words: BTreeMap::new(),
            drained,
            arrivals,
        }
    }

    /// A connection to a member was established, by this node or by the peer. If the previous one `stays`,
    /// it keeps counting while it lasts.
    pub(super) fn established(
        &mut self,
        now: Duration,
        peer: PeerId,
        connection: ConnectionId,
        dialled: bool,
        stays: bool,
    ) -> Established {
        let dialled_by = if dialled { self.me } else { peer };
        let before = self.links.get(&peer);
        if let Some(before) = before {
            let at_once = now.saturating_sub(before.since) < AT_ONCE;
            if stays || (at_once && before.dialled_by < dialled_by) {
                return Established::Superfluous;
            }
        }
        let instead_of = before.map(|before| before.connection);
        let writer = |purpose| {
            let (drained, arrivals) = (Arc::clone(&self.drained), self.arrivals.clone());
            Writer::new(connection, purpose, drained, arrivals)
        };
        let link = Link {
            connection,
            since: now,
            dialled_by,
            control: writer(Purpose::Control),
            data: writer(Purpose::Data),
            congested: false,
            transfer: writer(Purpose::Transfer),
            transfer_wanted: false,
            came: [false; 3],
            read_control: watch::Sender::new(true),
            read_data: watch::Sender::new(true),
            read_transfer: watch::Sender::new(true),
        };
        self.links.insert(peer, link);
        Established::Counts { instead_of }
    }

    /// A connection has ended; whether it counted.
    pub(super) fn closed(&mut self, peer: PeerId, connection: ConnectionId) -> bool {
        self.last_words.remove(&connection);
        let counted = self.counts(peer, connection);
        if counted {
            self.links.remove(&peer);
        }
        counted
    }

    /// Stops counting a peer's connection, which is to be closed once its queues are sent.
    pub(super) fn drop_peer(&mut self, peer: PeerId) -> Option<ConnectionId> {
        let link = self.links.remove(&peer)?;
        let connection = link.connection;
        if link.control.waits_for_stream() {
            self.last_words.insert(connection, link.control);
        }
        Some(connection)
    }

    pub(super) fn counts(&self, peer: PeerId, connection: ConnectionId) -> bool {
        let link = self.links.get(&peer);
        link.is_some_and(|link| link.connection == connection)
    }

    /// Whether a peer has opened its control stream, which members do at once.
    pub(super) fn is_used(&self, peer: PeerId) -> bool {
        self.links.get(&peer).is_some_and(|link| link.came[0])
    }

    pub(super) fn contains(&self, peer: PeerId) -> bool {
        self.links.contains_key(&peer)
    }

    /// Whether any member is connected.
    pub(super) fn has_any(&self) -> bool {
        !self.links.is_empty()
    }

    /// The connection to a peer.
    pub(super) fn of(&self, peer: PeerId) -> Option<ConnectionId> {
        self.links.get(&peer).map(|link| link.connection)
    }

    /// The peer whose counting connection this is.
    pub(super) fn peer_of(&self, connection: ConnectionId) -> Option<PeerId> {
        let mut links = self.links.iter();
        links
            .find(|(_, link)| link.connection == connection)
            .map(|(peer, _)| *peer)
    }

    /// A stream that this node opened is ready. It is used if its connection counts or last messages wait
    /// for it, else closed.
    pub(super) fn opened(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        purpose: Purpose,
        stream: impl AsyncWrite + Unpin + Send + 'static,
    ) {
        if purpose == Purpose::Control
            && let Some(mut writer) = self.last_words.remove(&connection)
        {
            writer.begin(stream);
            return;
        }
        let link = self.links.get_mut(&peer);
        let Some(link) = link.filter(|link| link.connection == connection) else {
            return;
        };
        let writer = match purpose {
            Purpose::Control => &mut link.control,
            Purpose::Data => &mut link.data,
            Purpose::Transfer => &mut link.transfer,
            Purpose::Pairing => return,
        };
        writer.begin(stream);
    }

    /// A stream that the peer opened. False if it has opened one of this purpose already.
    pub(super) fn came(&mut self, peer: PeerId, purpose: Purpose, stream: Stream) -> bool {
        let Some(link) = self.links.get_mut(&peer) else {
            return false;
        };
        let (came, wanted) = match purpose {
            Purpose::Control => (&mut link.came[0], &link.read_control),
            Purpose::Data => (&mut link.came[1], &link.read_data),
            Purpose::Transfer => (&mut link.came[2], &link.read_transfer),
            Purpose::Pairing => return false,
        };
        if std::mem::replace(came, true) {
            return false;
        }
        let arrivals = self.arrivals.clone();
        pump::read(
            link.connection,
            purpose,
            stream,
            wanted.subscribe(),
            arrivals,
        );
        true
    }

    /// Sends to a peer. False if so much waits that the peer is to be disconnected.
    pub(super) fn send(&self, peer: PeerId, purpose: Purpose, bytes: Vec<u8>) -> bool {
        // The peer is gone, and the machine hears so: the bytes are dropped.
        let Some(link) = self.links.get(&peer) else {
            return true;
        };
        let writer = match purpose {
            Purpose::Control => &link.control,
            // Not limited here: congestion stops computing in time.
            Purpose::Data => {
                link.data.write(bytes);
                return true;
            }
            Purpose::Transfer => &link.transfer,
            Purpose::Pairing => return true,
        };
        writer.write(bytes);
        writer.queued() <= MOST_UNREAD
    }

    /// The connection on which to open the stream for weights, if that is still to be done.
    pub(super) fn open_transfer(&mut self, peer: PeerId) -> Option<ConnectionId> {
        let link = self.links.get_mut(&peer)?;
        let wanted = std::mem::replace(&mut link.transfer_wanted, true);
        (!wanted).then_some(link.connection)
    }

    /// Bytes of control messages that wait for all peers.
    pub(super) fn control_queued(&self) -> usize {
        self.links.values().map(|link| link.control.queued()).sum()
    }

    /// Bytes of weights that wait for a peer; `None` if it is not connected.
    pub(super) fn transfer_queued(&self, peer: PeerId) -> Option<usize> {
        self.links.get(&peer).map(|link| link.transfer.queued())
    }

    /// Reads only the data streams of the peers that `wanted` selects.
    pub(super) fn read_data(&self, wanted: impl Fn(PeerId) -> bool) {
        for (&peer, link) in &self.links {
            let wants = wanted(peer);
            link.read_data.send_if_modified(|wanted| {
                let changed = *wanted != wants;
                *wanted = wants;
                changed
            });
        }
    }

    /// The peers that have become congested (true) or no longer are (false) since the last call.
    pub(super) fn congestion(&mut self) -> Vec<(PeerId, bool)> {
        let mut changed = Vec::new();
        for (&peer, link) in &mut self.links {
            let queued = link.data.queued();
            let congested = queued
                > if link.congested {
                    FEW_QUEUED
                } else {
                    MOST_QUEUED
                };
            if std::mem::replace(&mut link.congested, congested) != congested {
                changed.push((peer, congested));
            }
        }
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connections_of(me: PeerId) -> Connections {
        let (arrivals, _) = tokio::sync::mpsc::channel(1);
        Connections::new(me, Arc::default(), arrivals)
    }

    #[tokio::test]
    async fn two_that_dial_each_other_at_once_keep_the_same_connection() {
        let (a, b) = (
            PeerId::from_public_key([1; 32]),
            PeerId::from_public_key([2; 32]),
        );
        let (by_a, by_b) = (
            ConnectionId::new_unchecked(1),
            ConnectionId::new_unchecked(2),
        );
        for first_is_by_a in [false, true] {
            for (me, peer) in [(a, b), (b, a)] {
                let mut connections = connections_of(me);
                let order = if first_is_by_a {
                    [by_a, by_b]
                } else {
                    [by_b, by_a]
                };
                for (at, id) in order.into_iter().enumerate() {
                    let dialled = (id == by_a) == (me == a);
                    let now = Duration::from_millis(10 * at as u64);
                    connections.established(now, peer, id, dialled, false);
                }
                assert_eq!(connections.of(peer), Some(by_a));
            }
        }
    }

    #[tokio::test]
    async fn what_was_said_last_is_sent_though_the_stream_opens_later() {
        use libp2p::futures::io::AllowStdIo;
        use std::io::Read as _;
        use std::os::unix::net::UnixStream;

        let [me, peer] = [1, 2].map(|byte| PeerId::from_public_key([byte; 32]));
        let mut connections = connections_of(me);
        let (old, new) = (
            ConnectionId::new_unchecked(1),
            ConnectionId::new_unchecked(2),
        );
        connections.established(Duration::ZERO, peer, old, false, false);
        connections.send(peer, Purpose::Control, b"why".to_vec());
        assert_eq!(connections.drop_peer(peer), Some(old));
        connections.established(Duration::ZERO, peer, new, false, false);
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        let writing = AllowStdIo::new(ours);
        connections.opened(peer, old, Purpose::Control, writing);
        let read = tokio::task::spawn_blocking(move || {
            let mut bytes = Vec::new();
            (&theirs).read_to_end(&mut bytes).map(|_| bytes)
        });
        let read = read.await.expect("no panic").expect("until it is closed");
        assert_eq!(read, b"why");
        // What ends before there is a stream is forgotten.
        connections.send(peer, Purpose::Control, b"why".to_vec());
        connections.drop_peer(peer);
        connections.closed(peer, new);
        assert!(connections.last_words.is_empty());
    }

    #[tokio::test]
    async fn who_does_not_read_is_congested_and_then_let_go() {
        let (me, slow, other) = (1, 2, 3);
        let [me, slow, other] = [me, slow, other].map(|byte| PeerId::from_public_key([byte; 32]));
        let (arrivals, _) = tokio::sync::mpsc::channel(1);
        let mut connections = Connections::new(me, Arc::default(), arrivals);
        for (id, peer) in [(1, slow), (2, other)] {
            let id = ConnectionId::new_unchecked(id);
            connections.established(Duration::ZERO, peer, id, true, false);
        }
        // Their streams are not there: nothing is read.
        assert!(connections.send(slow, Purpose::Data, vec![0; MOST_QUEUED + 1]));
        assert!(connections.send(other, Purpose::Data, vec![0; 1_000]));
        assert_eq!(connections.congestion(), [(slow, true)]);
        assert_eq!(connections.congestion(), []);
        let message = || vec![0; 1 << 10];
        let taken =
            (0..100_000).take_while(|_| connections.send(slow, Purpose::Control, message()));
        assert_eq!(taken.count(), MOST_UNREAD >> 10);
        assert!(connections.send(other, Purpose::Control, message()));
    }

    #[tokio::test]
    async fn a_peer_that_comes_again_has_lost_its_connection() {
        let (me, peer) = (
            PeerId::from_public_key([1; 32]),
            PeerId::from_public_key([2; 32]),
        );
        let mut connections = connections_of(me);
        let (old, new) = (
            ConnectionId::new_unchecked(1),
            ConnectionId::new_unchecked(2),
        );
        connections.established(Duration::ZERO, peer, old, true, false);
        let copy = connections.established(AT_ONCE, peer, new, false, true);
        assert_eq!(copy, Established::Superfluous);
        // It dialled again at once, or this node did.
        let now = Duration::from_millis(1);
        let third = ConnectionId::new_unchecked(3);
        for dialled in [true, false] {
            let mut connections = connections_of(me);
            connections.established(Duration::ZERO, peer, old, dialled, false);
            let again = connections.established(now, peer, third, dialled, false);
            let instead_of = Some(old);
            assert_eq!(again, Established::Counts { instead_of });
        }
        let later = connections.established(AT_ONCE, peer, new, false, false);
        assert_eq!(
            later,
            Established::Counts {
                instead_of: Some(old)
            }
        );
        assert!(!connections.closed(peer, old) && connections.contains(peer));
        assert!(connections.closed(peer, new) && !connections.contains(peer));
    }
}
