//! Which devices are searched when there are more than [`MOST_DEVICES`].
//!
//! The requester always is. The others are ranked by the cost of a layer if one of them worked for the
//! requester alone: the hops there and back and the longest range that it has room for, combined as the
//! objective combines them, divided by the range's layers. So a device ranks high if it is fast, near, or
//! large enough to pay for its hops. A device without a known link to the requester ranks last. If the best
//! ranked have no room for the model, those with room for most layers are searched instead. The order in
//! which devices are given does not matter; of equals, the lower id comes first.
//!
//! Unlike the search itself this is a heuristic: with more than eight devices a better placement over
//! others may exist.

use std::cmp::Ordering;

use super::search::MOST_DEVICES;

/// What a layer on a helper would cost: `cost / layers`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Promise {
    /// Of its longest range and the hops there and back.
    pub(super) cost: u64,
    /// Layers of that range, at least one.
    pub(super) layers: usize,
}

impl Promise {
    fn compare(self, other: Self) -> Ordering {
        let scaled = |cost: u64, layers: usize| u128::from(cost) * layers as u128;
        scaled(self.cost, other.layers).cmp(&scaled(other.cost, self.layers))
    }
}

/// By what devices are ranked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rank {
    /// By what they promise.
    Promise,
    /// By the layers they have room for, then by what they promise.
    Room,
}

/// Splits so many candidates, numbered by their ids after the requester, number 0, into those to
/// search and the rest. `promise` gives each helper's.
pub(super) fn split(
    candidates: usize,
    rank: Rank,
    promise: impl Fn(usize) -> Promise,
) -> (Vec<usize>, Vec<usize>) {
    let mut helpers: Vec<(usize, Promise)> = (1..candidates)
        .map(|number| (number, promise(number)))
        .collect();
    // The sort is stable, so of equals the lower id stays first.
    helpers.sort_by(|(_, a), (_, b)| {
        let room = match rank {
            Rank::Promise => Ordering::Equal,
            Rank::Room => b.layers.cmp(&a.layers),
        };
        room.then(a.compare(*b))
    });
    let numbers = helpers.into_iter().map(|(number, _)| number);
    let (mut kept, mut left) = (vec![0], Vec::new());
    for number in numbers {
        if kept.len() < MOST_DEVICES {
            kept.push(number);
        } else {
            left.push(number);
        }
    }
    kept.sort_unstable();
    (kept, left)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_requester_always_stays_and_the_best_promises_per_layer_with_it() {
        // Numbers 1 to 10; cost falls with the number, except that 1 holds many layers.
        let promise = |number: usize| Promise {
            cost: 100 - number as u64,
            layers: if number == 1 { 5 } else { 1 },
        };
        let (kept, left) = split(11, Rank::Promise, promise);
        assert_eq!(kept, [0, 1, 5, 6, 7, 8, 9, 10]);
        assert_eq!(left, [4, 3, 2]);
        assert_eq!(split(1, Rank::Promise, promise), (vec![0], vec![]));
    }

    #[test]
    fn room_ranks_before_promise_where_room_is_short() {
        let promise = |number: usize| Promise {
            cost: if number < 4 { 1_000_000 } else { 1 },
            layers: if number < 4 { 9 } else { 2 },
        };
        let (kept, left) = split(12, Rank::Room, promise);
        assert_eq!(kept, [0, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(left, [8, 9, 10, 11]);
    }
}
