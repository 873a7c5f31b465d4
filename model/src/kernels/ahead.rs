//! Weights that the next loop will read, for threads that have nothing to do until it starts.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes fetched at a time: a few cache lines, so that a waiting thread looks for its next loop
/// often enough.
const STEP: usize = 128;
const LINE: usize = 64;

/// Most that is fetched ahead: what memory delivers in the microseconds between two loops, and a
/// part of a second-level cache.
const MOST: usize = 128 * 1024;

/// A range of memory that waiting threads fetch into their caches, step by step, each step by one
/// of them. Only addresses: nothing is read, a stale or torn range costs a useless hint.
pub(super) struct Ahead {
    next: AtomicUsize,
    end: AtomicUsize,
}

impl Ahead {
    pub(super) fn new() -> Self {
        Self {
            next: AtomicUsize::new(0),
            end: AtomicUsize::new(0),
        }
    }

    /// From now on fetches the start of `weights`.
    pub(super) fn set(&self, weights: &[u8]) {
        let start = weights.as_ptr().addr();
        self.end.store(0, Ordering::Relaxed);
        self.next.store(start, Ordering::Relaxed);
        let end = start + weights.len().min(MOST);
        self.end.store(end, Ordering::Release);
    }

    /// Fetches nothing more.
    pub(super) fn clear(&self) {
        self.end.store(0, Ordering::Relaxed);
    }

    /// Fetches the next few lines; false if there are none.
    pub(super) fn step(&self) -> bool {
        let end = self.end.load(Ordering::Acquire);
        if self.next.load(Ordering::Relaxed) >= end {
            return false;
        }
        let at = self.next.fetch_add(STEP, Ordering::Relaxed);
        for line in (at..at + STEP).step_by(LINE) {
            prefetch(line);
        }
        true
    }
}

/// Hints that the line at this address will be read.
#[inline(always)]
fn prefetch(address: usize) {
    let at: *const u8 = std::ptr::without_provenance(address);
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch of any address is only a hint, and part of every x86-64.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(at.cast());
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as above, and of every AArch64.
    unsafe {
        std::arch::asm!("prfm pldl1keep, [{at}]", at = in(reg) at, options(nostack, preserves_flags, readonly));
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = at;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_fetched_once_up_to_the_most_and_not_after_it_was_cleared() {
        let ahead = Ahead::new();
        assert!(!ahead.step());
        let steps = || (0..).take_while(|_| ahead.step()).count();
        ahead.set(&[0; 3 * STEP]);
        assert_eq!((steps(), ahead.step()), (3, false));
        ahead.set(&vec![0; 2 * MOST]);
        assert_eq!(steps(), MOST / STEP);
        ahead.set(&[0; STEP]);
        ahead.clear();
        assert!(!ahead.step());
    }
}
