//! What a thread has yet to do of a loop, in one word that others may take from.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bits of either end of the range; what is above them counts loops.
const BITS: u32 = 20;
const MASK: u64 = (1 << BITS) - 1;

/// The most units of a loop.
pub(super) const MOST_UNITS: usize = MASK as usize;

/// A range of a loop's units. Its owner takes parts from the front, in the order of memory; threads
/// that have nothing left take from the back.
///
/// A part is claimed by exchanging the whole word. So whoever claims one has a part of the loop that
/// is open then, even if it was looking at an earlier one, and a loop whose ranges are all empty
/// gives nothing to those who come late.
pub(super) struct Share(AtomicU64);

impl Share {
    pub(super) fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// The number of the loop, of which some bits are kept.
    pub(super) fn epoch(&self) -> u64 {
        // Acquire: what the caller wrote before it opened the loop.
        self.0.load(Ordering::Acquire) >> (2 * BITS)
    }

    /// Opens the loop after the last for this thread.
    pub(super) fn open(&self, units: Range<usize>) {
        debug_assert!(units.start <= units.end && units.end <= MOST_UNITS);
        let epoch = self.0.load(Ordering::Relaxed) >> (2 * BITS);
        let word = word(epoch.wrapping_add(1), units.start as u64, units.end as u64);
        // Release: the plan, and what the loop reads.
        self.0.store(word, Ordering::Release);
    }

    /// Takes half of the units, `most` at most, one if there is only one.
    pub(super) fn take_first(&self, most: usize) -> Option<Range<usize>> {
        self.take(most, |start, end, units| {
            (start..start + units, start + units..end)
        })
    }

    /// As [`Self::take_first`], the last ones, for another thread.
    pub(super) fn take_last(&self, most: usize) -> Option<Range<usize>> {
        self.take(most, |start, end, units| {
            (end - units..end, start..end - units)
        })
    }

    fn take(
        &self,
        most: usize,
        divide: impl Fn(u64, u64, u64) -> (Range<u64>, Range<u64>),
    ) -> Option<Range<usize>> {
        let mut now = self.0.load(Ordering::Acquire);
        loop {
            let (start, end) = (now >> BITS & MASK, now & MASK);
            if start >= end {
                return None;
            }
            let units = part((end - start) as usize, most) as u64;
            let (taken, left) = divide(start, end, units);
            let next = word(now >> (2 * BITS), left.start, left.end);
            // Acquire: as `epoch`. Nobody waits for a word, so nothing is released.
            match self
                .0
                .compare_exchange_weak(now, next, Ordering::AcqRel, Ordering::Acquire)
            {
                Ok(_) => return Some(taken.start as usize..taken.end as usize),
                Err(other) => now = other,
            }
        }
    }
}

fn word(epoch: u64, start: u64, end: u64) -> u64 {
    epoch << (2 * BITS) | start << BITS | end
}

/// How many of `left` units are taken at once.
pub(super) fn part(left: usize, most: usize) -> usize {
    (left / 2).clamp(left.min(1), most.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_are_taken_in_halves_of_at_most_so_many_until_nothing_is_left() {
        let share = Share::new();
        assert_eq!(share.take_first(9), None);
        share.open(10..30);
        assert_eq!(share.epoch(), 1);
        assert_eq!(share.take_first(8), Some(10..18));
        assert_eq!(share.take_last(100), Some(24..30));
        assert_eq!(share.take_first(100), Some(18..21));
        assert_eq!(share.take_last(100), Some(23..24));
        assert_eq!(share.take_last(100), Some(22..23));
        assert_eq!(share.take_first(100), Some(21..22));
        assert_eq!((share.take_first(9), share.take_last(9)), (None, None));
        share.open(0..MOST_UNITS);
        assert_eq!(share.epoch(), 2);
        assert_eq!(share.take_last(1), Some(MOST_UNITS - 1..MOST_UNITS));
    }
}
