//! Errors of a sweep.

use super::MOST_RUNS;
use crate::{RunError, ScenarioError};

/// Errors of a sweep.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// Not a field and its values.
    #[error("{0:?} varies nothing: write a field and its values, such as network.delay=1ms,5ms")]
    NotAnAxis(String),
    /// Not the path of a field.
    #[error(
        "{0:?} is no field of a scenario: write its path, as duration, network.delay or \
         device.0.memory"
    )]
    NotAField(String),
    /// The scenario has no section of this number or name.
    #[error("{field}: {words}")]
    NoSection {
        /// The field.
        field: String,
        /// What there is.
        words: String,
    },
    /// A field is varied twice.
    #[error("{0} is varied twice: name all its values at once, divided by commas")]
    Twice(String),
    /// Seeds are no field to vary.
    #[error("seed is not varied as a field: use --seeds 5, or --seeds 10..20")]
    SeedVaried,
    /// Not a number of seeds, nor a range.
    #[error(
        "{0:?} names no seeds: write a number, such as 5, or a range, such as 10..20, which ends before 20"
    )]
    NotSeeds(String),
    /// Not a shard.
    #[error(
        "{0:?} is not a shard: write i/n, with i from 0 to n - 1, such as 0/4 for the first of four"
    )]
    NotAShard(String),
    /// More runs than anyone waits for.
    #[error("this sweep has more than {MOST_RUNS} runs: vary less, or name fewer seeds")]
    TooManyRuns,
    /// A combination makes no scenario.
    #[error("{set}: {why}")]
    Scenario {
        /// What was set.
        set: String,
        /// Why.
        why: Box<ScenarioError>,
    },
    /// The scenario as it was written makes none.
    #[error(transparent)]
    Base(Box<ScenarioError>),
    /// A run failed.
    #[error("run {index} ({set}) cannot begin: {why}")]
    Run {
        /// Its number.
        index: usize,
        /// What was set in it.
        set: String,
        /// Why.
        why: Box<RunError>,
    },
    /// A file of results cannot be read or written.
    #[error("{path}: {why}")]
    File {
        /// Its path.
        path: String,
        /// Why.
        why: std::io::Error,
    },
    /// A line of a file is none of a sweep's.
    #[error(
        "{path}, line {line}: no result of a sweep ({words}): name another file, or delete the line"
    )]
    NotALine {
        /// The file's path.
        path: String,
        /// The line's number from 1.
        line: usize,
        /// Why it cannot be read.
        words: String,
    },
    /// One run gave two results.
    #[error(
        "run {index} (seed {seed}) has trace {first} in one line and {second} in another: they were \
         made by different versions of potluck-sim, or with different profiles; run the sweep anew \
         with one"
    )]
    Contradiction {
        /// Its number.
        index: u64,
        /// Its seed.
        seed: u64,
        /// The trace hash of the one.
        first: String,
        /// That of the other.
        second: String,
    },
    /// No threads could be started.
    #[error("cannot start so many threads: {0}")]
    Threads(String),
}

impl SweepError {
    pub(super) fn file(path: &std::path::Path, why: std::io::Error) -> Self {
        Self::File {
            path: path.display().to_string(),
            why,
        }
    }
}

impl From<ScenarioError> for SweepError {
    fn from(error: ScenarioError) -> Self {
        Self::Base(Box::new(error))
    }
}
