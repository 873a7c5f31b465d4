//! What an emulated Wi-Fi is like.

use std::time::Duration;

/// What the air and the access point do to every frame. The frame's length counts its Ethernet
/// header; preambles, acknowledgements and contention of a real radio are not modelled.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Profile {
    /// Time from one station to another, beside the airtime.
    pub delay: Duration,
    /// The most that a frame is delayed beyond that, each by its own share, evenly distributed.
    pub jitter: Duration,
    /// Bits a second that the one access point and all its stations send *together*. A frame
    /// between two stations is on the air twice, up to the access point and down from it: they
    /// reach at most half of this.
    pub rate_bits_per_s: u64,
    /// Bytes that each station holds for the access point, and the access point for each station.
    /// A frame that finds its queue full is dropped.
    pub queue_bytes: usize,
    /// Probability, in `0..=1`, that a frame is lost on its way to a station. The link layer
    /// repeats a frame to one station until it arrives, so that its loss is seen as a stall. It
    /// does not repeat multicast and broadcast: that station misses the frame.
    pub loss: f64,
    /// The mean stall of a lost frame, each between half of it and one and a half times of it.
    /// Later frames between the same two stations wait behind the stalled one.
    pub stall: Duration,
}

impl Default for Profile {
    /// A quiet home: 2.5 ms one way, 100 Mbit/s, queues of 256 KiB, no jitter, no loss.
    fn default() -> Self {
        Self {
            delay: Duration::from_micros(2_500),
            jitter: Duration::ZERO,
            rate_bits_per_s: 100_000_000,
            queue_bytes: 256 << 10,
            loss: 0.0,
            stall: Duration::from_millis(30),
        }
    }
}

impl Profile {
    /// How long a frame of `bytes` occupies the air, each time that it is sent.
    pub fn airtime(&self, bytes: usize) -> Duration {
        let bits = bytes as u128 * 8;
        // Rounded up: the air is never faster than its rate.
        let nanos = (bits * 1_000_000_000).div_ceil(u128::from(self.rate_bits_per_s));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// # Panics
    /// When the rate is zero or the loss is no probability.
    #[track_caller]
    pub(crate) fn check(&self) {
        assert!(self.rate_bits_per_s > 0, "the rate must not be zero");
        assert!(
            (0.0..=1.0).contains(&self.loss),
            "the loss must be in 0..=1, not {}",
            self.loss
        );
    }
}
