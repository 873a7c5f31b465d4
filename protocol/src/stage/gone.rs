//! Requesters whose connection ended, for a while or for good.

use std::time::Duration;

use super::held::Held;
use super::{BACK_FOR, CLOSED_FOR, ORPHANED_FOR, Stages};
use crate::PeerId;

impl Stages {
    /// The connection to a peer ended. Its stages are freed after a while unless it opens them again; the
    /// while is short if the peer `closed` the connection.
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
            // Once: one that comes and goes and does not open it does not want it.
            if let Some(until) = &mut held.orphaned_until
                && !std::mem::replace(&mut held.is_back, true)
            {
                *until = (*until).max(now + BACK_FOR);
            }
        }
    }

    /// Frees the stage that a requester lost first and has not opened again, as it needs the room for
    /// something else. Returns whether there was one. If its session goes on, it starts anew here.
    pub(super) fn free_lost(&mut self, requester: PeerId) -> bool {
        let lost = self.stages.iter().filter_map(|(&id, held)| {
            let until = held.orphaned_until?;
            (id.requester == requester).then_some((until, id))
        });
        let Some((_, id)) = lost.min() else {
            return false;
        };
        self.free(id);
        true
    }

    /// A peer has left the circle: all its stages are freed.
    pub fn forget(&mut self, peer: PeerId) {
        let ids = self.stages.keys().copied();
        let ids: Vec<_> = ids.filter(|id| id.requester == peer).collect();
        for id in ids {
            self.free(id);
        }
    }
}
