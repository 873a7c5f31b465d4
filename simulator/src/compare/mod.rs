//! Runs against runs: what differs, by how much, and whether that is more than chance.
//!
//! Runs are paired by seed (and, of sweeps, by what was set): a pair had the same requests, faults
//! and stalls in store, so that differences between pairs spread far less than the runs themselves.

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
