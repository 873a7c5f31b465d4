//! Which positions of a sequence one layer's cache holds.

use crate::kernels::cache::BLOCK;

/// Positions by which a sequence can always be cut back, in layers with a window too: guesses that
/// were wrong, rows of a step that is computed again, or an answer that is asked for anew. It is also
/// the most positions that such a layer appends before it reads them.
pub(crate) const ROLL_BACK: usize = 512;

/// The blocks of one layer's cache. A layer without a window holds all positions. A layer with a
/// window `w` holds the last blocks only, in a ring: block `b` lies where block `b mod blocks` lay.
///
/// At the end `e` of what was appended, the ring holds the blocks from `e / 64 - blocks` on, rounded
/// up. A position `p` sees those from `(p + 1 - w) / 64` on, so the sequence can go on from `p` if that
/// is not less. `(w - 1 + ROLL_BACK) / 64` blocks, rounded up, and one more hold this for every `p`
/// from `e - ROLL_BACK` on, wherever in a block it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ring {
    window: Option<usize>,
    /// Blocks there is room for.
    blocks: usize,
    /// The most positions to append at once.
    at_once: usize,
    /// The first block that has not been overwritten.
    first: usize,
}

impl Ring {
    /// An empty ring for a sequence of at most `capacity` positions that can always be cut back by
    /// `roll_back`.
    pub(crate) fn new(window: Option<usize>, capacity: usize, roll_back: usize) -> Self {
        let all = capacity.div_ceil(BLOCK);
        let held = |window: usize| {
            let positions = window.saturating_sub(1).saturating_add(roll_back);
            positions.div_ceil(BLOCK) + 1
        };
        let blocks = window.map_or(all, |window| all.min(held(window)));
        Self {
            window,
            blocks,
            at_once: if blocks < all { roll_back } else { usize::MAX },
            first: 0,
        }
    }

    /// Positions there is room for; a multiple of [`BLOCK`].
    pub(crate) fn positions(&self) -> usize {
        self.blocks * BLOCK
    }

    /// The most positions to append before they are read.
    pub(crate) fn at_once(&self) -> usize {
        self.at_once
    }

    /// Whether a sequence with `len` positions can go on: everything that the next one sees is here.
    pub(crate) fn holds(&self, len: usize) -> bool {
        let seen = |window| (len + 1).saturating_sub(window) / BLOCK;
        len == 0 || self.window.map_or(0, seen) >= self.first
    }

    /// Positions are appended from `start` up to `end`, which may overwrite earlier ones.
    ///
    /// # Panics
    /// It does not [hold](Self::holds) `start`.
    pub(crate) fn append(&mut self, start: usize, end: usize) {
        assert!(self.holds(start), "what is seen was overwritten");
        if start == 0 {
            self.restart();
        }
        self.appended(end);
    }

    /// The blocks of the first `len` positions that are here.
    ///
    /// # Panics
    /// It does not [hold](Self::holds) `len`.
    pub(crate) fn held(&self, len: usize) -> std::ops::Range<usize> {
        assert!(self.holds(len), "what is seen was overwritten");
        let end = len.div_ceil(BLOCK);
        self.first.min(end)..end
    }

    /// Becomes the ring of a copy of these blocks; returns those that it has room for.
    pub(crate) fn take(&mut self, held: std::ops::Range<usize>) -> std::ops::Range<usize> {
        self.first = held.start.max(self.first_with(held.end * BLOCK));
        self.first..held.end
    }

    /// Positions before `end` were appended, from wherever.
    pub(crate) fn appended(&mut self, end: usize) {
        self.first = self.first.max(self.first_with(end));
    }

    /// Nothing is left, or nothing before is read again.
    pub(crate) fn restart(&mut self) {
        self.first = 0;
    }

    /// The first block that is here when `end` positions were appended.
    fn first_with(&self, end: usize) -> usize {
        end.div_ceil(BLOCK).saturating_sub(self.blocks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sequence_can_always_be_cut_back_by_what_was_promised() {
        for window in [1, 3, 16, 63, 64, 65, 512, 1024] {
            for roll_back in [64, 100, 512] {
                for end in (1..3_000).step_by(7) {
                    let mut ring = Ring::new(Some(window), 4_096, roll_back);
                    ring.append(0, end);
                    let least = end.saturating_sub(roll_back);
                    for len in [least, least + 1, end.saturating_sub(1), end] {
                        assert!(ring.holds(len), "{window}, {roll_back}: {len} of {end}");
                    }
                }
            }
        }
    }

    #[test]
    fn what_was_overwritten_is_not_held_until_it_begins_again() {
        let mut ring = Ring::new(Some(512), 32_768, ROLL_BACK);
        assert_eq!(ring.positions(), 17 * BLOCK);
        ring.append(0, 10_000);
        // 157 blocks were appended; the first that is left is 140.
        assert!(ring.holds(140 * BLOCK + 511) && !ring.holds(140 * BLOCK + 510));
        ring.append(9_600, 9_601);
        assert!(
            !ring.holds(9_000),
            "it is not back because the sequence is shorter"
        );
        assert!(ring.holds(0));
        ring.append(0, 100);
        assert!(ring.holds(50));
    }

    #[test]
    fn short_sequences_and_layers_without_a_window_hold_everything() {
        for (window, capacity) in [(None, 32_768), (Some(512), 1_088), (Some(16), 100)] {
            let mut ring = Ring::new(window, capacity, ROLL_BACK);
            assert_eq!(ring.positions(), capacity.next_multiple_of(BLOCK));
            ring.append(0, capacity);
            assert!((0..=capacity).all(|len| ring.holds(len)));
            assert_eq!(ring.at_once(), usize::MAX);
        }
    }
}
