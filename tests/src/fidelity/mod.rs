//! Whether the simulator predicts real devices: the same set-ups as real processes on the emulated
//! Wi-Fi and in virtual time, side by side.
//!
//! What is simulated knows of this machine what profiles and pings measure, and nothing of the
//! set-ups that it is compared on:
//!
//! - `machine`: processes keep to a processor and are not disturbed by others, where the system lets
//!   them; its speed, as `potluck bench --profile` measures it.
//! - `setup`: who computes what over which network. `real`: set-ups as processes. `simulated`: in
//!   virtual time. `costs`: what a hop, a stage and a request cost beside arithmetic and the way,
//!   from pipelines that compute next to nothing, and what opening a model costs.
//! - `report`: both next to each other.
//!
//! A shared machine is now faster, now slower, for seconds at a time. So what the model takes on one
//! device alone is measured between all answers, by `potluck bench` on every processor that is used,
//! the profile's rates are scaled to its median, and medians of answers are compared with that.

mod costs;
mod machine;
mod real;
mod report;
mod setup;
mod simulated;

pub use costs::{Costs, hardware};
pub use machine::{Alone, Machine, hurry_access_point, median, median_profile, profile_of_model};
pub use real::{Answers, Bench};
pub use report::{Comparison, plans, table};
pub use setup::{Kill, Model, NAMES, Network, Setup};
pub use simulated::{Asked, simulate};

/// What an answer took, of either side. In milliseconds.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize)]
pub struct Times {
    /// From the start of the prefill to the first token.
    pub first_token_ms: f64,
    /// Between tokens, on average.
    pub token_ms: f64,
    /// From when a failure was noticed until the hidden states came that were asked for.
    pub stall_ms: Option<f64>,
    /// Who computed at the end.
    pub stages: Vec<String>,
}
