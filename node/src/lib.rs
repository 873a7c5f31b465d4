//! Potluck's node: everything the `potluck` command does, as functions.
//!
//! | command | function |
//! |---|---|
//! | `run` | [`answer::answer`] |
//! | `chat` | [`conversation::Conversation`] |
//! | `pull` | [`catalogue::fetch`] |
//! | `models` | [`catalogue::entries`], [`catalogue::ModelsFolder::state`] |
//! | `inspect` | [`inspect::inspect`] |
//! | `score` | [`score::score`] |
//! | `bench` | [`bench::bench`], [`profile::Measurements`] |
//! | `id` | [`device::Device`] |
//! | `pair`, `peers`, `forget`, `plan` | [`local::Client`], which asks a [`net::Node`] |
//! | `up` | [`net::Node`], [`local::Socket`] |
//! | `serve` | [`serve::Service`], [`http::Listening`] |
//! | `serve --share`, `guests` | [`guests::Share`], [`guests::GuestBook`] |
//! | `log` | [`log::Recent`], by [`local::Client::log`] |
//! | `config` | [`config::ConfigFile`] |
//!
//! What a node that works with others is made of: who has which weights ([`manifest`]), what a model
//! and this device are in numbers ([`shape`], [`profile`]), the layers it computes ([`stages`]) and
//! those that came from others ([`shard_store`]), weights packed for the processor ([`packed_store`]), the
//! network ([`net`]), commands that speak to it
//! ([`local`]), and text from it ([`together`]).
//!
//! Models are named by [`ModelRef`] and kept in the [`catalogue::ModelsFolder`] of a [`home::Home`]. Long
//! operations report through callbacks and stop when their [`Cancel`] is set. Nothing here prints,
//! and nothing reads the environment but [`home::Home::from_environment`]. What happens is told as events of the
//! `tracing` crate; [`log`] says what they are, and what is never among them.
#![forbid(unsafe_code)]

pub mod answer;
pub mod bench;
mod cancel;
pub mod catalogue;
pub mod config;
pub mod conversation;
pub mod device;
pub mod disk;
pub mod draft_heads;
pub mod drafter;
pub mod engine;
pub mod guests;
pub mod home;
pub mod http;
pub mod inspect;
pub mod local;
pub mod log;
pub mod manifest;
mod model_ref;
pub mod net;
pub mod offered_models;
#[cfg(all(feature = "otlp", any(target_arch = "x86_64", target_arch = "aarch64")))]
pub mod otlp;
pub mod packed_store;
mod parts;
mod private;
mod private_file;
pub mod profile;
pub mod prompt;
pub mod score;
pub mod serve;
pub mod shape;
pub mod shard_store;
pub mod stages;
pub mod step_times;
mod tls;
pub mod together;
pub mod words;

pub use cancel::Cancel;
pub use model_ref::{ModelRef, UnknownModel};
pub use parts::Part;
pub use potluck_protocol::profile::OwnerLimits;
pub use private::Private;
pub use private_file::finish_writing;
