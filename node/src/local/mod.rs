//! Access to a home's node: the one that `potluck up` runs, or one in this process.
//!
//! A node serves a socket in the home that only its user may open, on Windows a named pipe;
//! commands connect to it. A command that finds no node starts its own and connects to it over one
//! end of a socket pair, so both cases share one code path. Messages are not versioned: a node
//! serves only commands of the same program version. Work that a process's own node computes for
//! it, as for `serve`, needs no connection: a [`Pipeline`] reaches either kind.
//!
//! # One node per home
//! A home has one node at a time, because two nodes with one identity would take each other's
//! connections. The node's process holds a lock in the home; other processes of the home connect to
//! it, or wait for the lock:
//!
//! | the node of | serves other commands | ends |
//! |---|---|---|
//! | `up` | always | with it |
//! | `run`, `chat` | while it runs | with the answer or the chat; at once when `up` asks it to give way |
//! | `pair` | while it runs; computes if the device was measured before | with it |
//! | `plan`, `forget` | never: they take seconds, and others wait for them | with them |
//!
//! A command can therefore lose its node at any time. Its connection then ends, and a [`Pipeline`]
//! with it; a sequence [begins another](crate::together::Together) at the node that runs next, or
//! at one of its own command's, and computes its tokens there again. Because the arithmetic is
//! exact, the answer continues unchanged.
//!
//! ```text
//! message    length of JSON u32 · length of payload u32 · JSON · payload       little-endian
//! ```
//! The JSON is a [`Request`] or a [`Reply`]; the payload contains hidden states, if any.

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
