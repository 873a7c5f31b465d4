//! Serving: answers concurrent requests and batches their engine steps.
//!
//! ```text
//! Service ── names ─▶ Lane (one a model) ── prepared ─▶ Scheduler ─▶ Engine::step
//!    │                                                     │
//!    └── Answering ◀── updates ── Client ◀── Talk ◀────────┘
//! ```
//!
//! When the circle's devices compute, a `Split` replaces the scheduler: each answer is a session
//! across those devices, which batch its steps with those of the other answers.
//!
//! - The same request with the same seed gets the same answer, whatever else is being served
//!   (invariants I1 and I2).
//! - A request is dropped between two steps when its client disconnects.
//! - Every resource is bounded: running requests, queued requests, their memory, and cached
//!   prefixes (see [`Settings`]).
//! - The owner's requests run before guests' requests. A guest cannot find out what the owner or
//!   another guest asked ([`Caller`], `prefix`).

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
