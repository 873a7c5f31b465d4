//! The explorer: random scenarios with faults, each from a seed, and smaller ones that fail in the same way.
//!
//! A scenario of the explorer has 3 to 8 phones, a few conversations, a network of any kind, and faults of
//! every kind for a minute of virtual time. Then the faults end: everything runs, all devices reach each
//! other, and every conversation whose requester survived must complete. A seed that violates a check is
//! shrunk, fault by fault and phone by phone, as long as it still does.

mod draw;
mod shrink;

use rayon::iter::{IntoParallelIterator as _, ParallelIterator as _};

use crate::record::Record;
use crate::units::Span;
use crate::{Options, RunError, Scenario, run};

pub use draw::{scenario_of, scenario_with};
pub use shrink::{Shrunk, shrink};

/// A seed whose scenario violates something.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// The seed.
    pub seed: u64,
    /// Its scenario.
    pub scenario: Scenario,
    /// Its record.
    pub record: Record,
}

/// What exploring some seeds gave.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Explored {
    /// Seeds that ran.
    pub seeds: u64,
    /// Those that violated something, by seed.
    pub found: Vec<Found>,
    /// What ran, so that it shows what the seeds are worth.
    pub tally: Tally,
}

/// What happened in some runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Conversations.
    pub sessions: u64,
    /// Of them, those that completed.
    pub complete: u64,
    /// Their tokens.
    pub tokens: u64,
    /// Failures and moves.
    pub recoveries: u64,
    /// Faults that struck.
    pub faults: u64,
    /// Placements of more than one device.
    pub splits: u64,
    /// Bytes of weights that devices fetched of others.
    pub fetched_bytes: u64,
    /// Everything that happened.
    pub events: u64,
}

impl Tally {
    fn of(record: &Record) -> Self {
        let sessions = record.sessions.iter();
        let complete =
            |s: &&crate::record::SessionRecord| s.ending == crate::record::Ending::Complete;
        let count = |of: usize| of as u64;
        Self {
            sessions: count(record.sessions.len()),
            complete: count(sessions.clone().filter(complete).count()),
            tokens: sessions.clone().map(|s| count(s.tokens_at_us.len())).sum(),
            recoveries: sessions.clone().map(|s| count(s.recoveries.len())).sum(),
            faults: count(record.faults.len()),
            splits: sessions
                .flat_map(|s| &s.placements)
                .filter(|placement| placement.stages.len() > 1)
                .count() as u64,
            fetched_bytes: record.devices.iter().map(|d| d.kept_bytes).sum(),
            events: record.events,
        }
    }

    fn add(self, other: Self) -> Self {
        Self {
            sessions: self.sessions + other.sessions,
            complete: self.complete + other.complete,
            tokens: self.tokens + other.tokens,
            recoveries: self.recoveries + other.recoveries,
            faults: self.faults + other.faults,
            splits: self.splits + other.splits,
            fetched_bytes: self.fetched_bytes + other.fetched_bytes,
            events: self.events + other.events,
        }
    }
}

impl Explored {
    /// Of seeds, their scenarios and records.
    pub(crate) fn of(runs: Vec<(u64, Scenario, Record)>) -> Self {
        let mut explored = Self {
            seeds: runs.len() as u64,
            ..Self::default()
        };
        for (seed, scenario, record) in runs {
            explored.tally = explored.tally.add(Tally::of(&record));
            if !record.violations.is_empty() {
                explored.found.push(Found {
                    seed,
                    scenario,
                    record,
                });
            }
        }
        explored
    }
}

/// How a scenario of the explorer runs: long enough after the last answer that what is held for nobody
/// is found.
pub fn options() -> Options {
    Options {
        linger: Span::seconds(75),
        ..Options::until_answered()
    }
}

/// Runs the scenarios of these seeds, side by side.
///
/// # Errors
/// [`RunError`] if one cannot begin, which none should.
pub fn explore(seeds: std::ops::Range<u64>) -> Result<Explored, RunError> {
    let runs: Result<Vec<_>, RunError> = seeds
        .into_par_iter()
        .map(|seed| {
            let scenario = scenario_of(seed);
            let record = run(&scenario, &options())?;
            Ok((seed, scenario, record))
        })
        .collect();
    Ok(Explored::of(runs?))
}
