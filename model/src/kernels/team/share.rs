//! What a thread has yet to do of a loop, in one word that others may take from.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bits of either end of a range.
const END_BITS: u32 = 20;
const MASK: u64 = (1 << END_BITS) - 1;
/// Bits of a range in a word, the lowest.
pub(super) const RANGE_BITS: u32 = 2 * END_BITS;

/// The most units of a loop.
pub(super) const MOST_UNITS: usize = MASK as usize;

/// A range of a loop's units, and above it the number of loops so far. Its owner takes parts from the
/// front, in the order of memory; threads that have nothing left take from the back.
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
        self.0.load(Ordering::Acquire) >> RANGE_BITS
    }

    /// Opens the loop after the last for this thread.
    pub(super) fn open(&self, units: Range<usize>) {
        debug_assert!(units.start <= units.end && units.end <= MOST_UNITS);
        let epoch = self.0.load(Ordering::Relaxed) >> RANGE_BITS;
        let word = word(epoch.wrapping_add(1), &units);
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
        divide: impl Fn(usize, usize, usize) -> (Range<usize>, Range<usize>),
    ) -> Option<Range<usize>> {
        let mut now = self.0.load(Ordering::Acquire);
        loop {
            let Range { start, end } = unpacked(now);
            if start >= end {
                return None;
            }
            let units = part(end - start, most);
            let (taken, left) = divide(start, end, units);
            let next = word(now >> RANGE_BITS, &left);
            // Acquire: as `epoch`. Nobody waits for a word, so nothing is released.
            match self
                .0
                .compare_exchange_weak(now, next, Ordering::AcqRel, Ordering::Acquire)
            {
                Ok(_) => return Some(taken),
                Err(other) => now = other,
            }
        }
    }
}

fn word(epoch: u64, units: &Range<usize>) -> u64 {
    epoch << RANGE_BITS | packed(units)
}

/// A range of units as the lowest bits of a word.
pub(super) fn packed(units: &Range<usize>) -> u64 {
    (units.start as u64) << END_BITS | units.end as u64
}

/// The range in a word.
pub(super) fn unpacked(word: u64) -> Range<usize> {
    (word >> END_BITS & MASK) as usize..(word & MASK) as usize
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
