//! Sets of log entries, by their positions in the log.

use super::MAX_ENTRIES;
use super::entry::Entry;

const WORDS: usize = MAX_ENTRIES / 64;

/// A set of places in the log, below [`MAX_ENTRIES`]. An entry's *past* is the set of those that it
/// builds on, directly or not.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct EntrySet(Vec<u64>);

impl EntrySet {
    /// The places `0..len`.
    pub(super) fn first(len: usize) -> Self {
        let mut set = Self::default();
        (0..len).for_each(|place| set.insert(place));
        set
    }

    pub(super) fn insert(&mut self, place: usize) {
        let word = place / 64;
        assert!(
            word < WORDS,
            "the log refuses more entries than the set holds"
        );
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << (place % 64);
    }

    pub(super) fn contains(&self, place: usize) -> bool {
        self.0
            .get(place / 64)
            .is_some_and(|word| word >> (place % 64) & 1 == 1)
    }

    pub(super) fn union_with(&mut self, other: &Self) {
        if self.0.len() < other.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        for (word, other) in self.0.iter_mut().zip(&other.0) {
            *word |= other;
        }
    }

    /// Whether all that is in `self` and in `within` is in `other`.
    pub(super) fn is_covered(&self, within: &Self, other: &Self) -> bool {
        self.0.iter().zip(&within.0).enumerate().all(|(i, (a, b))| {
            let other = other.0.get(i).copied().unwrap_or_default();
            a & b & !other == 0
        })
    }

    /// The places, ascending.
    pub(super) fn iter(&self) -> impl Iterator<Item = usize> {
        let bits = |word: u64| (0..64).filter(move |bit| word >> bit & 1 == 1);
        let words = self.0.iter().enumerate();
        words.flat_map(move |(i, &word)| bits(word).map(move |bit| 64 * i + bit))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::collection::btree_set;
    use proptest::prelude::*;

    use super::*;

    fn set(places: &BTreeSet<usize>) -> EntrySet {
        let mut set = EntrySet::default();
        places.iter().for_each(|&place| set.insert(place));
        set
    }

    proptest! {
        #[test]
        fn it_is_a_set(
            a in btree_set(0..MAX_ENTRIES, 0..40),
            b in btree_set(0..MAX_ENTRIES, 0..40),
            c in btree_set(0..MAX_ENTRIES, 0..40),
        ) {
            let [x, y, z] = [&a, &b, &c].map(set);
            prop_assert!(x.iter().eq(a.iter().copied()));
            prop_assert!((0..MAX_ENTRIES).all(|place| x.contains(place) == a.contains(&place)));
            let covered = a.intersection(&b).all(|place| c.contains(place));
            prop_assert_eq!(x.is_covered(&y, &z), covered);
            prop_assert!(x.is_covered(&y, &y));
            let mut union = x.clone();
            union.union_with(&y);
            prop_assert!(union.iter().eq(a.union(&b).copied()));
        }
    }

    #[test]
    fn the_first_places_are_those_below_a_number() {
        assert!(EntrySet::first(70).iter().eq(0..70));
        assert_eq!(EntrySet::first(0).iter().count(), 0);
    }
}

/// An entry in the log.
#[derive(Debug, Clone)]
pub(super) struct Placed {
    pub(super) entry: Entry,
    /// What it builds on, without itself.
    pub(super) past: EntrySet,
    /// The longest way down to the founding.
    pub(super) height: u32,
}
