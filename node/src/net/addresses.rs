//! Where peers were last reached, and when to try again.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use libp2p::{Multiaddr, PeerId};

use crate::private_file;

/// Addresses kept for each peer, the ones that worked last first.
const MOST_ADDRESSES: usize = 8;
/// Peers that are remembered.
const MOST_PEERS: usize = 256;
/// The longest file that is read.
const MOST_BYTES: usize = 1 << 20;

/// How long to wait after one failed attempt, and at most after many.
const RETRY: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(15)];

/// Where peers were reached, kept in a file.
#[derive(Debug)]
pub(super) struct Addresses {
    file: Option<PathBuf>,
    known: BTreeMap<PeerId, Vec<Multiaddr>>,
    attempts: BTreeMap<PeerId, Attempt>,
}

#[derive(Debug)]
struct Attempt {
    next_at: Duration,
    pause: Duration,
}

impl Addresses {
    /// Those in the file; a damaged one is passed over, as everything in it can be found again.
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
        }
    }

    /// The peer was reached there, or says so itself; `sure` puts it first.
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
        // It is news: rather there than where it was tried in vain for longest.
        addresses.truncate(MOST_ADDRESSES - 1);
        if sure {
            addresses.insert(0, address);
        } else {
            addresses.push(address);
        }
        self.attempts.remove(&peer);
    }

    /// Keeps those of these peers.
    ///
    /// # Errors
    /// What the system says.
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

    /// Where to try to reach a peer now; empty if nowhere, or not yet.
    pub(super) fn due(&mut self, now: Duration, peer: &PeerId) -> Vec<Multiaddr> {
        let Some(addresses) = self.known.get(peer) else {
            return Vec::new();
        };
        let attempt = self.attempts.entry(*peer).or_insert(Attempt {
            next_at: now,
            pause: RETRY[0],
        });
        if now < attempt.next_at {
            return Vec::new();
        }
        attempt.next_at = now + attempt.pause;
        attempt.pause = (attempt.pause * 2).min(RETRY[1]);
        addresses.clone()
    }

    /// Does not try to reach a peer before this time.
    pub(super) fn leave_in_peace(&mut self, peer: &PeerId, until: Duration) {
        let attempt = Attempt {
            next_at: until,
            pause: RETRY[1],
        };
        self.attempts.insert(*peer, attempt);
    }

    /// The peer is connected: the next attempts begin anew.
    pub(super) fn reached(&mut self, peer: &PeerId) {
        self.attempts.remove(peer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let due = again.due(Duration::ZERO, &peer);
        assert_eq!(due.len(), MOST_ADDRESSES);
        assert_eq!(due[0], address(7));
        assert!(again.due(Duration::ZERO, &other).is_empty());
        again.insert(peer, address(99), false);
        let due = again.due(Duration::ZERO, &peer);
        assert_eq!(due.len(), MOST_ADDRESSES);
        assert!(due.contains(&address(99)), "what is new is not lost");
        std::fs::write(&file, b"{").expect("writable");
        assert!(Addresses::open(Some(file)).known.is_empty());
    }

    #[test]
    fn attempts_come_less_often_until_something_is_new() {
        let mut addresses = Addresses::open(None);
        let peer = PeerId::random();
        assert!(addresses.due(Duration::ZERO, &peer).is_empty());
        addresses.insert(peer, address(1), true);
        let tries = |addresses: &mut Addresses, from: u64| {
            let due = (from..from + 60_000).filter(|&ms| {
                let now = Duration::from_millis(ms);
                !addresses.due(now, &peer).is_empty()
            });
            due.collect::<Vec<_>>()
        };
        let first = tries(&mut addresses, 0);
        assert_eq!(&first[..4], [0, 500, 1_500, 3_500]);
        assert!(first.len() < 12);
        addresses.insert(peer, address(2), false);
        assert_eq!(tries(&mut addresses, 60_000)[0], 60_000);
    }
}
