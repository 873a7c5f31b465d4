//! Comparison of runs: what differs, by how much, and whether that is more than chance.
//!
//! Runs are paired by seed (and, in sweeps, by the varied fields). Both runs of a pair have the same requests,
//! faults and stalls ahead of them, so the differences between pairs vary far less than the runs themselves.

mod gain;
mod source;
mod table;
#[cfg(test)]
mod tests;
mod verdict;

pub use gain::gains;
pub use source::{Key, Results, SourceError, read};
pub use table::{details, overview};
pub use verdict::{CompareError, Comparison, Difference, Verdict, compare};
