//! Weight-fetching progress of a placement's stages.

use std::collections::BTreeMap;

use super::SessionEvent;
use crate::PeerId;
use crate::wire::StageFetching;

/// The last reported progress of each stage, in thousandths.
///
/// Whatever a peer sends, each thousandth is reported at most once per placement, so that an unread
/// event queue stays short and a display has little to do.
#[derive(Debug, Default)]
pub(super) struct Fetches(BTreeMap<PeerId, u32>);

impl Fetches {
    /// Handles a progress report of a stage in the ring. Returns the event to report, if any.
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
