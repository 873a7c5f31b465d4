//! Merges neighbouring symbols, best pair first. Both kinds of tokenizer use this algorithm.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Range;

/// Decides which neighbours may be merged, and in what order.
pub(super) trait Pairing {
    /// The lowest rank is merged first; among equals, the leftmost.
    type Rank: Ord + Copy;

    /// The rank of merging the two symbols of `pair`, the first of which has `left` bytes; `None`
    /// if they may not be merged.
    fn rank(&self, pair: &[u8], left: usize) -> Option<Self::Rank>;
}

#[derive(Clone, Copy)]
struct Symbol {
    start: u32,
    // 0 after being merged into a symbol on its left.
    len: u32,
    previous: u32,
    next: u32,
}

const NONE: u32 = u32::MAX;

/// Buffers for [`Merger::merge`], reused from word to word.
pub(super) struct Merger<R> {
    symbols: Vec<Symbol>,
    // (rank, left symbol, right symbol, bytes of both)
    queue: BinaryHeap<Reverse<(R, u32, u32, u32)>>,
}

impl<R: Ord + Copy> Merger<R> {
    pub(super) fn new() -> Self {
        Self {
            symbols: Vec::new(),
            queue: BinaryHeap::new(),
        }
    }

    /// Splits `text` into symbols of the given lengths, merges neighbours until no pair may be
    /// merged, and returns the length in bytes of each remaining symbol, in order.
    ///
    /// Takes O(n log n) for n symbols. `text` is shorter than 4 GiB and `lens` sums to its length.
    pub(super) fn merge(
        &mut self,
        text: &[u8],
        lens: impl Iterator<Item = usize>,
        pairing: &impl Pairing<Rank = R>,
    ) -> impl Iterator<Item = Range<usize>> {
        self.start(text, lens);
        for right in 1..self.symbols.len() as u32 {
            self.propose(text, right - 1, right, pairing);
        }
        while let Some(Reverse((_, left, right, len))) = self.queue.pop() {
            let (a, b) = (self.symbols[left as usize], self.symbols[right as usize]);
            // Outdated pair: a symbol that changed since then has new entries.
            if a.len == 0 || b.len == 0 || a.len + b.len != len {
                continue;
            }
            self.symbols[left as usize].len = len;
            self.symbols[left as usize].next = b.next;
            self.symbols[right as usize].len = 0;
            if let Some(after) = self.symbols.get_mut(b.next as usize) {
                after.previous = left;
            }
            self.propose(text, a.previous, left, pairing);
            self.propose(text, left, b.next, pairing);
        }
        self.symbols
            .iter()
            .filter(|symbol| symbol.len > 0)
            .map(|symbol| symbol.start as usize..(symbol.start + symbol.len) as usize)
    }

    fn start(&mut self, text: &[u8], lens: impl Iterator<Item = usize>) {
        self.symbols.clear();
        self.queue.clear();
        let mut start = 0;
        for len in lens {
            let at = self.symbols.len() as u32;
            self.symbols.push(Symbol {
                start,
                len: len as u32,
                previous: at.wrapping_sub(1),
                next: at + 1,
            });
            start += len as u32;
        }
        if let Some(last) = self.symbols.last_mut() {
            last.next = NONE;
        }
        debug_assert_eq!(start as usize, text.len());
    }

    fn propose(&mut self, text: &[u8], left: u32, right: u32, pairing: &impl Pairing<Rank = R>) {
        let (Some(a), Some(b)) = (
            self.symbols.get(left as usize),
            self.symbols.get(right as usize),
        ) else {
            return;
        };
        let pair = &text[a.start as usize..(b.start + b.len) as usize];
        if let Some(rank) = pairing.rank(pair, a.len as usize) {
            self.queue
                .push(Reverse((rank, left, right, pair.len() as u32)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Known(&'static [&'static str]);

    impl Pairing for Known {
        type Rank = usize;

        fn rank(&self, pair: &[u8], _: usize) -> Option<usize> {
            self.0.iter().position(|known| known.as_bytes() == pair)
        }
    }

    fn merged<'t>(text: &'t str, known: &'static [&'static str]) -> Vec<&'t str> {
        Merger::new()
            .merge(
                text.as_bytes(),
                text.chars().map(char::len_utf8),
                &Known(known),
            )
            .map(|range| &text[range])
            .collect()
    }

    #[test]
    fn the_lowest_rank_goes_first_and_then_the_leftmost() {
        assert_eq!(merged("abc", &["bc", "ab"]), ["a", "bc"]);
        assert_eq!(merged("abc", &["ab", "bc", "abc"]), ["abc"]);
        assert_eq!(merged("aaaaa", &["aa"]), ["aa", "aa", "a"]);
        assert_eq!(merged("aaaaa", &["aa", "aaaa"]), ["aaaa", "a"]);
        assert_eq!(merged("xüx", &["üx"]), ["x", "üx"]);
        assert_eq!(merged("", &["aa"]), [""; 0]);
    }

    #[test]
    fn a_pair_that_has_changed_is_not_joined() {
        // "bc" is proposed, but "ab" is merged first, and "abc" is not a pair.
        assert_eq!(merged("abcd", &["ab", "bc", "cd"]), ["ab", "cd"]);
    }
}
