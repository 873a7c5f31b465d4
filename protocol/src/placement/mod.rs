//! Where each layer of a model should run, and why.
//!
//! [`plan`] searches all placements: which devices, in which order around the ring, with which
//! layers, staying alone among them; by latency, throughput or energy. The requester holds
//! embedding and head and may have layers like any device. [`Forced`] reads a placement that a
//! person wrote and predicts it with the same costs. [`prefill_rows`] sizes the rows of prefill
//! steps so that all stages work at once. [`plan_again`] places a conversation whose pipeline broke,
//! where what was computed counts.
//!
//! # Costs
//! A stage of a step takes
//! `sum over layers of (bytes / bandwidth of their format + rows · KV bytes / KV bandwidth) +
//! overhead`, where the weights of several rows take no less than their multiply-adds, and those of
//! [`UNPACKING_ROWS`] more, at the prefill rate, and [`ROWS_PER_CACHE_READ`] rows read the cache
//! once; a hop takes `round trip / 2 + bytes / link bandwidth + overhead`, and occupies its link for
//! all of that but the delay. Each term is rounded up to a nanosecond.
//!
//! # Memory
//! A device gets a layer range if its weights and its KV caches for the whole context, with the
//! headroom, are within the device's budget; the requester's embedding and head count, too.
//!
//! # Weights that are elsewhere
//! A device that lacks layers fetches them first, which may take minutes; what it fetches it keeps.
//! So that counts for the first conversation only, and is no part of the costs: a plan would stay
//! with whoever happened to have the weights, however slow. [`Fetch`] says what it takes, for people
//! to decide. But nobody waits minutes for a gain that they cannot notice and that the next
//! measurement may take back: of a placement within a hundredth of the best, and one that fetches
//! less, [`plan`] takes the latter. Bytes are given a price for that, such that all that the best
//! placement fetches costs a hundredth of its own cost, and are searched as exactly as the rest: who
//! saves half of the bytes may cost half a hundredth more. By throughput the pace stays the best, and
//! the step's time is what may be more. A device that has not said what it has counts as having
//! nothing; where nobody has said anything, nothing is different.

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
