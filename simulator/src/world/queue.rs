//! What happens when.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::network::ConnectionId;

/// Something that happens. Hosts, networks and the like are named by their index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Event {
    /// A host's machine is due; stale unless the host still waits for this time.
    Wake(u32),
    /// The next burst of one side of a connection arrives.
    Arrive(ConnectionId, u8),
    /// A network's air is free.
    Air(u32),
    /// One side of a connection may send more.
    Window(ConnectionId, u8),
    /// A host's processor is done with what it began as this.
    Done(u32, u32),
    /// A host may tell what it computed while too much waited to be sent.
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
    /// A host comes or goes.
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
    heap: BinaryHeap<Reverse<(u64, u64, Event)>>,
    count: u64,
}

impl Queue {
    pub(super) fn push(&mut self, at: u64, event: Event) {
        self.count += 1;
        self.heap.push(Reverse((at, self.count, event)));
    }

    /// What happens next, up to `until`.
    pub(super) fn pop(&mut self, until: u64) -> Option<(u64, Event)> {
        if self.heap.peek()?.0.0 > until {
            return None;
        }
        let Reverse((at, _, event)) = self.heap.pop()?;
        Some((at, event))
    }
}
