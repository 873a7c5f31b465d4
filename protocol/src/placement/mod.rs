//! Where each layer of a model should run, and why.
//!
//! [`plan`] searches all placements (which devices, in which order around the ring, with which layers; the
//! requester alone is among them) for the best latency, throughput or energy. The requester holds embedding
//! and head, and may have layers like any device. [`Forced`] reads a placement that a person wrote and
//! predicts it with the same costs. [`prefill_rows`] chooses the rows of prefill steps so that all stages
//! work at once. [`plan_again`] places a conversation whose pipeline broke, and counts what was already
//! computed.
//!
//! # Costs
//! A stage of a step takes `sum over layers of (bytes / bandwidth of their format + rows · KV bytes / KV
//! bandwidth) + overhead`. The weights of several rows take at least their multiply-adds, and those of
//! [`UNPACKING_ROWS`] more, at the prefill rate; [`ROWS_PER_CACHE_READ`] rows share one read of the cache. A
//! hop takes `round trip / 2 + bytes / link bandwidth + overhead`, and occupies its link for all of that but
//! the delay. Each term is rounded up to a nanosecond.
//!
//! # Memory
//! A device gets a layer range if its weights and its KV caches for the whole context, with the headroom,
//! fit into the device's budget. The requester's embedding and head count, too.
//!
//! # Weights that have to be fetched
//! A device that lacks layers fetches them first, which may take minutes, and keeps them. So fetching is a
//! cost of the first conversation only, and is not part of the costs above: otherwise a plan would stay with
//! the devices that happen to have the weights, however slow. [`Fetch`] tells people what it takes. But a
//! gain that nobody notices, and that the next measurement may undo, is not worth minutes: of a placement
//! within a hundredth of the best, and one that fetches less, [`plan`] takes the latter. For that, bytes have
//! a price at which all that the best placement fetches costs a hundredth of its own cost, and are searched
//! as exactly as the rest: a placement that saves half of the bytes may cost half a hundredth more. By
//! throughput the pace stays the best, and the step time may be higher instead. A device that has not said
//! what it has counts as having nothing; if no device has said anything, nothing changes.

mod candidate;
mod claim;
mod cost;
mod devices;
mod error;
mod fetch;
mod filter;
mod forced;
mod holdings;
mod instance;
mod options;
mod planner;
mod prediction;
mod prefill;
mod repair;
mod search;
mod shape;
mod stage;
#[cfg(test)]
mod tests;
mod text;

pub use claim::{ComputedRows, claim};
pub use cost::{ROWS_PER_CACHE_READ, UNPACKING_ROWS};
pub use devices::{Devices, Unused, UnusedReason};
pub use error::{AloneError, PlacementError};
pub use fetch::Fetch;
pub use forced::{Forced, ForcedError, ForcedStage};
pub use holdings::Holdings;
pub use options::{Objective, PlacementOptions};
pub use planner::{Plan, plan};
pub use prediction::{PredictedHop, PredictedStage, Prediction};
pub use prefill::{PrefillRows, prefill_rows, prefill_rows_again};
pub use repair::{Computed, plan_again};
pub use search::MOST_DEVICES;
pub use shape::{LayerShape, MOST_LAYERS, ModelShape, Weights};
pub use stage::Stage;
