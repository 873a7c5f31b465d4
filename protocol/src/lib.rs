//! The protocol core that paired devices speak: pairing, placement, sessions, recovery.
//!
//! It will be one sans-IO state machine (`handle_input`, `handle_timeout`, `poll_output`,
//! `poll_timeout`), driven alike by the node's sockets and by the simulator's virtual time. It has
//! no clock, randomness, threads, sockets or unordered iteration, and never will. The machine is not
//! there yet; its parts come one by one: how devices pair ([`pairing`], [`circle`]), who runs which
//! layers ([`placement`]), what travels ([`wire`]), what a helper does with it ([`stage`]) and what a
//! requester does ([`session`]). No command uses them yet.
#![forbid(unsafe_code)]

pub mod circle;
mod id;
mod layers;
mod link;
pub mod machine;
pub mod pairing;
pub mod placement;
pub mod profile;
mod reader;
pub mod session;
pub mod stage;
pub mod wire;
#[cfg(test)]
mod world;

pub use id::{Branch, PeerId, PlanEpoch, SessionId};
pub use layers::LayerRange;
pub use link::Link;
