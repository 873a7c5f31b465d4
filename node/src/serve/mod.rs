//! Answers for programs: requests of many at once, stepped together.
//!
//! ```text
//! Service ── names ─▶ Lane (one a model) ── prepared ─▶ Scheduler ─▶ Engine::step
//!    │                                                     │
//!    └── Answering ◀── updates ── Client ◀── Talk ◀────────┘
//! ```
//!
//! Where the circle's devices compute, a `Split` takes the scheduler's place: each answer is a conversation
//! over them, stepped together with the others by the devices.
//!
//! - The same request with the same seed gets the same answer, whatever else is served (invariants I1
//!   and I2).
//! - A request is dropped between two steps when whoever asked goes away.
//! - Nothing grows without bound: requests, those that wait, their memory and what is kept of them have
//!   limits ([`Settings`]).
//! - The owner's requests go before those of guests, and no guest learns what the owner or another guest
//!   asked ([`Caller`], `prefix`).

mod caller;
pub mod chat;
mod circle;
mod client;
mod engine_thread;
mod lane;
mod models;
mod numbers;
mod pace;
mod pooling;
mod prefix;
mod prepare;
mod reader;
mod request;
mod running;
mod scheduler;
mod service;
mod settings;
mod shared;
mod split;
mod talk;
#[cfg(test)]
mod tests;
mod work;

pub use caller::{Caller, Tab, day_of, until_next_day};
pub use circle::Circle;
pub use client::{Answering, Embedded, Embedding};
pub use models::ModelCard;
pub use numbers::{Histogram, Numbers, Outcome};
pub use request::{
    Chat, Finish, Format, Input, Request, RequestError, Summary, TokenInfo, Tool, ToolChoice,
    Update,
};
pub use service::{LoadedModel, Service, StartError};
pub use settings::Settings;
