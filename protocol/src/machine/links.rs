//! Pings on one connection: liveness, round trip and bandwidth.

use std::collections::VecDeque;
use std::time::Duration;

use super::microseconds;
use crate::profile::{Measured, Rate};
use crate::wire::limits::MAX_OPAQUE_BYTES;
use crate::wire::{Ping, Pong};
use crate::{Link, PeerId};

/// A connection starts with this many small pings, then this many padded ones, [`OPENING_STEP`]
/// apart, so that the link is measured within a second. One of the two nodes starts its padded
/// pings half a step later; otherwise they would measure each other's pings.
const OPENING: (u32, u32) = (3, 3);
const OPENING_STEP: Duration = Duration::from_millis(100);
/// Interval of small pings after that.
const SMALL_EVERY: Duration = Duration::from_secs(5);
/// Intervals of padded pings, which take long on slow links and never overlap. The first comes
/// soon, because connections that start together measure each other's pings.
const PADDED_SOON: Duration = Duration::from_secs(1);
const PADDED_EVERY: Duration = Duration::from_secs(120);
/// Padded pings are delayed by a different number of these steps on each link.
const STAGGERED: (u32, Duration) = (64, Duration::from_millis(125));
/// Padded pings after the first come in pairs. An idle connection sends more than this in several
/// rounds (TCP's initial window is ten packets, RFC 6928, and returns to that when idle, RFC 2861).
/// The second ping of a pair, sent as soon as the first is answered, finds the window open and
/// measures only the link.
const IN_ONE_ROUND: usize = 14 << 10;
/// Size of the first padded ping, which determines the size of the others; no ping is smaller.
const TRIAL_BYTES: usize = 8 << 10;
/// On links too slow for full-size pings, the target duration of a ping. All devices of a circle
/// measure all links, possibly over one shared radio channel.
const PADDED_TAKES: Duration = Duration::from_millis(50);
/// A ping with this round trip shows a slow or busy link, whatever its difference to small pings,
/// which wait for other traffic too.
const PADDED_SLOW: Duration = Duration::from_millis(500);
/// A peer is gone if nothing is heard from it for this long while a ping is unanswered.
pub(super) const SILENT_AFTER: Duration = Duration::from_secs(15);

/// The round trip is the minimum over this many pings: any excess is queueing.
const ROUND_TRIPS: usize = 8;
/// The bandwidth is the maximum over this many padded pings, because other traffic only reduces it.
const BANDWIDTHS: usize = 4;
/// Maximum number of unanswered pings to track; the oldest is dropped.
const OUTSTANDING: usize = 16;

/// Bounds of the bandwidth in bytes per second. Values beyond are artefacts of the clock.
const BANDWIDTH_BOUNDS: (u64, u64) = (10_000, 10_000_000_000);
/// Overhead of sending and receiving a frame on two nodes, excluding the link, as measured on the
/// loopback device over a libp2p stream.
const OVERHEAD: Duration = Duration::from_micros(50);

/// Differences of round trips below this are noise of the nodes, not of the link.
const ROUND_TRIP_GRAIN: Duration = Duration::from_micros(100);

/// The pings of one connection.
#[derive(Debug)]
pub(super) struct Pings {
    /// Number of small and padded pings that were due.
    small: u32,
    padded: u32,
    /// Delay of padded pings relative to their intervals.
    stagger: Duration,
    next_small_at: Duration,
    next_padded_at: Duration,
    last_id: u64,
    /// Unanswered pings in sending order.
    outstanding: VecDeque<Sent>,
    /// Start of the silence while a ping is unanswered.
    silent_since: Option<Duration>,
    round_trips: VecDeque<Duration>,
    bandwidths: VecDeque<u64>,
    /// Whether the last padded ping was answered soon, so that full-size ones may be sent.
    tried: bool,
    /// When each value was last measured, in microseconds.
    round_trip_at_us: u64,
    bandwidth_at_us: u64,
}

#[derive(Debug)]
struct Sent {
    id: u64,
    at_us: u64,
    padding_bytes: usize,
}

/// The next action.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Due {
    Nothing,
    Send(Ping),
    /// Give up the silent peer.
    Silent,
}

impl Pings {
    /// Starts pinging now. `way` is a number that differs between most links.
    pub(super) fn new(now: Duration, way: u32) -> Self {
        let (steps, step) = STAGGERED;
        Self {
            small: 0,
            padded: 0,
            stagger: (way % steps) * step,
            next_small_at: now,
            next_padded_at: now + OPENING.0 * OPENING_STEP + (way % 2) * OPENING_STEP / 2,
            last_id: 0,
            outstanding: VecDeque::new(),
            silent_since: None,
            round_trips: VecDeque::new(),
            bandwidths: VecDeque::new(),
            tried: false,
            round_trip_at_us: 0,
            bandwidth_at_us: 0,
        }
    }

    pub(super) fn poll_timeout(&self) -> Duration {
        let next = self.next_small_at.min(self.next_padded_at);
        let gone = self.silent_since.map(|since| since + SILENT_AFTER);
        gone.map_or(next, |gone| gone.min(next))
    }

    /// Returns at most one due action. Skips padded pings while `may_pad` is false, because others
    /// need the link.
    pub(super) fn handle_timeout(&mut self, now: Duration, may_pad: bool) -> Due {
        let Some(late) = now.checked_sub(self.poll_timeout()) else {
            return Due::Nothing;
        };
        if let Some(since) = &mut self.silent_since {
            // This node did not run, so it could not hear anything.
            *since = (*since + late).min(now);
            if now >= *since + SILENT_AFTER {
                return Due::Silent;
            }
        }
        let Some(padding_bytes) = self.next_padding(now, may_pad) else {
            return Due::Nothing;
        };
        self.last_id += 1;
        let sent = Sent {
            id: self.last_id,
            at_us: microseconds(now),
            padding_bytes,
        };
        let ping = Ping {
            id: sent.id,
            sent_at_us: sent.at_us,
            padding_bytes,
        };
        self.outstanding.push_back(sent);
        if self.outstanding.len() > OUTSTANDING {
            self.outstanding.pop_front();
        }
        self.silent_since.get_or_insert(now);
        Due::Send(ping)
    }

    /// Returns the padding of the ping that is due, and schedules the next ones.
    fn next_padding(&mut self, now: Duration, may_pad: bool) -> Option<usize> {
        let (small, padded) = OPENING;
        if self.next_small_at <= now {
            self.small = self.small.saturating_add(1);
            let opening = self.small < small;
            self.next_small_at = now + if opening { OPENING_STEP } else { SMALL_EVERY };
            return Some(0);
        }
        if self.next_padded_at > now {
            return None;
        }
        if self.outstanding.iter().any(|sent| sent.padding_bytes > 0) {
            self.next_padded_at = now + OPENING_STEP;
            return None;
        }
        let padding = self.padding();
        self.padded = self.padded.saturating_add(1);
        if self.opens_window() && padding <= IN_ONE_ROUND {
            self.padded = self.padded.saturating_add(1);
        }
        self.next_padded_at = now
            + if self.padded < padded || self.opens_window() {
                OPENING_STEP
            } else if self.padded == padded {
                PADDED_SOON + self.stagger
            } else {
                PADDED_EVERY + self.stagger
            };
        may_pad.then_some(padding)
    }

    /// Whether the last padded ping was the first of a pair.
    fn opens_window(&self) -> bool {
        self.padded > 0 && self.padded.is_multiple_of(2)
    }

    /// Size of the next padded ping in bytes.
    fn padding(&self) -> usize {
        match self.bandwidths.iter().max() {
            _ if !self.tried => TRIAL_BYTES,
            Some(&best) => padding_for(best),
            None => MAX_OPAQUE_BYTES,
        }
    }

    /// Notes that something arrived from the peer.
    pub(super) fn heard(&mut self, now: Duration) {
        if let Some(since) = &mut self.silent_since {
            *since = now;
        }
    }

    /// Handles an answer. Ignores it if it matches no ping.
    pub(super) fn answered(&mut self, now: Duration, pong: &Pong) {
        let answers = |sent: &Sent| sent.id == pong.id && sent.at_us == pong.ping_sent_at_us;
        let Some(place) = self.outstanding.iter().position(answers) else {
            return;
        };
        // Streams preserve order: earlier pings will not be answered any more.
        let sent = self.outstanding.drain(..=place).next_back();
        if self.outstanding.is_empty() {
            self.silent_since = None;
        }
        let now_us = microseconds(now);
        let (Some(sent), Some(round_trip)) = (sent, pong.round_trip(now_us)) else {
            return;
        };
        if sent.padding_bytes == 0 {
            push_within(&mut self.round_trips, round_trip, ROUND_TRIPS);
            self.round_trip_at_us = now_us;
        } else if let Some(&least) = self.round_trips.iter().min() {
            let extra = round_trip.saturating_sub(least);
            let mut rate = bandwidth(sent.padding_bytes, extra);
            let fast = padding_for(rate) == MAX_OPAQUE_BYTES;
            let soon = round_trip < PADDED_SLOW;
            let trial = !std::mem::replace(&mut self.tried, soon);
            if fast && !soon {
                rate = bandwidth(sent.padding_bytes, round_trip);
            }
            // On a fast link, a ping this small says little.
            if !(fast && soon && trial) {
                push_within(&mut self.bandwidths, rate, BANDWIDTHS);
                self.bandwidth_at_us = now_us;
            }
            if self.opens_window() {
                self.next_padded_at = now;
            }
        }
    }

    /// The link to the peer, once measured.
    pub(super) fn link(&self) -> Option<Link> {
        let round_trip = *self.round_trips.iter().min()?;
        let bandwidth = Rate::per_second(*self.bandwidths.iter().max()?)?;
        let at_us = self.round_trip_at_us;
        Some(Link {
            round_trip: Measured {
                value: round_trip,
                at_us,
            },
            bandwidth: Measured {
                value: bandwidth,
                at_us: self.bandwidth_at_us,
            },
            overhead: Measured {
                value: OVERHEAD,
                at_us,
            },
        })
    }
}

/// A number that differs between most pairs of nodes. It is odd in exactly one of the two
/// directions.
pub(super) fn way_number(from: PeerId, to: PeerId) -> u32 {
    let word = |peer: PeerId| {
        let [a, b, c, d, ..] = *peer.public_key();
        u32::from_le_bytes([a, b, c, d])
    };
    let number = word(from).wrapping_mul(31).wrapping_add(word(to));
    (number & !1) | u32::from(from > to)
}

fn push_within<T>(values: &mut VecDeque<T>, value: T, most: usize) {
    values.push_back(value);
    if values.len() > most {
        values.pop_front();
    }
}

/// Bytes per second, if this many bytes took this much longer than none.
fn bandwidth(bytes: usize, extra: Duration) -> u64 {
    let bytes = u128::try_from(bytes).unwrap_or(u128::MAX);
    let per_second = bytes.saturating_mul(1_000_000_000) / extra.as_nanos().max(1);
    let (least, most) = BANDWIDTH_BOUNDS;
    u64::try_from(per_second).unwrap_or(most).clamp(least, most)
}

/// Size of padded pings on a link with this bandwidth.
fn padding_for(bandwidth: u64) -> usize {
    let bytes = u128::from(bandwidth) * PADDED_TAKES.as_nanos() / 1_000_000_000;
    let bytes = usize::try_from(bytes).unwrap_or(MAX_OPAQUE_BYTES);
    bytes.clamp(TRIAL_BYTES, MAX_OPAQUE_BYTES)
}

/// Whether two links differ enough to change a plan.
pub(super) fn links_differ(before: Option<&Link>, after: Option<&Link>) -> bool {
    match (before, after) {
        (None, None) => false,
        (Some(before), Some(after)) => {
            let [was, is] = [before, after].map(|link| link.round_trip.value);
            let [slow, fast] = [before, after].map(|link| link.bandwidth.value.units_per_second());
            let apart = was.abs_diff(is);
            (apart > ROUND_TRIP_GRAIN && apart > was / 10) || super::differ(slow, fast)
        }
        _ => true,
    }
}

#[cfg(test)]
mod tests;
