//! Networks: whose bytes are on the air when, and when they arrive.
//!
//! What a node sends goes into one of the streams of a connection ([`Way`]), from there in bursts of
//! packets onto the air, one burst at a time, in turn with all others that have something to send;
//! and arrives when it has been on the air, a delay, jitter and maybe a stall later, behind all that
//! was sent before on the same connection. TCP's window bounds what is under way, and grows while it
//! is what bounds.
//!
//! # Airtime
//! A burst of `n` bytes takes `(n + headers) / rate` of the air each time that it is sent: twice by an
//! access point, once to or from the phone that is a hotspot, once between a direct pair. Headers are
//! those of Ethernet, IPv6, TCP, Noise and Yamux; TCP's acknowledgements take the air, too, but delay
//! nothing else of their own burst. Preambles and contention of a radio are in the rate that a person
//! measures, not here.

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
