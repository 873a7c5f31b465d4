//! Weights that a thread will read in the next loop, fetched while it has nothing to do.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes fetched at a time: a few cache lines, so that a waiting thread looks for its next loop
/// often enough.
const STEP: usize = 128;
const LINE: usize = 64;

/// Most that is fetched ahead: what memory delivers in the microseconds between two loops, and a
/// part of a second-level cache.
const MOST: usize = 128 * 1024;

/// A range of memory that one thread fetches into its cache. Only addresses: nothing is read, a
/// stale or torn range costs some useless hints.
#[derive(Default)]
pub(super) struct Ahead {
    start: AtomicUsize,
    end: AtomicUsize,
}

/// How far the thread has come.
#[derive(Default)]
pub(super) struct Fetched {
    start: usize,
    next: usize,
}

impl Ahead {
    /// From now on the start of `weights` is to be fetched.
    pub(super) fn set(&self, weights: &[u8]) {
        let start = weights.as_ptr().addr();
        let end = start + weights.len().min(MOST);
        self.end.store(end, Ordering::Relaxed);
        self.start.store(start, Ordering::Release);
    }
}

impl Fetched {
    /// Fetches the next few lines; false if there are none.
    pub(super) fn step(&mut self, ahead: &Ahead) -> bool {
        let start = ahead.start.load(Ordering::Acquire);
        if start != self.start {
            *self = Self { start, next: start };
        }
        let end = ahead.end.load(Ordering::Relaxed);
        // The second condition bounds what a torn range costs.
        if self.next >= end || self.next - start >= MOST {
            return false;
        }
        for line in (self.next..self.next + STEP).step_by(LINE) {
            prefetch(line);
        }
        self.next += STEP;
        true
    }

    /// Leaves out what is not fetched yet: the loop that reads it has begun.
    pub(super) fn stop(&mut self, ahead: &Ahead) {
        let start = ahead.start.load(Ordering::Acquire);
        *self = Self {
            start,
            next: usize::MAX,
        };
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
    fn a_range_is_fetched_once_up_to_the_most_and_not_after_its_loop_began() {
        let (ahead, mut fetched) = (Ahead::default(), Fetched::default());
        assert!(!fetched.step(&ahead));
        let mut steps = |ahead: &Ahead| (0..).take_while(|_| fetched.step(ahead)).count();
        let weights = vec![0; 2 * MOST];
        ahead.set(&weights[1..1 + 3 * STEP]);
        assert_eq!((steps(&ahead), steps(&ahead)), (3, 0));
        ahead.set(&weights);
        assert_eq!(steps(&ahead), MOST / STEP);
        ahead.set(&weights[STEP..]);
        fetched.stop(&ahead);
        assert!(!fetched.step(&ahead));
        ahead.set(&weights);
        assert!(fetched.step(&ahead));
    }
}
