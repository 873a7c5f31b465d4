//! Connections between two nodes.

use std::collections::VecDeque;

use super::way::Way;

/// Names a connection; never used again when it has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ConnectionId {
    slot: u32,
    generation: u32,
}

/// The order in which sides of connections send.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    /// Until when the air is taken.
    pub(crate) busy_until: u64,
    /// Senders that wait, in turn: a connection and its side.
    pub(crate) waiting: VecDeque<(ConnectionId, u8)>,
    /// Whether it is to be given to the next when it is free.
    pub(crate) wakes: bool,
}

/// A connection between two nodes. A side is 0 or 1.
#[derive(Debug)]
pub(crate) struct Connection {
    /// The hosts.
    pub(crate) ends: [u32; 2],
    /// Whether each side takes it for open.
    pub(crate) open: [bool; 2],
    pub(crate) network: u32,
    /// What each side sends.
    pub(crate) ways: [Way; 2],
    /// Since when nothing passes.
    pub(crate) cut_at: Option<u64>,
    pub(crate) since: u64,
    /// The turns on the air of a direct pair.
    pub(crate) turns: Turns,
}

impl Connection {
    pub(crate) fn new(ends: [u32; 2], network: u32, now: u64) -> Self {
        Self {
            ends,
            open: [true; 2],
            network,
            ways: [Way::default(), Way::default()],
            cut_at: None,
            since: now,
            turns: Turns::default(),
        }
    }

    /// The side of a host.
    pub(crate) fn side_of(&self, host: u32) -> usize {
        usize::from(self.ends[1] == host)
    }
}

/// All connections.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    slots: Vec<(u32, Option<Box<Connection>>)>,
    free: Vec<u32>,
}

impl Connections {
    pub(crate) fn insert(&mut self, connection: Connection) -> ConnectionId {
        let connection = Some(Box::new(connection));
        if let Some(slot) = self.free.pop() {
            let (generation, place) = &mut self.slots[slot as usize];
            *place = connection;
            let generation = *generation;
            return ConnectionId { slot, generation };
        }
        self.slots.push((0, connection));
        ConnectionId {
            slot: self.slots.len() as u32 - 1,
            generation: 0,
        }
    }

    pub(crate) fn get(&self, id: ConnectionId) -> Option<&Connection> {
        let (generation, place) = self.slots.get(id.slot as usize)?;
        place.as_deref().filter(|_| *generation == id.generation)
    }

    pub(crate) fn get_mut(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        let (generation, place) = self.slots.get_mut(id.slot as usize)?;
        place
            .as_deref_mut()
            .filter(|_| *generation == id.generation)
    }

    pub(crate) fn remove(&mut self, id: ConnectionId) {
        if let Some((generation, place)) = self.slots.get_mut(id.slot as usize)
            && *generation == id.generation
            && place.take().is_some()
        {
            *generation = generation.wrapping_add(1);
            self.free.push(id.slot);
        }
    }
}
