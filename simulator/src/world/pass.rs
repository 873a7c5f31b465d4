//! How bytes pass from host to host.

use potluck_protocol::PeerId;
use potluck_protocol::machine::Input;

use super::{Event, World};
use crate::checks::Seen;
use crate::host::{Host, Life, duration};
use crate::network::{ConnectionId, Connections, Piece, Stream, Turns};

/// Bytes that may wait for one peer before what was computed is held back, as in a real node.
const MOST_QUEUED: u64 = 8 << 20;

/// An air that some share.
#[derive(Debug, Clone, Copy)]
pub(super) enum OnAir {
    /// A network's.
    Shared(u32),
    /// That of a direct pair, by its connection.
    Pair(ConnectionId),
}

impl OnAir {
    fn is_free(self) -> Event {
        match self {
            Self::Shared(network) => Event::Air(network),
            Self::Pair(id) => Event::PairAir(id),
        }
    }
}

impl World {
    /// Sends what one side of a connection has, as far as it may now.
    pub(super) fn pump(&mut self, id: ConnectionId, side: usize) {
        let now = self.now;
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        let network = connection.network;
        let way = &mut connection.ways[side];
        if way.waits_for_air || connection.cut_at.is_some() || !way.has_bytes() {
            return;
        }
        if way.room(now) == 0 {
            if let Some(at) = way.next_acknowledged().filter(|_| !way.wakes) {
                way.wakes = true;
                self.at(at, Event::Window(id, side as u8));
            }
            return;
        }
        let on = match self.airs[network as usize].is_direct() {
            true => OnAir::Pair(id),
            false => OnAir::Shared(network),
        };
        let Some(turns) = self.turns(on) else {
            return;
        };
        if turns.busy_until <= now && turns.waiting.is_empty() {
            return self.burst(id, side);
        }
        turns.waiting.push_back((id, side as u8));
        let free = turns.busy_until;
        let wakes = std::mem::replace(&mut turns.wakes, true);
        if let Some(connection) = self.connections.get_mut(id) {
            connection.ways[side].waits_for_air = true;
        }
        if !wakes {
            self.at(free, on.is_free());
        }
    }

    /// The next sender on an air; `None` if the pair is not connected any more.
    fn turns(&mut self, on: OnAir) -> Option<&mut Turns> {
        match on {
            OnAir::Shared(network) => Some(&mut self.airs[network as usize].turns),
            OnAir::Pair(id) => self.connections.get_mut(id).map(|pair| &mut pair.turns),
        }
    }

    pub(super) fn window_opens(&mut self, id: ConnectionId, side: usize) {
        if let Some(connection) = self.connections.get_mut(id) {
            connection.ways[side].wakes = false;
            self.pump(id, side);
        }
    }

    /// The next in turn gets an air.
    pub(super) fn air_is_free(&mut self, on: OnAir) {
        if let Some(turns) = self.turns(on) {
            turns.wakes = false;
        }
        while let Some((id, side)) = self.turns(on).and_then(|turns| turns.waiting.pop_front()) {
            let side = usize::from(side);
            let Some(connection) = self.connections.get_mut(id) else {
                continue;
            };
            let cut = connection.cut_at.is_some();
            let way = &mut connection.ways[side];
            way.waits_for_air = false;
            if cut || !way.has_bytes() {
                continue;
            }
            self.burst(id, side);
            let now = self.now;
            if self.turns(on).is_some_and(|turns| turns.busy_until > now) {
                break;
            }
        }
        let Some(turns) = self.turns(on) else {
            return;
        };
        let free = turns.busy_until;
        if !turns.waiting.is_empty() && !std::mem::replace(&mut turns.wakes, true) {
            self.at(free, on.is_free());
        }
    }

    /// One side of a connection has the air for a burst.
    fn burst(&mut self, id: ConnectionId, side: usize) {
        let now = self.now;
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        let ends = (connection.ends[side], connection.ends[1 - side]);
        let network = connection.network as usize;
        let air = &mut self.airs[network];
        let way = &mut connection.ways[side];
        let most = way.room(now).min(air.burst_bytes());
        let pieces = way.take(now, most);
        if pieces.is_empty() {
            return;
        }
        let messages: u64 = self.hosts[ends.1 as usize].body.hardware.message_overhead.0
            + self.hosts[ends.0 as usize].body.hardware.message_overhead.0;
        let sent = air.send(now, ends, way.last_arrival, &pieces);
        let turns = match air.is_direct() {
            true => &mut connection.turns,
            false => &mut air.turns,
        };
        turns.busy_until = sent.until;
        let way = &mut connection.ways[side];
        let arrives = sent.arrives + messages;
        way.fly(arrives, sent.acknowledged, pieces);
        let closes = way.closing && way.queued_bytes() == 0;
        self.at(arrives, Event::Arrive(id, side as u8));
        if closes {
            self.at(arrives, Event::Closed(id, 1 - side as u8));
        }
        for (host, receives) in [(ends.0, false), (ends.1, true)] {
            let of = self.host(host);
            if receives {
                of.received_bytes += sent.bytes;
                of.body.received(sent.bytes);
            } else {
                of.sent_bytes += sent.bytes;
                of.body.sent(sent.bytes);
            }
        }
        if self.host(ends.0).keeper.gives() {
            self.give_on(ends.0);
        }
        if !self.host(ends.0).bench.held_back.is_empty() {
            self.at(now, Event::Release(ends.0));
        }
        self.pump(id, side);
    }

    /// The next burst of a side arrives at the other.
    pub(super) fn arrive(&mut self, id: ConnectionId, side: usize) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        let way = &mut connection.ways[side];
        if connection.cut_at.is_some() {
            way.held += 1;
            return;
        }
        let Some(pieces) = way.flights.pop_front() else {
            return;
        };
        let (from, to) = (connection.ends[side], connection.ends[1 - side]);
        if !connection.open[1 - side] {
            // Its system answers that there is nobody, if there is power.
            let back = self.airs[connection.network as usize].spec.delay.0;
            if connection.open[side] && self.host(to).body.setting.powered {
                self.after(back, Event::Closed(id, side as u8));
            }
            return;
        }
        self.trace
            .event(self.now, 2, u64::from(from) << 32 | u64::from(to));
        for piece in &pieces {
            self.trace.bytes(piece);
        }
        self.see(Seen::Delivered { from, to });
        self.deliver(id, (from, to), pieces);
    }

    fn deliver(&mut self, id: ConnectionId, (from, to): (u32, u32), pieces: Vec<Piece>) {
        let now = duration(self.now);
        let peer = self.host(from).peer;
        let receiver = &mut self.hosts[to as usize];
        match receiver.life {
            Life::Dead => return,
            Life::Frozen => {}
            Life::Running => {
                let behind = receiver.unread.contains(&id);
                for piece in pieces {
                    let Some(machine) = &mut receiver.machine else {
                        return;
                    };
                    let data = piece.stream == Stream::Data;
                    if data && (behind || !machine.wants_data(peer)) {
                        leave(&mut self.connections, receiver, id, piece);
                        continue;
                    }
                    machine.handle_input(now, input_of(peer, piece));
                }
                return self.settle(to);
            }
        }
        for piece in pieces {
            leave(&mut self.connections, receiver, id, piece);
        }
    }

    /// A host that runs reads a piece that it had left unread. Returns whether there was one.
    pub(super) fn read_on(&mut self, host: u32) -> bool {
        let of = self.host(host);
        if of.unread.is_empty() || !of.runs() {
            return false;
        }
        for id in of.unread.clone() {
            let Some((from, piece)) = self.take_unread(host, id) else {
                continue;
            };
            let peer = self.host(from).peer;
            let now = duration(self.now);
            if let Some(machine) = &mut self.host(host).machine {
                machine.handle_input(now, input_of(peer, piece));
            }
            // There may be room for more now.
            if let Some(connection) = self.connections.get(id) {
                let side = connection.side_of(from);
                self.pump(id, side);
            }
            return true;
        }
        false
    }

    /// The first unread piece of a connection that the host wants, and whose it is.
    fn take_unread(&mut self, host: u32, id: ConnectionId) -> Option<(u32, Piece)> {
        let piece = self.connections.get_mut(id).and_then(|connection| {
            let side = 1 - connection.side_of(host);
            let from = connection.ends[side];
            let peer = self.hosts[from as usize].peer;
            let machine = self.hosts[host as usize].machine.as_ref()?;
            let wants = machine.wants_data(peer);
            let way = &mut connection.ways[side];
            let piece = way.read(|stream| stream != Stream::Data || wants);
            let left = !way.unread.is_empty();
            Some((from, piece, left))
        });
        let (from, piece, left) = piece.unwrap_or((0, None, false));
        if !left {
            self.host(host).unread.retain(|other| *other != id);
        }
        Some((from, piece?))
    }

    /// Whether so much waits to be sent that a host should hold back results.
    pub(super) fn is_congested(&self, host: u32) -> bool {
        let wires = &self.hosts[host as usize].wires;
        wires.iter().any(|wire| {
            let connection = self.connections.get(wire.connection);
            connection.is_some_and(|connection| {
                let way = &connection.ways[connection.side_of(host)];
                way.queued_of(Stream::Data) > MOST_QUEUED
            })
        })
    }
}

/// A host leaves a piece unread.
fn leave(connections: &mut Connections, host: &mut Host, id: ConnectionId, piece: Piece) {
    if let Some(connection) = connections.get_mut(id) {
        let sender = 1 - connection.side_of(host.number);
        connection.ways[sender].leave_unread(piece);
        if !host.unread.contains(&id) {
            host.unread.push(id);
        }
    }
}

fn input_of(from: PeerId, piece: Piece) -> Input {
    match piece.stream {
        Stream::Control => Input::ControlBytes(from, piece.bytes),
        Stream::Data => Input::DataBytes(from, piece.bytes),
        Stream::Transfer => Input::TransferBytes(from, piece.bytes),
    }
}
