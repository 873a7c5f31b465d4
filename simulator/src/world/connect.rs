//! Opens and ends connections.

use potluck_protocol::PeerId;
use potluck_protocol::machine::Input;

use super::{Event, World};
use crate::host::{Life, Wire};
use crate::network::{Connection, ConnectionId, Way};

/// The pause after one attempt to connect, and the longest after many, as in a real node.
const PAUSES: (u64, u64) = (500_000, 15_000_000);
/// A connection that lasted so long was a good one.
const LASTED: u64 = 10_000_000;
/// Round trips until a connection can be used: TCP's, Noise's, choosing protocols, opening streams.
const ROUND_TRIPS: u64 = 5;
/// TCP sends again first after this, then after twice as long each time.
const SENT_AGAIN: u64 = 200_000;
/// Nodes that come into reach discover each other within this (mDNS), but not at once.
const SEEN_WITHIN: (u64, u64) = (200_000, 800_000);

impl World {
    /// Whether bytes pass between two hosts.
    pub(super) fn reach(&self, a: u32, b: u32) -> bool {
        let (one, other) = (&self.hosts[a as usize], &self.hosts[b as usize]);
        let air = &self.airs[one.network as usize];
        let here = |host: &crate::host::Host| !host.away && host.body.setting.powered;
        let hotspot = air.hotspot.is_none_or(|h| here(&self.hosts[h as usize]));
        one.network == other.network
            && !air.spec.isolated
            && here(one)
            && here(other)
            && hotspot
            && !self.cuts.contains(&(a.min(b), a.max(b)))
    }

    /// Whether both take the same connection for theirs.
    fn are_connected(&self, a: u32, b: u32) -> bool {
        let wire = self.hosts[a as usize].wire_to(b);
        wire.is_some() && wire == self.hosts[b as usize].wire_to(a)
    }

    /// Two that may see each other try to connect soon.
    pub(super) fn dial_soon(&mut self, a: u32, b: u32) {
        let (least, most) = SEEN_WITHIN;
        let within = least + self.dialling.below(most - least);
        self.after(within, Event::Dial(a.min(b), a.max(b)));
    }

    /// Two hosts try to connect; whoever changes what is in the way has them try again.
    pub(super) fn dial(&mut self, a: u32, b: u32) {
        let run = |host: u32| self.hosts[host as usize].runs();
        if self.are_connected(a, b) || !run(a) || !run(b) || !self.reach(a, b) {
            return;
        }
        let air = &self.airs[self.hosts[a as usize].network as usize];
        let within = ROUND_TRIPS * air.round_trip();
        self.after(within, Event::Up(a, b));
    }

    pub(super) fn connect(&mut self, a: u32, b: u32) {
        let run = |host: u32| self.hosts[host as usize].runs();
        if self.are_connected(a, b) || !run(a) || !run(b) || !self.reach(a, b) {
            return;
        }
        self.trace
            .event(self.now, 3, u64::from(a) << 32 | u64::from(b));
        let network = self.host(a).network;
        let connection = Connection::new([a, b], network, self.now);
        let id = self.connections.insert(connection);
        for (host, other) in [(a, b), (b, a)] {
            // A new connection means that the peer has lost the old one.
            if let Some(old) = self.host(host).wire_to(other) {
                self.forget_wire(host, old);
            }
            let wire = Wire {
                host: other,
                connection: id,
            };
            self.host(host).wires.push(wire);
        }
        for (host, other) in [(a, b), (b, a)] {
            let peer = self.host(other).peer;
            self.tell(host, Input::Connected(peer));
        }
    }

    /// A host treats a connection as ended, without closing it.
    fn forget_wire(&mut self, host: u32, id: ConnectionId) {
        let of = self.host(host);
        of.wires.retain(|wire| wire.connection != id);
        of.unread.retain(|unread| *unread != id);
        if let Some(connection) = self.connections.get_mut(id) {
            let side = connection.side_of(host);
            connection.open[side] = false;
            if connection.open == [false; 2] {
                self.connections.remove(id);
            }
        }
    }

    /// A host's machine ends its connection to a peer, after what was to be sent.
    pub(super) fn disconnect(&mut self, host: u32, peer: PeerId) {
        let of = self.host(host);
        let other = of.member(peer);
        let Some((other, id)) = other.and_then(|other| Some((other, of.wire_to(other)?))) else {
            return;
        };
        self.dial_later(host, other, id);
        self.close(host, id);
    }

    /// A side of a connection is closed: the other hears of it behind all that was sent.
    fn close(&mut self, host: u32, id: ConnectionId) {
        let now = self.now;
        if let Some(connection) = self.connections.get_mut(id) {
            let side = connection.side_of(host);
            let way = &mut connection.ways[side];
            way.closing = true;
            let delay = self.airs[connection.network as usize].spec.delay.0;
            let hears = connection.open[1 - side] && connection.cut_at.is_none();
            if hears && way.queued_bytes() == 0 {
                let at = way.last_arrival.max(now + delay);
                self.at(at, Event::Closed(id, 1 - side as u8));
            }
        }
        self.forget_wire(host, id);
    }

    /// Two whose connection ended try again, later each time that it did not last.
    fn dial_later(&mut self, a: u32, b: u32, id: ConnectionId) {
        let pair = (a.min(b), a.max(b));
        let since = self.connections.get(id).map_or(0, |c| c.since);
        let (first, most) = PAUSES;
        let lasted = self.now.saturating_sub(since) >= LASTED;
        let pause = match self.pauses.get(&pair) {
            Some(pause) if !lasted => (pause * 2).min(most),
            _ => first,
        };
        self.pauses.insert(pair, pause);
        self.after(pause, Event::Dial(pair.0, pair.1));
    }

    /// A side hears that the other has closed the connection.
    pub(super) fn closed(&mut self, id: ConnectionId, side: usize) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        if !connection.open[side] || connection.cut_at.is_some() {
            return;
        }
        let (host, other) = (connection.ends[side], connection.ends[1 - side]);
        match self.host(host).life {
            Life::Dead => return,
            Life::Frozen => {
                // Its system keeps that for it, behind what it has not read.
                self.host(host).ended.push(id);
                return;
            }
            Life::Running => {}
        }
        self.trace
            .event(self.now, 4, u64::from(host) << 32 | u64::from(other));
        self.dial_later(host, other, id);
        self.forget_wire(host, id);
        let peer = self.host(other).peer;
        self.tell(host, Input::Disconnected(peer));
    }

    /// A host's program has ended: its system closes its connections.
    pub(super) fn close_all(&mut self, host: u32) {
        for Wire { connection: id, .. } in self.host(host).wires.clone() {
            if let Some(connection) = self.connections.get_mut(id) {
                let side = connection.side_of(host);
                connection.ways[side].clear();
            }
            self.close(host, id);
        }
        self.host(host).unread.clear();
        self.host(host).ended.clear();
    }

    /// A host disappears without closing its connections, so its peers do not know.
    pub(super) fn forget_all(&mut self, host: u32) {
        for wire in self.host(host).wires.clone() {
            self.forget_wire(host, wire.connection);
        }
        self.host(host).unread.clear();
        self.host(host).ended.clear();
    }

    /// Whether bytes pass between a host and its peers may have changed.
    pub(super) fn passage_changed(&mut self, host: u32) {
        let members = self.host(host).members.clone();
        let others = members.iter().map(|&(_, other)| other);
        for other in others.filter(|other| *other != host) {
            self.passage_between_changed(host, other);
        }
        // All of a hotspot's depend on it.
        let network = self.host(host).network;
        if self.airs[network as usize].hotspot == Some(host) {
            for &(_, a) in members.iter().filter(|(_, a)| *a != host) {
                for &(_, b) in members.iter().filter(|(_, b)| *b > a && *b != host) {
                    self.passage_between_changed(a, b);
                }
            }
        }
    }

    pub(super) fn passage_between_changed(&mut self, a: u32, b: u32) {
        let now = self.now;
        let passes = self.reach(a, b);
        let wires = [(a, b), (b, a)].map(|(at, of)| self.hosts[at as usize].wire_to(of));
        let one = wires[0];
        let other = wires[1].filter(|id| one != Some(*id));
        for id in [one, other].into_iter().flatten() {
            let Some(connection) = self.connections.get_mut(id) else {
                continue;
            };
            match (passes, connection.cut_at) {
                (false, None) => connection.cut_at = Some(now),
                (true, Some(cut_at)) => {
                    let at = sent_again(connection, cut_at, now);
                    self.at(at, Event::Resume(id));
                }
                (false, Some(_)) | (true, None) => {}
            }
        }
        if passes && !self.are_connected(a, b) {
            self.dial_soon(a, b);
        }
    }

    /// Bytes pass again on a connection.
    pub(super) fn resume(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get(id) else {
            return;
        };
        let [a, b] = connection.ends;
        if connection.cut_at.is_none() || !self.reach(a, b) {
            return;
        }
        let delay = self.airs[connection.network as usize].spec.delay.0;
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        connection.cut_at = None;
        let mut ends = Vec::new();
        for (side, way) in connection.ways.iter_mut().enumerate() {
            let held = std::mem::take(&mut way.held);
            let closes = way.closing && way.queued_bytes() == 0;
            ends.push((side, held, closes, way.last_arrival));
        }
        for (side, held, closes, last) in ends {
            let first = self.now + delay;
            (0..held).for_each(|_| self.at(first, Event::Arrive(id, side as u8)));
            if closes {
                self.at(last.max(first), Event::Closed(id, 1 - side as u8));
            }
            self.pump(id, side);
        }
    }
}

/// When TCP sends again what was lost since `cut_at`; at once if there is nothing.
fn sent_again(connection: &Connection, cut_at: u64, now: u64) -> u64 {
    let idle = |way: &Way| way.flights.is_empty() && way.queued_bytes() == 0;
    if connection.ways.iter().all(idle) {
        return now;
    }
    let (mut at, mut pause) = (cut_at + SENT_AGAIN, SENT_AGAIN);
    while at < now {
        pause *= 2;
        at += pause;
    }
    at
}
