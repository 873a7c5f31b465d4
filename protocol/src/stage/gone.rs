//! Requesters that are gone, for a while or for ever.

use std::time::Duration;

use super::held::Held;
use super::{BACK_FOR, CLOSED_FOR, ORPHANED_FOR, Stages};
use crate::PeerId;

impl Stages {
    /// The connection to a peer ended: what it does not open again is freed in a while, which is short
    /// if the peer `closed` it.
    pub fn orphan(&mut self, now: Duration, peer: PeerId, closed: bool) {
        self.set_congested(now, peer, false);
        let until = now + if closed { CLOSED_FOR } else { ORPHANED_FOR };
        let of_peer = |held: &&mut Held| held.requester == peer;
        let stages = self.stages.values_mut().filter(of_peer);
        stages.for_each(|held| held.orphan(until));
    }

    /// A peer is connected: it may open again what it had here.
    pub fn connected(&mut self, now: Duration, peer: PeerId) {
        let of_peer = |held: &&mut Held| held.requester == peer;
        for held in self.stages.values_mut().filter(of_peer) {
            if let Some(until) = &mut held.orphaned_until {
                *until = (*until).max(now + BACK_FOR);
            }
        }
    }

    /// A peer has left the circle: nothing of it stays.
    pub fn forget(&mut self, peer: PeerId) {
        let ids = self.stages.keys().copied();
        let ids: Vec<_> = ids.filter(|id| id.requester == peer).collect();
        for id in ids {
            self.free(id);
        }
    }
}
