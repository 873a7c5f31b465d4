//! Asking a node of this home: the one that `potluck up` runs, or one of this process.
//!
//! A node serves a socket in the home that only the owner may use; commands speak to it there. A
//! command that finds none starts a node of its own and serves itself one end of a pair of sockets,
//! so there is one way for both. What is said is of one version: a node serves commands of its own
//! program.
//!
//! ```text
//! message    length of JSON u32 · length of payload u32 · JSON · payload       little-endian
//! ```
//! The JSON is a [`Request`] or a [`Reply`]; the payload are hidden states, where there are any.

mod client;
mod framing;
mod message;
mod pairing;
mod server;
mod sessions;
mod socket;
mod views;

pub use client::{Client, ClientError, Pipeline};
pub use message::{PairingWish, PlacementChoice, Reply, Request, SessionRequest};
pub use server::{LocalNode, Service};
pub(crate) use sessions::identify;
pub use socket::{ServeError, Socket};
pub use views::{
    ChangeView, HopView, LinkView, ListedView, MemberView, PlacementView, PlanView, ProfileView,
    ProposalView, StageView, UnusedView,
};
