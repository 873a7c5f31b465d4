//! The measured round trip, bandwidth and overhead of the link to a peer.

use std::time::Duration;

use crate::profile::{Measured, Rate};

/// The way from one node to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// A small frame there and back.
    pub round_trip: Measured<Duration>,
    /// Bytes a second, one way.
    pub bandwidth: Measured<Rate>,
    /// What sending and receiving a frame costs the two nodes, beside the way.
    pub overhead: Measured<Duration>,
}

impl Link {
    /// From sending a frame of so many bytes to its arrival:
    /// `round_trip / 2 + bytes / bandwidth + overhead`.
    pub fn hop_time(&self, bytes: u64) -> Duration {
        (self.round_trip.value / 2).saturating_add(self.occupied_by(bytes))
    }

    /// How long a frame keeps the next from going: `bytes / bandwidth + overhead`. The way's delay
    /// is no part of it, as frames follow each other without waiting for arrival.
    pub fn occupied_by(&self, bytes: u64) -> Duration {
        let sending = self.bandwidth.value.time_for(bytes);
        sending.saturating_add(self.overhead.value)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::profile::tests::{measured, rate};

    /// A link without overhead.
    pub(crate) fn link(round_trip: Duration, bytes_per_s: u64) -> Link {
        Link {
            round_trip: measured(round_trip),
            bandwidth: measured(rate(bytes_per_s)),
            overhead: measured(Duration::ZERO),
        }
    }

    #[test]
    fn a_hop_takes_half_the_round_trip_and_the_bytes() {
        let mut link = link(Duration::from_millis(5), 1_000_000);
        link.overhead.value = Duration::from_micros(50);
        assert_eq!(link.hop_time(2_000), Duration::from_micros(2_500 + 2_050));
        assert_eq!(link.occupied_by(2_000), Duration::from_micros(2_050));
        link.round_trip.value = Duration::MAX;
        link.overhead.value = Duration::MAX;
        assert_eq!(link.hop_time(u64::MAX), Duration::MAX);
    }
}
