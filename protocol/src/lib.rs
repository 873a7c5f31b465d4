//! The protocol core that paired devices speak: pairing, placement, sessions, recovery.
//!
//! A node is one sans-IO state machine, [`machine::Machine`] (`handle_input`, `handle_timeout`,
//! `poll_output`, `poll_timeout`), driven alike by the node's sockets and by the simulator's virtual
//! time. It has no clock, randomness, threads, sockets or unordered iteration, and never will. Its
//! parts have pages of their own, which together specify the protocol: how devices pair ([`pairing`],
//! [`circle`]), what they tell of themselves ([`profile`]) and how real steps correct it
//! ([`correction`]), who runs which layers ([`placement`]), what travels ([`wire`]), what a helper does
//! with it ([`stage`]), how it gets the weights ([`transfer`]), what a requester does ([`session`]), and
//! how all this comes together ([`machine`]). Tests and the simulator compute with a model that is
//! [made up](made_up).
#![forbid(unsafe_code)]

mod arithmetic;
pub mod circle;
pub mod correction;
mod id;
mod layers;
mod link;
pub mod machine;
pub mod made_up;
pub mod pairing;
pub mod placement;
pub mod profile;
mod reader;
pub mod session;
pub mod stage;
pub mod transfer;
pub mod wire;
#[cfg(test)]
mod world;

pub use arithmetic::Arithmetic;
pub use id::{Branch, PeerId, PlanEpoch, SessionId, StageId};
pub use layers::LayerRange;
pub use link::Link;
