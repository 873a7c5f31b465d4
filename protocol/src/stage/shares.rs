//! A fair share of the computing time for each requester, however many sessions it has.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::PeerId;

/// The computing time of each requester.
///
/// The requester with the least is served first. Idle time earns no credit: a requester that was idle
/// counts as having used as much as the one that is served.
#[derive(Debug, Default)]
pub(super) struct Shares {
    /// Requesters that have used more than the floor.
    had: BTreeMap<PeerId, Duration>,
    /// What the requester that was served last has used.
    floor: Duration,
}

impl Shares {
    /// What a requester has used, to be compared with others.
    pub(super) fn of(&self, requester: PeerId) -> Duration {
        let had = self.had.get(&requester).copied().unwrap_or_default();
        had.max(self.floor)
    }

    /// A step begins, with rows of this requester first.
    pub(super) fn begins(&mut self, first: PeerId) {
        self.floor = self.of(first);
        self.had.retain(|_, had| *had > self.floor);
    }

    /// So long was computed for a requester.
    pub(super) fn computed(&mut self, requester: PeerId, time: Duration) {
        let had = self.of(requester).saturating_add(time);
        self.had.insert(requester, had);
    }
}
