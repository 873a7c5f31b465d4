//! Networks: which bytes use the air when, and when they arrive.
//!
//! What a node sends is queued in a stream of a connection ([`Way`]). From there it is sent in bursts of
//! packets, one burst at a time, in turn with all others that have something to send. It arrives after its
//! time on the air, a delay, jitter and perhaps a stall, and after everything that was sent before it on the
//! same connection. TCP's window bounds the bytes under way, and grows while it is the bottleneck.
//!
//! # Airtime
//! A burst of `n` bytes takes `(n + headers) / rate` of the air each time that it is sent: twice by an
//! access point, once to or from the phone that is a hotspot, once between a direct pair. Headers are those
//! of Ethernet, IPv6, TCP, Noise and Yamux. TCP's acknowledgements use the air as well, but delay nothing
//! else of their own burst. Preambles and contention of a radio are part of the measured rate.

mod air;
mod connection;
mod way;

pub(crate) use air::Air;
pub(crate) use connection::{Connection, ConnectionId, Connections, Turns};
pub(crate) use way::{Piece, Stream, Way};

/// Bytes that TCP carries in a packet: an Ethernet frame less IPv6, TCP and its timestamps.
const SEGMENT: u64 = 1_428;
/// What a packet has beside: Ethernet, IPv6, TCP with timestamps.
const PACKET_HEADERS: u64 = 14 + 40 + 32;
/// What a piece of a stream has beside: a Yamux header, Noise's length and authentication.
const PIECE_HEADERS: u64 = 12 + 2 + 16;
