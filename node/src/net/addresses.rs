//! Where peers were last reached, and when to try again.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use libp2p::swarm::ConnectionId;
use libp2p::{Multiaddr, PeerId};

use crate::private_file;

/// Addresses kept for each peer, most recently used first.
const MOST_ADDRESSES: usize = 8;
/// Peers whose addresses are kept.
const MOST_PEERS: usize = 256;
/// The longest file that is read.
const MOST_BYTES: usize = 1 << 20;

/// Addresses from discovery that are dialled as well, at a time: the most recent ones, and others in turn.
/// A device that changes networks has many for a while, and when it returns to an old one, discovery does
/// not say so.
const RECENT_FOUND: usize = 16;
const OTHER_FOUND: usize = 16;
/// Parallel dials of one peer. More than start before the first one times out.
const MOST_DIALS: usize = 8;
/// How long a dial runs before addresses learnt since are dialled beside it.
const HEAD_START: Duration = Duration::from_millis(500);
/// An address whose dial hangs for so long is dialled once more in parallel. The peer may have got the
/// address only now, and the system retransmits a lost SYN only after 1, 3 and 7 seconds.
const HANGS: Duration = Duration::from_millis(900);
/// How long a peer is not dialled at an address where another peer answered, and how many such addresses
/// are kept.
const NOT_THERE: Duration = Duration::from_secs(60);
const MOST_NOT_THERE: usize = 256;

/// The pause after a failed attempt: the first, and the longest.
const RETRY: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(15)];
/// The first attempts follow each other at the shortest pause, because a peer that changed networks is
/// back in a moment. After them each pause is twice the previous one.
const SOON: u32 = 5;

/// Addresses of peers, kept in a file, and the state of dialling them.
#[derive(Debug)]
pub(super) struct Addresses {
    file: Option<PathBuf>,
    known: BTreeMap<PeerId, Vec<Multiaddr>>,
    attempts: BTreeMap<PeerId, Attempt>,
    /// How many dials were due since a peer was reached: whose turn it is among the addresses found.
    turns: BTreeMap<PeerId, usize>,
    /// Peers that are not dialled before a time, whatever is learnt of them.
    in_peace: BTreeMap<PeerId, Duration>,
    dials: BTreeMap<ConnectionId, Dial>,
    /// Addresses at which another peer than this one answered, and when that is forgotten.
    not_there: Vec<(PeerId, Multiaddr, Duration)>,
}

/// A dial in progress.
#[derive(Debug)]
struct Dial {
    peer: PeerId,
    since: Duration,
    /// Emptied when this device changes networks, so that the addresses can be dialled again.
    addresses: Vec<Multiaddr>,
}

impl Dial {
    /// Whether this dial covers the address, so that no other is needed.
    fn is_at(&self, address: &Multiaddr, now: Duration) -> bool {
        now.saturating_sub(self.since) < HANGS && self.addresses.contains(address)
    }
}

#[derive(Debug)]
struct Attempt {
    next_at: Duration,
    pause: Duration,
    count: u32,
}

impl Addresses {
    /// Reads the file. A damaged file is ignored: addresses are found again.
    pub(super) fn open(file: Option<PathBuf>) -> Self {
        let bytes = file
            .as_ref()
            .and_then(|file| private_file::read(file, MOST_BYTES).ok().flatten());
        let read = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let read: BTreeMap<String, Vec<String>> = read.unwrap_or_default();
        let known = read.iter().take(MOST_PEERS).filter_map(|(peer, texts)| {
            let addresses = texts.iter().take(MOST_ADDRESSES);
            let addresses = addresses.filter_map(|text| text.parse().ok()).collect();
            Some((peer.parse().ok()?, addresses))
        });
        Self {
            known: known.collect(),
            file,
            attempts: BTreeMap::new(),
            turns: BTreeMap::new(),
            in_peace: BTreeMap::new(),
            dials: BTreeMap::new(),
            not_there: Vec::new(),
        }
    }

    /// Adds an address. `sure`: the peer was reached there, so it comes first.
    pub(super) fn insert(&mut self, peer: PeerId, address: Multiaddr, sure: bool) {
        if !self.known.contains_key(&peer) && self.known.len() >= MOST_PEERS {
            return;
        }
        let addresses = self.known.entry(peer).or_default();
        match addresses.iter().position(|known| *known == address) {
            Some(0) => return,
            Some(_) if !sure => return,
            Some(at) => drop(addresses.remove(at)),
            None => {}
        }
        // The new address takes the place of the one that has failed for longest.
        addresses.truncate(MOST_ADDRESSES - 1);
        if sure {
            addresses.insert(0, address);
        } else {
            addresses.push(address);
        }
        self.attempts.remove(&peer);
    }

    /// Writes the addresses of these peers to the file.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn store(&self, of: impl Fn(&PeerId) -> bool) -> io::Result<()> {
        let Some(file) = &self.file else {
            return Ok(());
        };
        let kept = self.known.iter().filter(|(peer, _)| of(peer));
        let texts: BTreeMap<String, Vec<String>> = kept
            .map(|(peer, addresses)| {
                let texts = addresses.iter().map(ToString::to_string).collect();
                (peer.to_string(), texts)
            })
            .collect();
        private_file::replace(file, &serde_json::to_vec(&texts)?)
    }

    /// The addresses to dial a peer at now; `found` are those from discovery. Empty if there are none or
    /// no attempt is due.
    pub(super) fn due(
        &mut self,
        now: Duration,
        peer: &PeerId,
        found: &[Multiaddr],
    ) -> Vec<Multiaddr> {
        self.not_there.retain(|(_, _, until)| now < *until);
        self.in_peace.retain(|_, until| now < *until);
        if self.in_peace.contains_key(peer) {
            return Vec::new();
        }
        let dials = self.dials.values().filter(|dial| dial.peer == *peer);
        let dials: Vec<_> = dials.collect();
        let begins = |dial: &&Dial| {
            !dial.addresses.is_empty() && now.saturating_sub(dial.since) < HEAD_START
        };
        if dials.len() >= MOST_DIALS || dials.iter().any(begins) {
            return Vec::new();
        }
        let mut addresses: Vec<Multiaddr> = Vec::new();
        let known = self.known.get(peer).into_iter().flatten();
        let turn = self.turns.get(peer).copied().unwrap_or_default();
        for address in known.chain(in_turn(found, turn)) {
            let is_dialled = dials.iter().any(|dial| dial.is_at(address, now));
            let is_not_there =
                |(of, at, _): &(PeerId, Multiaddr, Duration)| of == peer && at == address;
            if !is_dialled
                && !addresses.contains(address)
                && !self.not_there.iter().any(is_not_there)
            {
                addresses.push(address.clone());
            }
        }
        if addresses.is_empty() {
            return addresses;
        }
        let attempt = self.attempts.entry(*peer).or_insert(Attempt {
            next_at: now,
            pause: RETRY[0],
            count: 0,
        });
        if now < attempt.next_at {
            return Vec::new();
        }
        *self.turns.entry(*peer).or_default() += 1;
        attempt.next_at = now + attempt.pause;
        attempt.count = attempt.count.saturating_add(1);
        if attempt.count >= SOON {
            attempt.pause = (attempt.pause * 2).min(RETRY[1]);
        }
        addresses
    }

    /// Notes that a dial has started.
    pub(super) fn dialled(
        &mut self,
        now: Duration,
        connection: ConnectionId,
        peer: PeerId,
        addresses: Vec<Multiaddr>,
    ) {
        let dial = Dial {
            peer,
            since: now,
            addresses,
        };
        self.dials.insert(connection, dial);
    }

    /// Notes that a dial has ended, with or without a connection; returns whose it was.
    pub(super) fn dial_ended(&mut self, connection: ConnectionId) -> Option<PeerId> {
        self.dials.remove(&connection).map(|dial| dial.peer)
    }

    /// Whether a peer is being dialled.
    pub(super) fn is_dialled(&self, peer: &PeerId) -> bool {
        self.dials.values().any(|dial| dial.peer == *peer)
    }

    /// This device has changed networks: addresses being dialled may be dialled again.
    pub(super) fn forget_dials(&mut self) {
        for dial in self.dials.values_mut() {
            dial.addresses.clear();
        }
    }

    /// Another peer answered at this address.
    pub(super) fn is_not_at(&mut self, now: Duration, peer: PeerId, address: &Multiaddr) {
        if let Some(known) = self.known.get_mut(&peer) {
            known.retain(|known| known != address);
        }
        if self.not_there.len() >= MOST_NOT_THERE {
            self.not_there.remove(0);
        }
        let until = now + NOT_THERE;
        self.not_there.push((peer, address.clone(), until));
        self.attempts.remove(&peer);
    }

    /// Whether an address of a peer is known.
    pub(super) fn is_known(&self, peer: &PeerId) -> bool {
        self.known.get(peer).is_some_and(|known| !known.is_empty())
    }

    /// Resets the pauses: this device is in another network, and what failed before may work now.
    pub(super) fn try_again(&mut self) {
        self.attempts.clear();
    }

    /// Stops dialling a peer until this time.
    pub(super) fn leave_in_peace(&mut self, peer: &PeerId, until: Duration) {
        self.in_peace.insert(*peer, until);
    }

    /// The peer is connected: resets its pause.
    pub(super) fn reached(&mut self, peer: &PeerId) {
        self.attempts.remove(peer);
        self.turns.remove(peer);
        self.in_peace.remove(peer);
    }
}

/// Of the addresses that were found, the most recent last: the most recent ones, and so many of the others
/// that all have had their turn after a few calls.
fn in_turn(found: &[Multiaddr], turn: usize) -> impl Iterator<Item = &Multiaddr> {
    let (others, recent) = found.split_at(found.len().saturating_sub(RECENT_FOUND));
    let first = turn.wrapping_mul(OTHER_FOUND) % others.len().max(1);
    let others = others.iter().rev().cycle().skip(first);
    let count = OTHER_FOUND.min(found.len() - recent.len());
    recent.iter().rev().chain(others.take(count))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How long a dial may hang.
    const CONNECT_MS: u64 = 10_000;

    fn address(port: u16) -> Multiaddr {
        format!("/ip4/10.0.0.1/tcp/{port}")
            .parse()
            .expect("an address")
    }

    #[test]
    fn what_worked_last_comes_first_and_is_remembered() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("addresses.json");
        let (peer, other) = (PeerId::random(), PeerId::random());
        let mut addresses = Addresses::open(Some(file.clone()));
        for port in 1..20 {
            addresses.insert(peer, address(port), false);
        }
        addresses.insert(peer, address(7), true);
        addresses.insert(other, address(1), true);
        addresses.store(|of| *of == peer).expect("writable");
        let mut again = Addresses::open(Some(file.clone()));
        let due = again.due(Duration::ZERO, &peer, &[]);
        assert_eq!(due.len(), MOST_ADDRESSES);
        assert_eq!(due[0], address(7));
        assert!(again.due(Duration::ZERO, &other, &[]).is_empty());
        again.insert(peer, address(99), false);
        let due = again.due(Duration::ZERO, &peer, &[]);
        assert_eq!(due.len(), MOST_ADDRESSES);
        assert!(due.contains(&address(99)), "what is new is not lost");
        std::fs::write(&file, b"{").expect("writable");
        assert!(Addresses::open(Some(file)).known.is_empty());
    }

    #[test]
    fn attempts_come_less_often_until_something_is_new() {
        let mut addresses = Addresses::open(None);
        let peer = PeerId::random();
        assert!(addresses.due(Duration::ZERO, &peer, &[]).is_empty());
        addresses.insert(peer, address(1), true);
        let tries = |addresses: &mut Addresses, from: u64| {
            let due = (from..from + 60_000).filter(|&ms| {
                let now = Duration::from_millis(ms);
                !addresses.due(now, &peer, &[]).is_empty()
            });
            due.collect::<Vec<_>>()
        };
        let first = tries(&mut addresses, 0);
        let soon = [0, 500, 1_000, 1_500, 2_000, 2_500];
        assert_eq!(&first[..8], [&soon[..], &[3_500, 5_500]].concat());
        assert!(first.len() < 14);
        addresses.insert(peer, address(2), false);
        assert_eq!(tries(&mut addresses, 60_000)[0], 60_000);
    }

    #[test]
    fn a_dial_that_hangs_keeps_nothing_that_is_learnt_since_from_being_tried() {
        let ms = Duration::from_millis;
        let mut addresses = Addresses::open(None);
        let peer = PeerId::random();
        addresses.insert(peer, address(1), true);
        assert_eq!(addresses.due(ms(0), &peer, &[]), [address(1)]);
        let dial = ConnectionId::new_unchecked(1);
        addresses.dialled(ms(0), dial, peer, vec![address(1)]);
        addresses.insert(peer, address(2), false);
        assert!(
            addresses.due(ms(100), &peer, &[]).is_empty(),
            "a head start"
        );
        let found = [address(1), address(3)];
        let due = addresses.due(ms(500), &peer, &found);
        assert_eq!(due, [address(2), address(3)], "not what is under way");
        let second = ConnectionId::new_unchecked(2);
        addresses.dialled(ms(500), second, peer, due);
        // In another network everything is tried at once, though both hang.
        addresses.forget_dials();
        addresses.try_again();
        assert_eq!(addresses.due(ms(600), &peer, &[]), [address(1), address(2)]);
        assert_eq!(addresses.dial_ended(dial), Some(peer));
        assert!(addresses.is_dialled(&peer));
        assert_eq!(addresses.dial_ended(second), Some(peer));
        assert!(!addresses.is_dialled(&peer));
        assert_eq!(addresses.dial_ended(second), None);
    }

    #[test]
    fn where_a_dial_hangs_it_is_dialled_again_before_the_system_does() {
        let ms = Duration::from_millis;
        let mut addresses = Addresses::open(None);
        let peer = PeerId::random();
        addresses.insert(peer, address(1), true);
        // It comes to this address when nothing is sent there any more.
        let dialled: Vec<_> = (0..CONNECT_MS)
            .filter(|&at| {
                let due = addresses.due(ms(at), &peer, &[]);
                let id = ConnectionId::new_unchecked(at as usize);
                if !due.is_empty() {
                    addresses.dialled(ms(at), id, peer, due.clone());
                }
                !due.is_empty()
            })
            .collect();
        let pauses = dialled.windows(2).map(|pair| pair[1] - pair[0]);
        let first: Vec<_> = pauses.take(4).collect();
        assert!(first.iter().all(|pause| *pause <= 1_000), "{dialled:?}");
        assert!(dialled.len() <= MOST_DIALS, "{dialled:?}");
    }

    #[test]
    fn an_address_that_was_found_long_ago_has_its_turn() {
        let mut addresses = Addresses::open(None);
        let peer = PeerId::random();
        for many in [0, 1, 16, 17, 33, 100] {
            let found: Vec<_> = (0..many).map(address).collect();
            let mut dialled = Vec::new();
            for at in 0..7 {
                let due = addresses.due(Duration::from_secs(20 * at), &peer, &found);
                assert!(due.len() <= RECENT_FOUND + OTHER_FOUND, "{}", due.len());
                let last = found.last();
                assert!(last.is_none_or(|last| due.contains(last)), "the last first");
                dialled.extend(due);
            }
            let all = found.iter().all(|address| dialled.contains(address));
            assert!(all, "{many}");
            addresses.reached(&peer);
        }
    }

    #[test]
    fn where_another_answers_a_peer_is_not_tried_though_it_is_found_there() {
        let mut addresses = Addresses::open(None);
        let peer = PeerId::random();
        for port in [1, 2] {
            addresses.insert(peer, address(port), true);
        }
        let now = Duration::ZERO;
        assert_eq!(addresses.due(now, &peer, &[]).len(), 2);
        addresses.is_not_at(now, peer, &address(2));
        let found = [address(2)];
        assert_eq!(addresses.due(now, &peer, &found), [address(1)]);
        let later = now + NOT_THERE;
        assert_eq!(addresses.due(later, &peer, &found).len(), 2);
    }

    #[test]
    fn who_is_left_in_peace_is_so_whatever_is_learnt_of_it() {
        let mut addresses = Addresses::open(None);
        let (peer, until) = (PeerId::random(), Duration::from_secs(60));
        let almost = until - Duration::from_secs(1);
        addresses.insert(peer, address(1), true);
        addresses.leave_in_peace(&peer, until);
        addresses.try_again();
        addresses.insert(peer, address(2), true);
        assert!(addresses.due(almost, &peer, &[]).is_empty());
        assert_eq!(addresses.due(until, &peer, &[]).len(), 2);
        addresses.leave_in_peace(&peer, until);
        addresses.reached(&peer);
        assert_eq!(addresses.due(almost, &peer, &[]).len(), 2);
    }
}
