//! Connections to peers: accepted, kept alive by pings, dropped.

use std::time::Duration;

use super::links::Due;
use super::peer::Peer;
use super::placing::Placing;
use super::{Event, Machine, Output};
use crate::PeerId;
use crate::circle::MAX_MEMBERS;
use crate::wire::{Refuse, RefuseCode};

impl Machine {
    /// Accepts a new connection, or refuses the peer if it is not a member.
    pub(super) fn connected(&mut self, now: Duration, peer: PeerId) {
        self.gone(now, peer, None);
        let refuse = if !self.is_member(peer) {
            let words = "you are no member of this device's circle: pair with it";
            Some((RefuseCode::NotAMember, words))
        } else if self.peers.len() >= MAX_MEMBERS {
            Some((RefuseCode::TooMany, "this device has too many connections"))
        } else {
            None
        };
        if let Some((code, words)) = refuse {
            let words = words.to_owned();
            self.push(peer, &Refuse { code, words }.into());
            self.outputs.push_back(Output::Disconnect(peer));
            return;
        }
        self.peers.insert(peer, Peer::new(now));
        self.stages.connected(now, peer);
        self.transfers.connected(peer);
        self.send(peer, self.hello.clone());
    }

    /// Drops a peer. `refuse` is sent to the peer, `why` is reported to the owner.
    pub(super) fn drop_peer(
        &mut self,
        now: Duration,
        peer: PeerId,
        refuse: Option<Refuse>,
        why: String,
    ) {
        if let Some(refuse) = refuse {
            self.send(peer, refuse);
        }
        if self.peers.contains_key(&peer) {
            self.outputs.push_back(Output::Disconnect(peer));
            self.gone(now, peer, Some(why));
        }
    }

    /// Cleans up after a disconnected peer.
    pub(super) fn gone(&mut self, now: Duration, peer: PeerId, why: Option<String>) {
        if self.peers.remove(&peer).is_some() {
            self.addresses.forget(peer);
            self.link_lost();
            // If we gave no reason, the other side ended the connection.
            self.stages.orphan(now, peer, why.is_none());
            self.transfers.gone(peer);
            self.holders.gone(peer);
            self.failed.gone(peer);
            for placing in self.sessions.values_mut() {
                placing.gone(peer);
            }
            self.event(Event::PeerGone { peer, why });
        }
    }

    /// Sends a peer the pings that are due, or drops it if it is silent.
    pub(super) fn ping(&mut self, now: Duration, to: PeerId) {
        let runs = |placing: &Placing| placing.goes_over(to);
        let may_pad = !self.sessions.values().any(runs);
        loop {
            let peer = self.peers.get_mut(&to);
            let Some(greeted) = peer.and_then(|peer| peer.greeted.as_mut()) else {
                return;
            };
            if greeted.pings.poll_timeout() > now {
                return;
            }
            match greeted.pings.handle_timeout(now, may_pad) {
                Due::Send(ping) => self.send(to, ping),
                Due::Silent => {
                    let why = "nothing was heard of it for 15 seconds".to_owned();
                    return self.drop_peer(now, to, None, why);
                }
                Due::Nothing => {}
            }
        }
    }
}
