//! The airtime that the devices of a network share.

use super::SEGMENT;
use super::connection::Turns;
use super::way::{Piece, Stream, bytes_of, bytes_on_air};
use crate::random::{Purpose, Random};
use crate::record::NetworkRecord;
use crate::scenario::{NetworkKind, NetworkSpec};

/// A network's air.
#[derive(Debug)]
pub(crate) struct Air {
    pub(crate) spec: NetworkSpec,
    pub(crate) name: String,
    /// The phone that is the access point of a hotspot.
    pub(crate) hotspot: Option<u32>,
    /// The senders' turns, except for direct pairs, each of which has an air of its own.
    pub(crate) turns: Turns,
    random: Random,
    pub(crate) airtime: u64,
    data_airtime: u64,
    bytes: u64,
    stalls: u64,
    /// Airtime since the last sample, and of each before.
    since_sample: u64,
    series: Vec<u64>,
}

/// The result of sending a burst.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Burst {
    /// Until when it takes the air.
    pub(crate) until: u64,
    /// When it arrives.
    pub(crate) arrives: u64,
    /// When its sender knows that.
    pub(crate) acknowledged: u64,
    /// Bytes of the device that sends, and of the one that receives.
    pub(crate) bytes: u64,
}

impl Air {
    pub(crate) fn new(seed: u64, number: usize, name: String, spec: NetworkSpec) -> Self {
        Self {
            spec,
            name,
            hotspot: None,
            turns: Turns::default(),
            random: Random::new(seed, Purpose::Network, number as u64),
            airtime: 0,
            data_airtime: 0,
            bytes: 0,
            stalls: 0,
            since_sample: 0,
            series: Vec::new(),
        }
    }

    /// Whether pairs do not share it.
    pub(crate) fn is_direct(&self) -> bool {
        self.spec.kind == NetworkKind::Direct
    }

    /// The most bytes of a burst.
    pub(crate) fn burst_bytes(&self) -> u64 {
        u64::from(self.spec.burst_packets) * SEGMENT
    }

    /// How many times the air carries what these two send each other.
    fn times(&self, from: u32, to: u32) -> u64 {
        match self.spec.kind {
            NetworkKind::AccessPoint => 2,
            NetworkKind::Hotspot if self.hotspot.is_none_or(|h| h != from && h != to) => 2,
            NetworkKind::Hotspot | NetworkKind::Direct => 1,
        }
    }

    /// Sends pieces from now on, behind what arrives at `last`; the air is free.
    pub(crate) fn send(
        &mut self,
        now: u64,
        (from, to): (u32, u32),
        last: u64,
        pieces: &[Piece],
    ) -> Burst {
        let times = self.times(from, to);
        let (bytes, acknowledgements) = bytes_on_air(pieces);
        let sending = self.spec.rate.micros_for(bytes * times);
        let airtime = sending + self.spec.rate.micros_for(acknowledgements * times);
        self.airtime += airtime;
        self.since_sample += airtime;
        self.bytes += bytes;
        if pieces.iter().any(|piece| piece.stream == Stream::Data) {
            self.data_airtime += airtime;
        }
        let mut delay = self.spec.delay.0;
        if self.spec.jitter.0 > 0 {
            delay += self.random.below(self.spec.jitter.0 + 1);
        }
        delay += self.stall(bytes_of(pieces).div_ceil(SEGMENT));
        let arrives = last.max(now + sending + delay);
        Burst {
            until: now + airtime,
            arrives,
            acknowledged: arrives + self.spec.delay.0,
            bytes,
        }
    }

    /// How long so many packets are stalled.
    fn stall(&mut self, packets: u64) -> u64 {
        if self.spec.stall_rate <= 0.0 {
            return 0;
        }
        let mut stall = 0;
        for _ in 0..packets.max(1) {
            if self.random.happens(self.spec.stall_rate) {
                self.stalls += 1;
                let share = 0.5 + self.random.unit();
                stall += (self.spec.stall.0 as f64 * share) as u64;
            }
        }
        stall
    }

    /// There and back, for a small message.
    pub(crate) fn round_trip(&self) -> u64 {
        2 * (self.spec.delay.0 + self.spec.rate.micros_for(2 * 200)) + self.spec.jitter.0
    }

    pub(crate) fn sample(&mut self) {
        self.series.push(std::mem::take(&mut self.since_sample));
    }

    pub(crate) fn record(&self) -> NetworkRecord {
        NetworkRecord {
            name: self.name.clone(),
            airtime_us: self.airtime,
            data_airtime_us: self.data_airtime,
            bytes: self.bytes,
            stalls: self.stalls,
            series: self.series.clone(),
        }
    }
}
