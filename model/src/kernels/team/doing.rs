//! Who puts the outputs of a part where they belong: the thread that computes it, or the caller.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use super::share::{RANGE_BITS, packed, unpacked};

/// The thread has no part that it could be relieved of.
const NOTHING: u64 = 0;
/// It puts outputs where they belong, which is short.
const PUTTING: u64 = 1 << RANGE_BITS;
/// The caller computes the part in its place.
const RELIEVED: u64 = 2 << RANGE_BITS;
/// It computes the units below.
const COMPUTING: u64 = 3 << RANGE_BITS;

/// What a helper does with a part that it computes apart from its caller's memory.
///
/// | from | to | by |
/// |---|---|---|
/// | nothing | computing | the helper |
/// | computing | putting, or relieved | the helper, or the caller: who exchanges the word first |
/// | putting, relieved | nothing | the helper |
pub(super) struct Doing(AtomicU64);

impl Doing {
    pub(super) fn new() -> Self {
        Self(AtomicU64::new(NOTHING))
    }

    /// The helper begins to compute units. From now on it may be relieved of them.
    pub(super) fn begin(&self, units: &Range<usize>) {
        let word = COMPUTING | packed(units);
        // Release: what the helper read of its caller's memory before.
        self.0.store(word, Ordering::Release);
    }

    /// Whether the helper that computed units is to put their outputs where they belong.
    pub(super) fn put(&self, units: &Range<usize>) -> bool {
        let word = COMPUTING | packed(units);
        let (set, get) = (Ordering::AcqRel, Ordering::Relaxed);
        self.0.compare_exchange(word, PUTTING, set, get).is_ok()
    }

    /// The helper is done with a part, and with the memory that it read for it.
    pub(super) fn end(&self) {
        self.0.store(NOTHING, Ordering::Release);
    }

    /// Whether the helper computes units.
    pub(super) fn is_computing(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= COMPUTING
    }

    /// Relieves the helper of the units that it computes, if it does: the caller has to compute them.
    pub(super) fn relieve(&self) -> Option<Range<usize>> {
        let (set, get) = (Ordering::AcqRel, Ordering::Relaxed);
        let computing = |word: u64| (word >= COMPUTING).then_some(RELIEVED);
        let word = self.0.fetch_update(set, get, computing).ok()?;
        Some(unpacked(word))
    }

    /// Whether the helper was relieved of units and may still read what they are computed from.
    pub(super) fn is_relieved(&self) -> bool {
        // Acquire: its last reads were before.
        self.0.load(Ordering::Acquire) == RELIEVED
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_the_helper_puts_its_outputs_or_the_caller_computes_them() {
        let doing = Doing::new();
        assert_eq!((doing.is_computing(), doing.relieve()), (false, None));
        doing.begin(&(3..7));
        assert!(doing.is_computing() && doing.put(&(3..7)));
        assert_eq!((doing.is_computing(), doing.relieve()), (false, None));
        doing.end();
        doing.begin(&(7..9));
        assert_eq!((doing.relieve(), doing.relieve()), (Some(7..9), None));
        assert!(doing.is_relieved() && !doing.put(&(7..9)));
        doing.end();
        assert!(!doing.is_relieved());
    }
}
