//! Sweeps: a scenario with some of its fields varied, every combination with several seeds.
//!
//! Each run is a line of JSON, whole in itself: what was varied, the seed, the figures. So a sweep is
//! spread by giving each process a [`Shard`] of it and a file of its own, and gathered by [`merge`];
//! `simulator/README.md` shows how with Slurm, Kubernetes and GNU parallel. A run that a file has is
//! not run again.

mod axis;
mod error;
mod field;
mod grid;
mod line;
mod merging;
mod parallel;
mod report;
mod seeds;
mod shard;
#[cfg(test)]
mod tests;

pub use axis::Axis;
pub use error::SweepError;
pub use field::Field;
pub use grid::{Run, Sweep};
pub use line::{Line, Lines, read_lines};
pub use merging::{Merged, Missing, merge};
pub use parallel::{Finished, start};
pub use report::{Group, csv, groups, page, table};
pub use seeds::Seeds;
pub use shard::Shard;

/// The most runs of a sweep.
pub const MOST_RUNS: usize = 10_000_000;
