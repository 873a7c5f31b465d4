//! Decides where this device is announced, and when it queries for others.

use std::io;
use std::net::IpAddr;
use std::task::{Context, Poll};
use std::time::Duration;

use libp2p::{Multiaddr, PeerId as Libp2pPeerId};
use potluck_protocol::PeerId;

use super::discovery::{Announces, Discovery};
use super::networks::{Network, Networks};
use super::parts::ip_of;

/// The time between discovery queries while a member is away.
const LOOK: Duration = Duration::from_secs(20);
/// How long no member is connected before the owner hears that this device does not announce itself.
const UNMET: Duration = Duration::from_secs(5);
/// The message to the owner.
const UNANNOUNCED: &str = "no paired device was met in this network before, so this device does not \
                           announce itself here: `potluck up --mdns` does, to all who listen";

/// Who may be looking for this device now.
#[derive(Debug, Clone, Copy)]
pub(super) struct Expected {
    /// An invitation is open.
    pub(super) by_invitation: bool,
    /// The circle has other members.
    pub(super) by_members: bool,
}

/// The means of discovery and their state.
pub(super) struct Nearby {
    by: Vec<Box<dyn Discovery>>,
    announces: Announces,
    networks: Networks,
    /// The addresses of this device and their networks, as the system tells them.
    own: fn() -> Vec<(IpAddr, Network)>,
    /// The listen addresses when those networks were asked for, and the answer.
    listened: Vec<Multiaddr>,
    in_networks: Vec<(IpAddr, Network)>,
    /// The addresses that are announced now.
    announced: Vec<Multiaddr>,
    looked_at: Option<Duration>,
    /// Since when no member is connected.
    unmet_since: Option<Duration>,
    /// Whether the owner heard that this device does not announce itself.
    told: bool,
}

impl Nearby {
    /// Of a device that is in the networks that `own` tells.
    pub(super) fn new(networks: Networks, own: fn() -> Vec<(IpAddr, Network)>) -> Self {
        Self {
            by: Vec::new(),
            announces: Announces::default(),
            networks,
            own,
            listened: Vec::new(),
            in_networks: Vec::new(),
            announced: Vec::new(),
            looked_at: None,
            unmet_since: None,
            told: false,
        }
    }

    /// Starts these means of discovery.
    pub(super) fn start(
        &mut self,
        by: Vec<Box<dyn Discovery>>,
        announces: Announces,
        me: PeerId,
    ) -> io::Result<()> {
        self.announces = announces;
        for mut discovery in by {
            discovery.start(me)?;
            self.by.push(discovery);
        }
        Ok(())
    }

    /// The next address that any of them has found.
    pub(super) fn poll_found(&mut self, cx: &mut Context<'_>) -> Poll<Multiaddr> {
        for discovery in &mut self.by {
            if let Poll::Ready(found) = discovery.poll_found(cx) {
                return Poll::Ready(found);
            }
        }
        Poll::Pending
    }

    /// The addresses at which a peer is announced now.
    pub(super) fn known(&mut self, peer: &Libp2pPeerId) -> Vec<Multiaddr> {
        let by = self.by.iter_mut();
        by.flat_map(|discovery| discovery.known(peer)).collect()
    }

    /// A member was reached at this address. If this device has an address in the same network, it is
    /// announced there from now on.
    pub(super) fn met(&mut self, at: IpAddr, listening: &[Multiaddr]) -> io::Result<()> {
        self.look_up(listening);
        let mut own = self.in_networks.iter();
        match own.find(|(_, network)| network.has(at)) {
            Some((_, network)) => self.networks.met(*network),
            None => Ok(()),
        }
    }

    /// Asks the system for this device's networks if its addresses have changed.
    fn look_up(&mut self, listening: &[Multiaddr]) {
        if self.listened != listening {
            self.listened = listening.to_vec();
            self.in_networks = (self.own)();
        }
    }

    fn network(&self, address: &Multiaddr) -> Option<&Network> {
        let ip = ip_of(address)?;
        let own = self.in_networks.iter().find(|(own, _)| *own == ip);
        own.map(|(_, network)| network)
    }

    /// Announces those of the listen addresses that are in networks where this device is expected.
    pub(super) fn announce(&mut self, listening: &[Multiaddr], by: Expected) {
        self.look_up(listening);
        let everywhere = self.announces == Announces::Always || by.by_invitation;
        let was_met = |network: &Network| self.networks.has(network);
        let is_expected = |address: &&Multiaddr| {
            everywhere || by.by_members && self.network(address).is_some_and(was_met)
        };
        let addresses: Vec<_> = listening.iter().filter(is_expected).cloned().collect();
        if addresses != self.announced {
            for discovery in &mut self.by {
                discovery.announce(&addresses);
            }
            self.announced = addresses;
        }
    }

    /// Sends a discovery query if the last one is [`LOOK`] ago.
    pub(super) fn look_sometimes(&mut self, now: Duration, listening: &[Multiaddr]) {
        let is_due = |at: Duration| now.saturating_sub(at) >= LOOK;
        if self.looked_at.is_none_or(is_due) {
            self.look(now, listening);
        }
    }

    /// Sends a discovery query now.
    pub(super) fn look(&mut self, now: Duration, listening: &[Multiaddr]) {
        self.looked_at = Some(now);
        for discovery in &mut self.by {
            discovery.look(listening);
        }
    }

    /// A message for the owner, given once: members are away and cannot discover this device in this
    /// network. `connected` is whether any member is connected.
    pub(super) fn unannounced(
        &mut self,
        now: Duration,
        listening: &[Multiaddr],
        by: Expected,
        connected: bool,
    ) -> Option<&'static str> {
        self.look_up(listening);
        let is_hidden = !connected
            && by.by_members
            && self.announced.is_empty()
            && !self.by.is_empty()
            && listening
                .iter()
                .any(|address| self.network(address).is_some());
        if !is_hidden {
            self.unmet_since = None;
            return None;
        }
        let since = *self.unmet_since.get_or_insert(now);
        if self.told || now.saturating_sub(since) < UNMET {
            return None;
        }
        self.told = true;
        Some(UNANNOUNCED)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    const BY_MEMBERS: Expected = Expected {
        by_invitation: false,
        by_members: true,
    };
    const BY_NOBODY: Expected = Expected {
        by_invitation: false,
        by_members: false,
    };

    /// Notes what it is to announce, and how often it is to look.
    #[derive(Clone, Default)]
    struct Noting {
        announced: Arc<Mutex<Vec<Multiaddr>>>,
        looked: Arc<Mutex<usize>>,
    }

    impl Discovery for Noting {
        fn start(&mut self, _: PeerId) -> io::Result<()> {
            Ok(())
        }

        fn announce(&mut self, addresses: &[Multiaddr]) {
            *self.announced.lock().expect("whole") = addresses.to_vec();
        }

        fn look(&mut self, _: &[Multiaddr]) {
            *self.looked.lock().expect("whole") += 1;
        }

        fn poll_found(&mut self, _: &mut Context<'_>) -> Poll<Multiaddr> {
            Poll::Pending
        }
    }

    /// A device that has these addresses at one time or another.
    fn own() -> Vec<(IpAddr, Network)> {
        let own = [
            ([192, 168, 1, 5], 24),
            ([10, 1, 1, 5], 16),
            ([172, 16, 0, 5], 24),
        ];
        let own = own.into_iter().filter_map(|(ip, prefix)| {
            let ip = IpAddr::from(ip);
            Some((ip, Network::of(ip, prefix)?))
        });
        own.collect()
    }

    fn nearby(announces: Announces) -> (Nearby, Noting) {
        let (mut nearby, noting) = (Nearby::new(Networks::default(), own), Noting::default());
        let by: Vec<Box<dyn Discovery>> = vec![Box::new(noting.clone())];
        let me = PeerId::from_public_key([1; 32]);
        nearby.start(by, announces, me).expect("it starts");
        (nearby, noting)
    }

    fn at(texts: &[&str]) -> Vec<Multiaddr> {
        let texts = texts.iter();
        texts
            .map(|ip| format!("/ip4/{ip}/tcp/7").parse().expect("one"))
            .collect()
    }

    fn announced(noting: &Noting) -> Vec<Multiaddr> {
        noting.announced.lock().expect("whole").clone()
    }

    #[test]
    fn only_networks_where_a_member_was_met_hear_of_this_device() {
        let (mut nearby, noting) = nearby(Announces::WhereExpected);
        let listening = at(&["127.0.0.1", "192.168.1.5", "10.1.1.5"]);
        nearby.announce(&listening, BY_MEMBERS);
        assert!(announced(&noting).is_empty());
        let mut met = |ip: [u8; 4], expected: &[&str]| {
            nearby
                .met(ip.into(), &listening)
                .expect("nothing is written");
            nearby.announce(&listening, BY_MEMBERS);
            assert_eq!(announced(&noting), at(expected), "{ip:?}");
        };
        met([192, 168, 1, 9], &["192.168.1.5"]);
        // Reached by way of another network, and in a large one.
        met([192, 168, 2, 9], &["192.168.1.5"]);
        met([10, 1, 200, 9], &["192.168.1.5", "10.1.1.5"]);
        nearby.announce(&at(&["172.16.0.5"]), BY_MEMBERS);
        assert!(announced(&noting).is_empty());
        // Of a circle of its own nobody is expected anywhere.
        nearby.announce(&listening, BY_NOBODY);
        assert!(announced(&noting).is_empty());
    }

    #[test]
    fn whoever_invites_or_wishes_it_is_announced_everywhere() {
        let listening = at(&["10.1.1.5"]);
        let (mut nearby, noting) = nearby(Announces::WhereExpected);
        let by_invitation = Expected {
            by_invitation: true,
            ..BY_NOBODY
        };
        nearby.announce(&listening, by_invitation);
        assert_eq!(announced(&noting), listening);
        nearby.announce(&listening, BY_NOBODY);
        assert!(announced(&noting).is_empty());
        let (mut nearby, noting) = self::nearby(Announces::Always);
        nearby.announce(&listening, BY_NOBODY);
        assert_eq!(announced(&noting), listening);
    }

    #[test]
    fn the_owner_hears_once_that_nobody_can_find_this_device() {
        let (mut nearby, _) = nearby(Announces::WhereExpected);
        let listening = at(&["10.1.1.5"]);
        let mut told = |seconds, connected| {
            let now = Duration::from_secs(seconds);
            nearby
                .unannounced(now, &listening, BY_MEMBERS, connected)
                .is_some()
        };
        assert_eq!([0, 4].map(|at| told(at, false)), [false, false]);
        assert!(!told(5, true), "one is connected");
        assert_eq!([6, 10].map(|at| told(at, false)), [false, false]);
        assert!(told(11, false));
        assert!(!told(100, false), "it knows");
    }

    #[test]
    fn others_are_asked_now_and_then_and_at_once_where_somebody_wants_it() {
        let (mut nearby, noting) = nearby(Announces::WhereExpected);
        for seconds in 0..60 {
            nearby.look_sometimes(Duration::from_secs(seconds), &[]);
        }
        assert_eq!(*noting.looked.lock().expect("whole"), 3);
        nearby.look(Duration::from_secs(60), &[]);
        assert_eq!(*noting.looked.lock().expect("whole"), 4);
    }
}
