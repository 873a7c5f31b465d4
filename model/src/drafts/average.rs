//! The average of measured times.

use std::time::Duration;

/// Weight of a measurement in a moving average.
const NEW: f64 = 0.125;
/// Of the first few measurements the least counts: others include page faults.
pub(super) const FIRST: u32 = 4;
/// A measurement counts as at most this many times the average: a busy system is not the norm.
const OUTLIER: f64 = 2.0;

/// A moving average.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Average {
    /// In seconds.
    pub(super) mean: f64,
    /// The number of measurements.
    pub(super) count: u32,
}

impl Average {
    pub(super) fn add(&mut self, time: Duration) {
        let seconds = time.as_secs_f64();
        self.mean = match self.count {
            0 => seconds,
            1..FIRST => self.mean.min(seconds),
            _ => self.mean + NEW * (seconds.min(OUTLIER * self.mean) - self.mean),
        };
        self.count = self.count.saturating_add(1);
    }
}
