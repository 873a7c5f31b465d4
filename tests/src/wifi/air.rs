//! The air of one access point and the queues before it, in virtual time: who sends when, and when
//! each frame arrives. It knows no clock and no device; the access point's thread drives it.
//!
//! There is one air. Whoever has frames waiting gets it in turn, a frame at a time: each station
//! for its frames up, and the access point for its frames down, once for each station (as an access
//! point with fair queues does) and once for multicast and broadcast, which go out once for all.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, VecDeque};
use std::time::Duration;

use super::{Profile, Statistics};

/// Length of an Ethernet address.
const ADDRESS: usize = 6;

/// Time since the access point started.
pub(super) type Time = Duration;

/// The Ethernet address of a station, locally administered.
pub(super) fn hardware_address(station: usize) -> [u8; ADDRESS] {
    let [high, low] = u16::try_from(station + 1)
        .expect("there are fewer stations than a subnet has addresses")
        .to_be_bytes();
    [0x02, 0, 0, 0, high, low]
}

/// Whom a frame is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum To {
    One(usize),
    All,
}

struct Frame {
    from: usize,
    to: To,
    bytes: Vec<u8>,
}

/// A queue that is served in turn with the others.
#[derive(Default)]
struct Queue {
    frames: VecDeque<Frame>,
    bytes: usize,
}

/// The frame on the air, and when it has been sent.
struct Sending {
    frame: Frame,
    up: bool,
    ends: Time,
}

/// A frame that has left the air for the last time. Ordered by time, then by age.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Flight {
    at: Time,
    number: u64,
    from: usize,
    to: usize,
    bytes: Vec<u8>,
}

pub(super) struct Air {
    profile: Profile,
    random: fastrand::Rng,
    stations: usize,
    /// Of each station up, then down to each, then down to all.
    queues: Vec<Queue>,
    /// The queue after the one that was served last.
    turn: usize,
    sending: Option<Sending>,
    flights: BinaryHeap<Reverse<Flight>>,
    /// Numbers the flights.
    number: u64,
    /// When the last frame between two stations arrives, at `from * stations + to`.
    last: Vec<Time>,
    /// Pairs that do not hear each other, the smaller number first.
    cuts: BTreeSet<(usize, usize)>,
    /// Stations out of range.
    away: BTreeSet<usize>,
    pub(super) statistics: Statistics,
}

impl Air {
    pub(super) fn new(seed: u64, stations: usize, profile: Profile) -> Self {
        Self {
            profile,
            random: fastrand::Rng::with_seed(seed),
            stations,
            queues: (0..=2 * stations).map(|_| Queue::default()).collect(),
            turn: 0,
            sending: None,
            flights: BinaryHeap::new(),
            number: 0,
            last: vec![Time::ZERO; stations * stations],
            cuts: BTreeSet::new(),
            away: BTreeSet::new(),
            statistics: Statistics::default(),
        }
    }

    /// What is on the air or has left it keeps its time.
    pub(super) fn set(&mut self, profile: Profile) {
        self.profile = profile;
    }

    pub(super) fn cut(&mut self, a: usize, b: usize) {
        self.cuts.insert((a.min(b), a.max(b)));
        self.drop_severed_flights();
    }

    pub(super) fn heal(&mut self, a: usize, b: usize) {
        self.cuts.remove(&(a.min(b), a.max(b)));
    }

    pub(super) fn leave(&mut self, station: usize) {
        self.away.insert(station);
        self.drop_severed_flights();
    }

    pub(super) fn come_back(&mut self, station: usize) {
        self.away.remove(&station);
    }

    fn severed(&self, a: usize, b: usize) -> bool {
        self.away.contains(&a)
            || self.away.contains(&b)
            || self.cuts.contains(&(a.min(b), a.max(b)))
    }

    fn drop_severed_flights(&mut self) {
        let mut flights = std::mem::take(&mut self.flights);
        let before = flights.len();
        flights.retain(|Reverse(flight)| !self.severed(flight.from, flight.to));
        self.statistics.cut += (before - flights.len()) as u64;
        self.flights = flights;
    }

    /// A station has sent this Ethernet frame. Call [`Self::advance`] to the same time before.
    pub(super) fn send(&mut self, now: Time, from: usize, bytes: &[u8]) {
        let Some(to) = self.recipient(bytes) else {
            return;
        };
        if self.away.contains(&from) {
            self.statistics.cut += 1;
            return;
        }
        let bytes = bytes.to_vec();
        self.enqueue(from, Frame { from, to, bytes });
        self.start(now);
    }

    /// Whom the frame's destination address names; nobody here, if `None`.
    fn recipient(&self, bytes: &[u8]) -> Option<To> {
        let address = bytes.get(..ADDRESS)?;
        if address[0] & 1 == 1 {
            return Some(To::All);
        }
        let station = |&station: &usize| hardware_address(station) == address;
        (0..self.stations).find(station).map(To::One)
    }

    fn enqueue(&mut self, queue: usize, frame: Frame) {
        let queue = &mut self.queues[queue];
        let bytes = queue.bytes + frame.bytes.len();
        if bytes > self.profile.queue_bytes {
            self.statistics.queue_full += 1;
            return;
        }
        queue.bytes = bytes;
        queue.frames.push_back(frame);
    }

    /// Gives a free air to the next in turn.
    fn start(&mut self, now: Time) {
        if self.sending.is_some() {
            return;
        }
        let count = self.queues.len();
        let turns = (self.turn..count).chain(0..self.turn);
        for at in turns {
            let queue = &mut self.queues[at];
            let Some(frame) = queue.frames.pop_front() else {
                continue;
            };
            queue.bytes -= frame.bytes.len();
            self.turn = (at + 1) % count;
            self.sending = Some(Sending {
                up: at < self.stations,
                ends: now + self.profile.airtime(frame.bytes.len()),
                frame,
            });
            return;
        }
    }

    /// Sends what can have been sent until now.
    pub(super) fn advance(&mut self, now: Time) {
        while let Some(sending) = self.sending.take_if(|sending| sending.ends <= now) {
            let Sending { frame, up, ends } = sending;
            if up {
                self.arrive_at_access_point(frame);
            } else {
                self.take_off(frame, ends);
            }
            // From the end of the last frame, not from when this was noticed.
            self.start(ends);
        }
    }

    fn arrive_at_access_point(&mut self, frame: Frame) {
        match frame.to {
            To::One(to) if self.severed(frame.from, to) => self.statistics.cut += 1,
            To::One(to) => self.enqueue(self.stations + to, frame),
            To::All => self.enqueue(2 * self.stations, frame),
        }
    }

    /// The frame has left the air.
    fn take_off(&mut self, frame: Frame, now: Time) {
        let to = match frame.to {
            To::One(to) => to..to + 1,
            To::All => 0..self.stations,
        };
        for to in to {
            // An access point sends a station's own broadcast back to it; its driver drops it.
            if frame.to == To::All && to == frame.from {
                continue;
            }
            if self.severed(frame.from, to) {
                self.statistics.cut += 1;
                continue;
            }
            let mut delay = self.profile.delay + self.profile.jitter.mul_f64(self.random.f64());
            if self.random.f64() < self.profile.loss {
                if frame.to == To::All {
                    self.statistics.missed += 1;
                    continue;
                }
                self.statistics.stalled += 1;
                delay += self.profile.stall.mul_f64(0.5 + self.random.f64());
            }
            let last = &mut self.last[frame.from * self.stations + to];
            *last = (*last).max(now + delay);
            self.flights.push(Reverse(Flight {
                at: *last,
                number: self.number,
                from: frame.from,
                to,
                bytes: frame.bytes.clone(),
            }));
            self.number += 1;
        }
    }

    /// The next frame that has arrived by now, and the station that it has arrived at.
    pub(super) fn arrival(&mut self, now: Time) -> Option<(usize, Vec<u8>)> {
        if self.flights.peek()?.0.at > now {
            return None;
        }
        let Reverse(Flight { at, to, bytes, .. }) = self.flights.pop()?;
        self.statistics.arrived(now - at);
        Some((to, bytes))
    }

    /// When there is something to do next.
    pub(super) fn timeout(&self) -> Option<Time> {
        let sent = self.sending.as_ref().map(|sending| sending.ends);
        let arrives = self.flights.peek().map(|Reverse(flight)| flight.at);
        sent.into_iter().chain(arrives).min()
    }
}

#[cfg(test)]
mod tests;
