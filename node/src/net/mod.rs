//! The node on the network: the thin driver of the protocol's machine.
//!
//! One thread owns the machine, libp2p's swarm and the clock; [`Node`] is the handle that the rest of
//! the program has. Stages are computed on a thread of their own ([`stages`](crate::stages)).
//!
//! A connection to a member carries four streams: control and data, one each way; and one each way for
//! weights, when there are some to be given. Only members may
//! connect, others while an invitation is open, and then they get no stream but pairing (`gate`).
//! What the owner does with the circle, and what a pairing changes, is on the disk before anybody is
//! told (`circle`).
//! Whom to dial is decided by this node's own books (`reach`), and a connection ends with the address
//! that it came from (`sockets`). Devices of the network are found by multicast DNS (`discovery`); this
//! one names itself only in networks where a member was met (`nearby`, `networks`).
//! When two nodes dial each other at once, both keep the connection that the one with the smaller id
//! dialled (`connections`).

mod addresses;
mod circle;
mod connections;
mod copies;
mod discovery;
mod driver;
mod events;
mod gate;
mod giving;
mod handler;
mod ids;
mod journal;
mod listen;
mod nearby;
mod networks;
mod node;
mod pairings;
mod parts;
mod ports;
mod profile;
mod pump;
mod query;
mod reach;
mod report;
mod session;
mod sockets;
mod stream;
mod swarm;
mod traffic;
mod underway;
mod zones;

pub use libp2p::Multiaddr;
pub use potluck_protocol::wire::HandOverReason;

pub use discovery::{Announces, Discovery, Mdns};
pub use listen::ListenError;
pub use networks::reachable_addresses;
pub use node::{Node, NodeOptions};
pub use report::{AskedFor, NodeError, NodeEvent};
pub use session::{NodeSession, OwnerWork};
pub use traffic::Traffic;
pub use underway::PairingId;
