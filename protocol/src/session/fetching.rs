//! Progress of the stages of a placement that fetch weights.

use std::collections::BTreeMap;

use super::SessionEvent;
use crate::PeerId;
use crate::wire::StageFetching;

/// How far each was told to be, in thousandths.
///
/// Whatever a peer says, each thousandth is told at most once a placement: a queue that nobody
/// empties stays short, and whoever shows it has little to do.
#[derive(Debug, Default)]
pub(super) struct Fetches(BTreeMap<PeerId, u32>);

impl Fetches {
    /// A stage of the ring says how far it is: what is to be told of that, if anything.
    pub(super) fn heard(&mut self, peer: PeerId, fetching: &StageFetching) -> Option<SessionEvent> {
        let StageFetching {
            received_bytes,
            total_bytes,
            ..
        } = *fetching;
        let permille = u128::from(received_bytes) * 1_000 / u128::from(total_bytes.max(1));
        let permille = u32::try_from(permille).unwrap_or(u32::MAX);
        let before = self.0.get(&peer);
        if before.is_some_and(|before| *before >= permille) {
            return None;
        }
        self.0.insert(peer, permille);
        Some(SessionEvent::Fetching {
            peer,
            received_bytes,
            total_bytes,
        })
    }
}
