//! Asking a node of this home: the one that `potluck up` runs, or one of this process.
//!
//! A node serves a socket of the home that only its user may use, on Windows a named pipe; commands
//! speak to it there. A
//! command that finds none starts a node of its own and serves itself one end of a pair of sockets,
//! so there is one way for both. What is said is of one version: a node serves commands of its own
//! program. What this process's own node computes for it, as for `serve`, takes no connection: a
//! [`Pipeline`] reaches either.
//!
//! # Whose node
//! A home has one node at a time, as two of one device would take each other's connections. Who has it
//! holds a lock in the home; others of the home speak to it, or wait for the lock:
//!
//! | the node of | serves others | ends |
//! |---|---|---|
//! | `up` | always | with it |
//! | `run`, `chat` | while it lasts | with the answer or the chat; at once when `up` asks it to give way |
//! | `pair` | while it lasts; computes if the device was measured before | with it |
//! | `plan`, `forget` | never: they take seconds, and others wait for them | with them |
//!
//! So a command can lose the node that it speaks to at any time. Its connection ends then, and a
//! [`Pipeline`] with it; a sequence [begins another](crate::together::Together) at the node that runs
//! then, or at one of its own command's, and reads its tokens there again. By the exactness of the
//! arithmetic the answer goes on as if nothing had been.
//!
//! ```text
//! message    length of JSON u32 · length of payload u32 · JSON · payload       little-endian
//! ```
//! The JSON is a [`Request`] or a [`Reply`]; the payload are hidden states, where there are any.

mod client;
mod framing;
mod meant;
mod message;
mod node;
mod pairing;
mod pipeline;
mod place;
mod replies;
mod right;
mod server;
mod sessions;
mod socket;
mod views;

pub use client::{Client, ClientError};
pub use message::{NodeSettings, PairingWish, PlacementChoice, Reply, Request, SessionRequest};
pub use node::LocalNode;
pub use pipeline::Pipeline;
pub use place::Stream;
pub use server::Service;
pub(crate) use sessions::identify;
pub use socket::{ServeError, Socket};
pub use views::{
    ALONE, ChangeView, HopView, LinkView, ListedView, MemberView, Names, PlacementView, PlanView,
    ProfileView, ProposalView, StageView, UnusedView,
};
