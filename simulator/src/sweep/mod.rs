//! Sweeps: a scenario with some of its fields varied, every combination with several seeds.
//!
//! The result of each run is one self-contained line of JSON: the varied fields, the seed, the figures. To
//! spread a sweep, give each process a [`Shard`] of it and a file of its own, and combine the files with
//! [`merge`]; `simulator/README.md` shows how with Slurm, Kubernetes and GNU parallel. Runs that a file
//! already contains are not repeated.

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
