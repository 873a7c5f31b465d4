//! Another node with this device's key that is met directly, as when a home was copied.
//!
//! Whoever completes a handshake as this device has its key, and it is another node unless this one
//! dialled itself. A node dials no peer of its own id; but where it is told an address alone, its own
//! node may be there. The way to learn that is to dial.

use std::time::Duration;

use libp2p::Multiaddr;
use libp2p::swarm::dial_opts::DialOpts;
use libp2p::swarm::{DialError, ListenError};

use super::driver::Driver;
use super::ids;
use super::parts::without_peer;
use super::report::NodeEvent;

/// So long after an address was dialled alone, whoever comes with this device's key may be this node.
const MAY_BE_US: Duration = Duration::from_secs(15);

const HOW_TO_MEND: &str = "`potluck circle new --identity` on the copy gives it an id of its own";

impl Driver {
    /// Dials an address, whoever is there.
    pub(super) fn dial_anyone(&mut self, address: &Multiaddr) {
        let address = without_peer(address);
        if self.listening().contains(&address) {
            let words =
                format!("{address} is an address of this device itself: nobody else is there");
            self.tell_watchers(&NodeEvent::Problem(words));
            return;
        }
        self.dialled_anyone = Some(self.now());
        let dial = DialOpts::unknown_peer_id().address(address.clone()).build();
        if let Err(error) = self.swarm.dial(dial) {
            let words = format!("cannot dial {address}: {error}");
            self.tell_watchers(&NodeEvent::Problem(words));
        }
    }

    /// Whether an address names this device as the one that is there.
    pub(super) fn is_of_this_device(&self, peer: &libp2p::PeerId) -> bool {
        ids::of_libp2p(peer) == Some(self.device.peer_id())
    }

    /// Somebody connected and was refused.
    pub(super) fn came_in_vain(&mut self, error: &ListenError) {
        let may_be_us = self
            .dialled_anyone
            .is_some_and(|at| self.now().saturating_sub(at) < MAY_BE_US);
        if matches!(error, ListenError::LocalPeerId { .. }) && !may_be_us {
            let words = format!(
                "another device runs with this one's id, as when a home was copied (it has just \
                 connected): {HOW_TO_MEND}"
            );
            self.tell_watchers(&NodeEvent::Problem(words));
        }
    }

    /// A dial led to nobody, or to a node with this device's key.
    pub(super) fn dialled_in_vain(&mut self, error: &DialError) {
        if let DialError::LocalPeerId { address } = error {
            let address = without_peer(address);
            let words = format!(
                "a node with this device's id answers at {address}: unless that leads to this device \
                 itself, its home was copied, and {HOW_TO_MEND}"
            );
            self.tell_watchers(&NodeEvent::Problem(words));
        }
    }
}
