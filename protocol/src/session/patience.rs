//! Tolerance for a peer's silence before it counts as failed.

use std::time::Duration;

use super::{FAIL_AFTER, MOST_PATIENCE};

/// Silences are remembered for at least this long, and at most twice as long.
const REMEMBERED: Duration = Duration::from_secs(30);

/// The recent silences of one peer on one connection. A peer that was silent for long and then
/// continued, as over a link that stalls, gets more time than others.
///
/// Times are relative to an arbitrary fixed moment and never decrease.
#[derive(Debug, Clone, Copy, Default)]
pub struct Patience {
    /// Start of the current period, to which the first of `longest` belongs.
    began: Duration,
    /// The longest silences of the current period and of the one before.
    longest: [Duration; 2],
}

impl Patience {
    /// Notes that the peer was heard after this much silence, while something was due from it.
    pub fn note(&mut self, now: Duration, silence: Duration) {
        *self = self.at(now);
        self.longest[0] = self.longest[0].max(silence);
    }

    /// The maximum silence from now on: twice the longest recent silence, at least [`FAIL_AFTER`],
    /// at most [`MOST_PATIENCE`].
    pub fn limit(&self, now: Duration) -> Duration {
        let [longest, before] = self.at(now).longest;
        (longest.max(before).saturating_mul(2)).clamp(FAIL_AFTER, MOST_PATIENCE)
    }

    /// Drops periods that are too old.
    fn at(self, now: Duration) -> Self {
        let next = self.began + REMEMBERED;
        if now < next {
            self
        } else if now < next + REMEMBERED {
            Self {
                began: next,
                longest: [Duration::ZERO, self.longest[0]],
            }
        } else {
            Self {
                began: now,
                longest: [Duration::ZERO; 2],
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn who_was_silent_for_long_and_went_on_has_more_time_for_a_minute() {
        let mut patience = Patience::default();
        assert_eq!(patience.limit(ms(5_000)), FAIL_AFTER);
        patience.note(ms(5_000), ms(300));
        assert_eq!(patience.limit(ms(5_000)), FAIL_AFTER);
        patience.note(ms(6_000), ms(900));
        patience.note(ms(40_000), ms(500));
        assert_eq!(patience.limit(ms(40_000)), ms(1_800));
        assert_eq!(patience.limit(ms(59_999)), ms(1_800));
        assert_eq!(patience.limit(ms(60_000)), ms(1_000));
        assert_eq!(patience.limit(ms(90_000)), FAIL_AFTER);
    }

    #[test]
    fn nobody_is_waited_for_longer_than_for_ever_so_patient() {
        let mut patience = Patience::default();
        patience.note(ms(1_000), ms(40_000));
        assert_eq!(patience.limit(ms(1_000)), MOST_PATIENCE);
        patience.note(ms(2_000), Duration::MAX);
        assert_eq!(patience.limit(ms(2_000)), MOST_PATIENCE);
    }
}
