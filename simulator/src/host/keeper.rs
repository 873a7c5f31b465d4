//! The thread that carries out a store's orders one by one, beside the processor. It reads what peers
//! request no faster than they take it, as in a real node.

use std::collections::{BTreeMap, VecDeque};

use potluck_protocol::PeerId;
use potluck_protocol::transfer::StoreOrder;
use potluck_protocol::wire::limits::MAX_PIECE_BYTES;

/// Bytes that wait for a peer while no more are read for it.
const ENOUGH: u64 = 2 * MAX_PIECE_BYTES;
/// Pieces that are read for a peer at once.
const AT_ONCE: usize = 2;

/// Orders about weights.
#[derive(Debug, Default)]
pub(crate) struct Keeper {
    pub(crate) waiting: VecDeque<StoreOrder>,
    pub(crate) at: Option<StoreOrder>,
    /// Counts what it began: whoever says that something is done names it.
    pub(crate) number: u32,
    giving: BTreeMap<PeerId, Wanted>,
}

#[derive(Debug, Default)]
struct Wanted {
    orders: VecDeque<StoreOrder>,
    reading: usize,
}

impl Keeper {
    /// The program ends: nothing waits any more, and what it was at is nobody's.
    pub(crate) fn end(&mut self) {
        *self = Self {
            number: self.number + 1,
            ..Self::default()
        };
    }

    /// Whether peers wait for what they asked for.
    pub(crate) fn gives(&self) -> bool {
        !self.giving.is_empty()
    }

    /// Adds an order; an order to read waits until its peer has taken what was read before.
    pub(crate) fn order(&mut self, order: StoreOrder) {
        match order {
            StoreOrder::Read { to, .. } => {
                self.giving.entry(to).or_default().orders.push_back(order);
            }
            order => self.waiting.push_back(order),
        }
    }

    /// Takes up what can be read now, where so many bytes wait for each peer; none for one that is
    /// gone.
    pub(crate) fn give_on(&mut self, queued: impl Fn(PeerId) -> Option<u64>) {
        let waiting = &mut self.waiting;
        self.giving.retain(|peer, wanted| {
            let Some(queued) = queued(*peer) else {
                return false;
            };
            while queued < ENOUGH && wanted.reading < AT_ONCE {
                let Some(order) = wanted.orders.pop_front() else {
                    break;
                };
                wanted.reading += 1;
                waiting.push_back(order);
            }
            wanted.reading > 0 || !wanted.orders.is_empty()
        });
    }

    /// Something was read for a peer.
    pub(crate) fn has_read(&mut self, to: PeerId) {
        if let Some(wanted) = self.giving.get_mut(&to) {
            wanted.reading = wanted.reading.saturating_sub(1);
        }
    }
}
