//! What became of the frames.

use std::time::Duration;

/// What became of the frames since the access point started. A frame for all counts once for each
/// station that it should reach.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Frames that arrived.
    pub arrived: u64,
    /// Frames of those that were lost on the air and arrived late.
    pub stalled: u64,
    /// Frames for all that were lost on the air.
    pub missed: u64,
    /// Frames dropped because a queue was full; here a frame for all counts once.
    pub queue_full: u64,
    /// Frames dropped by a cut, or because a station was away.
    pub cut: u64,
    /// By how much frames arrived later than they should have, in all: the emulator's own error.
    pub late: Duration,
    /// By how much the latest of them did.
    pub latest: Duration,
}

impl Statistics {
    pub(super) fn arrived(&mut self, late: Duration) {
        self.arrived += 1;
        self.late += late;
        self.latest = self.latest.max(late);
    }

    /// The mean of [`Self::late`] over the frames that arrived.
    pub fn mean_lateness(&self) -> Duration {
        let arrived = u32::try_from(self.arrived.max(1)).unwrap_or(u32::MAX);
        self.late / arrived
    }
}
