//! Merges the results of several files.

use std::collections::BTreeMap;

use super::{Line, SweepError};

/// Results of several files as one.
#[derive(Debug, Clone, PartialEq)]
pub struct Merged {
    /// Each run once: sweep by sweep, by their numbers.
    pub lines: Vec<Line>,
    /// Lines that were there more than once.
    pub repeated: usize,
    /// Runs that are not there, of each sweep that lacks some.
    pub missing: Vec<Missing>,
}

/// Runs of a sweep that are not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// The sweep.
    pub sweep: String,
    /// How many runs it has.
    pub runs: u64,
    /// How many of them are missing.
    pub count: u64,
    /// The numbers of the first ones.
    pub first: Vec<u64>,
}

/// How many missing runs are listed.
const TOLD: usize = 20;

/// Puts results together: in one order whatever the order of the lines, each run once.
///
/// # Errors
/// [`SweepError::Contradiction`] if one run gave two results.
pub fn merge(lines: impl IntoIterator<Item = Line>) -> Result<Merged, SweepError> {
    let mut runs: BTreeMap<(String, u64), Line> = BTreeMap::new();
    let mut repeated = 0;
    for line in lines {
        let key = (line.sweep.clone(), line.index);
        let Some(before) = runs.get(&key) else {
            runs.insert(key, line);
            continue;
        };
        repeated += 1;
        let (first, second) = (&before.summary.trace_hash, &line.summary.trace_hash);
        if first != second || before.fingerprint != line.fingerprint {
            return Err(SweepError::Contradiction {
                index: line.index,
                seed: line.seed,
                first: first.min(second).clone(),
                second: first.max(second).clone(),
            });
        }
    }
    let lines: Vec<_> = runs.into_values().collect();
    let missing = missing(&lines);
    Ok(Merged {
        lines,
        repeated,
        missing,
    })
}

fn missing(lines: &[Line]) -> Vec<Missing> {
    let sweeps = lines.chunk_by(|a, b| a.sweep == b.sweep);
    let missing = sweeps.map(|lines| {
        let mut first = Vec::new();
        let mut next = 0;
        let runs = lines.iter().map(|line| line.runs).max().unwrap_or(0);
        for there in lines.iter().map(|line| line.index).chain([runs]) {
            let room = TOLD.saturating_sub(first.len());
            first.extend((next..there).take(room));
            next = there.saturating_add(1);
        }
        Missing {
            sweep: lines[0].sweep.clone(),
            runs,
            count: runs.saturating_sub(lines.len() as u64),
            first,
        }
    });
    missing.filter(|missing| missing.count > 0).collect()
}
