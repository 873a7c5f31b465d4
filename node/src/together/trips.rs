//! How long rows are under way.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The rows that were sent round the devices one by one, and when.
#[derive(Debug, Default)]
pub(super) struct Trips(VecDeque<(u32, Instant)>);

impl Trips {
    /// The row at this position was sent.
    pub(super) fn sent(&mut self, position: u32, now: Instant) {
        self.0.push_back((position, now));
    }

    /// Rows from this position on were dropped.
    pub(super) fn drop_from(&mut self, position: u32) {
        self.0.retain(|&(sent, _)| sent < position);
    }

    /// The answer for a row arrived. Returns how long that took, if it was sent alone.
    pub(super) fn came(&mut self, position: u32, now: Instant) -> Option<Duration> {
        while let Some((sent, at)) = self.0.pop_front_if(|&mut (sent, _)| sent <= position) {
            if sent == position {
                return Some(now - at);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_takes_from_being_sent_last_to_its_answer() {
        let begin = Instant::now();
        let at = |ms| begin + Duration::from_millis(ms);
        let mut trips = Trips::default();
        for position in 5..9 {
            trips.sent(position, at(u64::from(position)));
        }
        assert_eq!(trips.came(4, at(10)), None);
        assert_eq!(trips.came(5, at(20)), Some(Duration::from_millis(15)));
        assert_eq!(trips.came(5, at(21)), None);
        // Guesses behind it were wrong.
        trips.drop_from(7);
        trips.sent(7, at(30));
        assert_eq!(trips.came(7, at(70)), Some(Duration::from_millis(40)));
        assert_eq!(trips.came(6, at(80)), None);
    }
}
