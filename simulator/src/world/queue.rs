//! The heap of events.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use crate::network::ConnectionId;

/// Something that happens. Hosts, networks and the like are named by their index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    /// A host's machine is due; stale unless the host still waits for this time.
    Wake(u32),
    /// The next burst of one side of a connection arrives.
    Arrive(ConnectionId, u8),
    /// A network's air is free.
    Air(u32),
    /// The air of a direct pair is free.
    PairAir(ConnectionId),
    /// One side of a connection may send more.
    Window(ConnectionId, u8),
    /// A host's processor is done with what it began as this.
    Done(u32, u32),
    /// A host's keeper is done with what it began as this.
    Stored(u32, u32),
    /// A host may report results that it held back while too much waited to be sent.
    Release(u32),
    /// Two hosts try to reach each other.
    Dial(u32, u32),
    /// They have a connection.
    Up(u32, u32),
    /// A side of a connection hears that it has ended.
    Closed(ConnectionId, u8),
    /// What was sent on a connection while nothing passed is sent again.
    Resume(ConnectionId),
    /// A request's next question.
    Ask(u32),
    /// A fault strikes.
    Strike(u32),
    /// The next random fault of a kind on a host.
    Draw(u32),
    /// A host joins or leaves.
    Move(u32),
    /// A host looks at its battery and heat.
    Sense(u32),
    /// A host in the background is suspended, if it is the same incarnation.
    Suspend(u32, u32),
    /// All states are recorded.
    Sample,
}

/// One heap of all that will happen, in order of time, then of age.
#[derive(Debug, Default)]
pub(super) struct Queue {
    heap: BinaryHeap<Entry>,
    count: u64,
}

#[derive(Debug)]
struct Entry {
    /// Time, then age: no two have the same.
    key: u128,
    event: Event,
}

impl Ord for Entry {
    /// The earliest is the greatest, as the heap gives that first.
    fn cmp(&self, other: &Self) -> Ordering {
        other.key.cmp(&self.key)
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for Entry {}

impl Queue {
    pub(super) fn push(&mut self, at: u64, event: Event) {
        self.count += 1;
        let key = u128::from(at) << 64 | u128::from(self.count);
        self.heap.push(Entry { key, event });
    }

    /// What happens next, up to `until`.
    pub(super) fn pop(&mut self, until: u64) -> Option<(u64, Event)> {
        let time = |entry: &Entry| (entry.key >> 64) as u64;
        if time(self.heap.peek()?) > until {
            return None;
        }
        let entry = self.heap.pop()?;
        Some((time(&entry), entry.event))
    }
}
