//! Standby stages.

use std::collections::{BTreeMap, BTreeSet};

use super::super::{PlacedStage, SessionOutput};
use super::Session;
use crate::PeerId;
use crate::wire::OpenStage;

impl Session {
    /// Loads these stages and reserves their memory, so that a later placement need not wait for
    /// that, and releases earlier standbys. Ignores devices in the ring and the requester. To be
    /// called once per placement, when it is ready.
    pub fn stand_by(&mut self, stages: &[PlacedStage]) {
        let in_ring = |peer: PeerId| self.ring.iter().any(|placed| placed.stage.peer == peer);
        let spare = |placed: &&PlacedStage| {
            let peer = placed.stage.peer;
            peer != self.setup.requester && !in_ring(peer) && !placed.stage.layers.is_empty()
        };
        let stages: BTreeMap<_, _> = stages
            .iter()
            .filter(spare)
            .map(|placed| (placed.stage.peer, *placed))
            .collect();
        let peers: BTreeSet<_> = stages.keys().copied().collect();
        let before = std::mem::replace(&mut self.standbys, peers.clone());
        // New standbys may hold rows from an earlier time in the ring.
        for &peer in before.symmetric_difference(&peers) {
            self.close_stage(peer);
        }
        for (peer, placed) in stages {
            let open = OpenStage {
                standby: true,
                ..self.opening(&placed)
            };
            self.outputs
                .push_back(SessionOutput::Send(peer, open.into()));
        }
    }
}
