//! Reads the weights that peers requested from the store, no faster than the peers take them.

use std::collections::{BTreeMap, VecDeque};

use potluck_protocol::PeerId;
use potluck_protocol::transfer::{StoreAnswer, StoreOrder};
use potluck_protocol::wire::limits::MAX_PIECE_BYTES;

/// No more is read for a peer while so many bytes wait for it: enough to keep its stream busy.
const ENOUGH: usize = 2 * MAX_PIECE_BYTES as usize;
/// Pieces read for one peer in parallel.
const AT_ONCE: usize = 2;

/// The reads that wait for each peer.
#[derive(Debug, Default)]
pub(super) struct Giving(BTreeMap<PeerId, Wanted>);

#[derive(Debug, Default)]
struct Wanted {
    orders: VecDeque<StoreOrder>,
    /// How many are being read.
    reading: usize,
}

impl Giving {
    /// Queues a read; gives any other order back, to be done now.
    pub(super) fn order(&mut self, order: StoreOrder) -> Option<StoreOrder> {
        let StoreOrder::Read { to, .. } = order else {
            return Some(order);
        };
        self.0.entry(to).or_default().orders.push_back(order);
        None
    }

    /// The reads to start now. `queued` gives the bytes that wait for a peer; `None` for a peer that is gone,
    /// whose reads are dropped.
    pub(super) fn due(&mut self, queued: impl Fn(PeerId) -> Option<usize>) -> Vec<StoreOrder> {
        let mut due = Vec::new();
        self.0.retain(|peer, wanted| {
            let Some(queued) = queued(*peer) else {
                return false;
            };
            while queued < ENOUGH && wanted.reading < AT_ONCE {
                let Some(order) = wanted.orders.pop_front() else {
                    break;
                };
                wanted.reading += 1;
                due.push(order);
            }
            wanted.reading > 0 || !wanted.orders.is_empty()
        });
        due
    }

    /// An order was done.
    pub(super) fn answered(&mut self, answer: &StoreAnswer) {
        if let StoreAnswer::Read { to, .. } = answer
            && let Some(wanted) = self.0.get_mut(to)
        {
            wanted.reading = wanted.reading.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use potluck_protocol::wire::{ByteRange, ContentHash};

    #[test]
    fn pieces_are_read_as_they_are_taken() {
        let peer = |byte| PeerId::from_public_key([byte; 32]);
        let read = |byte, id| StoreOrder::Read {
            to: peer(byte),
            id,
            content: ContentHash([7; 32]),
            range: ByteRange::new(0, 10).expect("some"),
        };
        let answer = |byte| StoreAnswer::Read {
            to: peer(byte),
            id: 0,
            result: Ok(vec![]),
        };
        let mut giving = Giving::default();
        let end = StoreOrder::End {
            manifest: ContentHash([7; 32]),
        };
        assert_eq!(giving.order(end.clone()), Some(end));
        for id in 0..5 {
            assert_eq!(giving.order(read(1, id)), None);
            assert_eq!(giving.order(read(2, id)), None);
        }
        // The second takes nothing.
        let queued = |of: PeerId| Some(if of == peer(2) { ENOUGH } else { 0 });
        assert_eq!(giving.due(queued), [read(1, 0), read(1, 1)]);
        assert_eq!(giving.due(queued), []);
        giving.answered(&answer(1));
        assert_eq!(giving.due(queued), [read(1, 2)]);
        // The first is gone.
        let queued = |of: PeerId| (of == peer(2)).then_some(ENOUGH - 1);
        assert_eq!(giving.due(queued), [read(2, 0), read(2, 1)]);
        giving.answered(&answer(1));
        assert_eq!(giving.due(|_| None), []);
        assert!(giving.0.is_empty());
    }
}
