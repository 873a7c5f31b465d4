//! Detects another node with this device's key, as when a home was copied.
//!
//! A peer that completes a handshake with this device's id has its key. It is another node, unless this
//! node dialled itself: it never dials its own id, but an address without an id may lead to itself.

use std::time::Duration;

use libp2p::Multiaddr;
use libp2p::swarm::dial_opts::DialOpts;
use libp2p::swarm::{DialError, ListenError};

use super::driver::Driver;
use super::ids;
use super::parts::without_peer;
use super::report::NodeEvent;

/// How long after dialling an address without an id a peer with this device's key may be this node.
const MAY_BE_US: Duration = Duration::from_secs(15);

const HOW_TO_MEND: &str = "`potluck circle new --identity` on the copy gives it an id of its own";

impl Driver {
    /// Dials an address without knowing whose it is.
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

    /// Whether the id of an address is this device's.
    pub(super) fn is_of_this_device(&self, peer: &libp2p::PeerId) -> bool {
        ids::of_libp2p(peer) == Some(self.device.peer_id())
    }

    /// An inbound connection failed.
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

    /// A dial failed, perhaps because a node with this device's key answered.
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
