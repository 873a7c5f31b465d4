//! Member addresses, as announced by members and relayed by others.

use std::collections::BTreeMap;

use super::Machine;
use super::Output;
use crate::PeerId;
use crate::pairing::Address;
use crate::wire::PeerAddresses;
use crate::wire::limits::MAX_ADDRESSES;

/// The addresses of this node and of connected members, as each announced its own.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    own: Vec<Address>,
    of_peers: BTreeMap<PeerId, Vec<Address>>,
}

impl Addresses {
    /// Forgets a disconnected peer. The driver remembers its addresses.
    pub(super) fn forget(&mut self, peer: PeerId) {
        self.of_peers.remove(&peer);
    }
}

impl Machine {
    /// Sets the addresses on which this node listens.
    pub(super) fn listens(&mut self, mut addresses: Vec<Address>) {
        addresses.truncate(MAX_ADDRESSES);
        if addresses != self.addresses.own {
            self.addresses.own = addresses;
            let own = self.own_addresses();
            self.send_to_all(None, &own.into());
        }
    }

    /// Sends a greeted peer the addresses of this node and of the other members.
    pub(super) fn tell_addresses(&mut self, to: PeerId) {
        let own = (!self.addresses.own.is_empty()).then(|| self.own_addresses());
        let known = self.addresses.of_peers.iter();
        let others = known.filter(|(peer, _)| **peer != to);
        let others = others.map(|(&peer, addresses)| PeerAddresses {
            peer,
            addresses: addresses.clone(),
        });
        let told: Vec<_> = own.into_iter().chain(others).collect();
        for message in told {
            self.send(to, message);
        }
    }

    /// Handles a member's addresses. Relays a peer's own addresses, but not those of others.
    pub(super) fn addresses_told(&mut self, from: PeerId, message: PeerAddresses) {
        let peer = message.peer;
        if !self.is_member(peer) {
            return;
        }
        if peer == from {
            let before = self
                .addresses
                .of_peers
                .insert(peer, message.addresses.clone());
            if before.as_ref() == Some(&message.addresses) {
                return;
            }
            self.send_to_all(Some(from), &message.clone().into());
        }
        let PeerAddresses { addresses, .. } = message;
        self.outputs
            .push_back(Output::PeerAddresses(peer, addresses));
    }

    fn own_addresses(&self) -> PeerAddresses {
        PeerAddresses {
            peer: self.me,
            addresses: self.addresses.own.clone(),
        }
    }
}
