//! One direction of a connection.

use std::collections::VecDeque;

use super::{PACKET_HEADERS, PIECE_HEADERS, SEGMENT};

/// TCP's initial window (RFC 6928).
const INITIAL_WINDOW: u64 = 10 * SEGMENT;
/// The largest window: what systems buffer for a receiver.
const MOST_WINDOW: u64 = 4 << 20;
/// The shortest retransmission timeout; the window shrinks for each that passes without sending
/// (RFC 2861).
const TIMEOUT: u64 = 200_000;
/// Bytes that a receiver that does not read takes, of all streams.
const MOST_UNREAD: u64 = 1 << 20;
/// Bytes of the data stream that arrive at a node that does not read them (Yamux' window).
const MOST_UNREAD_DATA: u64 = 256 << 10;

/// The streams between two nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    Control = 0,
    Data = 1,
    Transfer = 2,
}

const STREAMS: [Stream; 3] = [Stream::Control, Stream::Data, Stream::Transfer];

/// Bytes of a stream that go together.
#[derive(Debug)]
pub(crate) struct Piece {
    pub(crate) stream: Stream,
    pub(crate) bytes: Vec<u8>,
}

/// Bytes to be sent, and how much of them has been.
#[derive(Debug)]
struct Message {
    bytes: Vec<u8>,
    sent: usize,
}

/// One direction of a connection. Times are microseconds.
#[derive(Debug, Default)]
pub(crate) struct Way {
    /// Of each stream, what waits.
    queues: [VecDeque<Message>; 3],
    /// Of each stream, its bytes.
    queued: [u64; 3],
    /// Whether it waits for the air.
    pub(crate) waits_for_air: bool,
    /// On their way, in order.
    pub(crate) flights: VecDeque<Vec<Piece>>,
    /// When the last byte arrives.
    pub(crate) last_arrival: u64,
    /// TCP's window, and what of it is used.
    window: u64,
    under_way: u64,
    /// When so many bytes are known to have arrived.
    acknowledged: VecDeque<(u64, u64)>,
    /// Whether the window was what bounded it since it last grew.
    bounded: bool,
    /// Whether it is to be looked at again when more is acknowledged.
    pub(crate) wakes: bool,
    last_sent: u64,
    /// What arrived and was not read: the receiver is suspended, or does not want data.
    pub(crate) unread: VecDeque<Piece>,
    unread_bytes: [u64; 3],
    /// Arrivals that were due while nothing passed.
    pub(crate) held: usize,
    /// Whether the sender has closed it: the receiver is told when everything has arrived.
    pub(crate) closing: bool,
}

impl Way {
    pub(crate) fn push(&mut self, stream: Stream, bytes: Vec<u8>) {
        self.queued[stream as usize] += bytes.len() as u64;
        self.queues[stream as usize].push_back(Message { bytes, sent: 0 });
    }

    /// What waits is not sent.
    pub(crate) fn clear(&mut self) {
        self.queues.iter_mut().for_each(VecDeque::clear);
        self.queued = [0; 3];
    }

    /// Bytes that wait, of all streams.
    pub(crate) fn queued_bytes(&self) -> u64 {
        self.queued.iter().sum()
    }

    /// Bytes that wait of one.
    pub(crate) fn queued_of(&self, stream: Stream) -> u64 {
        self.queued[stream as usize]
    }

    /// Bytes that arrived and were not read.
    pub(crate) fn unread_total(&self) -> u64 {
        self.unread_bytes.iter().sum()
    }

    /// Whether there is something to send that the receiver takes.
    pub(crate) fn has_bytes(&self) -> bool {
        STREAMS.into_iter().any(|stream| self.may_send(stream))
    }

    fn may_send(&self, stream: Stream) -> bool {
        let unread = self.unread_bytes[stream as usize];
        let takes = stream != Stream::Data || unread < MOST_UNREAD_DATA;
        self.queued[stream as usize] > 0 && takes && self.unread_total() < MOST_UNREAD
    }

    /// Bytes that the window allows now.
    pub(crate) fn room(&mut self, now: u64) -> u64 {
        self.window = self.window.max(INITIAL_WINDOW);
        while let Some(&(at, bytes)) = self.acknowledged.front() {
            if at > now {
                break;
            }
            self.acknowledged.pop_front();
            self.under_way -= bytes;
            if self.bounded {
                self.window = (self.window + bytes).min(MOST_WINDOW);
            }
        }
        if self.under_way == 0 {
            self.bounded = false;
            let timeouts = now.saturating_sub(self.last_sent) / TIMEOUT;
            let shrunk = self.window >> timeouts.min(32);
            self.window = shrunk.max(INITIAL_WINDOW);
        }
        let room = self.window.saturating_sub(self.under_way);
        self.bounded |= room == 0;
        room
    }

    /// When more is acknowledged.
    pub(crate) fn next_acknowledged(&self) -> Option<u64> {
        self.acknowledged.front().map(|&(at, _)| at)
    }

    /// Takes up to so many bytes, of the streams in turn, at least one.
    pub(crate) fn take(&mut self, now: u64, most: u64) -> Vec<Piece> {
        let mut left = most.max(1);
        let mut pieces = Vec::with_capacity(1);
        for stream in STREAMS {
            while left > 0 && self.may_send(stream) {
                let of = stream as usize;
                let Some(message) = self.queues[of].front_mut() else {
                    break;
                };
                let rest = message.bytes.len() - message.sent;
                let whole = rest as u64 <= left;
                let bytes = if whole && message.sent == 0 {
                    std::mem::take(&mut message.bytes)
                } else {
                    let taken = rest.min(usize::try_from(left).unwrap_or(rest));
                    let from = message.sent;
                    message.sent += taken;
                    message.bytes[from..from + taken].to_vec()
                };
                if whole {
                    self.queues[of].pop_front();
                }
                left -= bytes.len() as u64;
                self.queued[of] -= bytes.len() as u64;
                pieces.push(Piece { stream, bytes });
            }
        }
        self.last_sent = now;
        pieces
    }

    /// These are on their way until `at`, and known to have arrived at `acknowledged`.
    pub(crate) fn fly(&mut self, at: u64, acknowledged: u64, pieces: Vec<Piece>) {
        let bytes = bytes_of(&pieces);
        self.under_way += bytes;
        self.acknowledged.push_back((acknowledged, bytes));
        self.last_arrival = at;
        self.flights.push_back(pieces);
    }

    /// This arrived, and is not read yet.
    pub(crate) fn leave_unread(&mut self, piece: Piece) {
        self.unread_bytes[piece.stream as usize] += piece.bytes.len() as u64;
        self.unread.push_back(piece);
    }

    /// The first that is not read and that `wanted` names, in the order of its stream.
    pub(crate) fn read(&mut self, wanted: impl Fn(Stream) -> bool) -> Option<Piece> {
        let at = self.unread.iter().position(|piece| wanted(piece.stream))?;
        let piece = self.unread.remove(at)?;
        self.unread_bytes[piece.stream as usize] -= piece.bytes.len() as u64;
        Some(piece)
    }
}

pub(crate) fn bytes_of(pieces: &[Piece]) -> u64 {
    pieces.iter().map(|piece| piece.bytes.len() as u64).sum()
}

/// Bytes that pieces are on the air each time, headers included; and those of TCP's acknowledgements,
/// one for two packets, which a single packet's answer carries.
pub(crate) fn bytes_on_air(pieces: &[Piece]) -> (u64, u64) {
    let bytes = bytes_of(pieces) + PIECE_HEADERS * pieces.len() as u64;
    let packets = bytes.div_ceil(SEGMENT);
    (
        bytes + PACKET_HEADERS * packets,
        PACKET_HEADERS * (packets / 2),
    )
}
