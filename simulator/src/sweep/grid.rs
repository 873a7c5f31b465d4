//! All runs of a sweep.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::Table;

use super::axis::value;
use super::{Axis, MOST_RUNS, Seeds, SweepError};
use crate::{Scenario, ScenarioError};

/// A scenario, fields of it that vary, and seeds.
#[derive(Debug, Clone)]
pub struct Sweep {
    base: Table,
    axes: Vec<Axis>,
    seeds: Range<u64>,
    combinations: usize,
    id: String,
}

/// A run of a sweep.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// Its number from 0: seeds follow each other, then values of the last field.
    pub index: usize,
    /// The values of the varied fields, by their paths.
    pub set: BTreeMap<String, String>,
    /// The scenario, with its seed.
    pub scenario: Scenario,
    /// Of the scenario, as 16 hexadecimal digits: two runs with the same are the same.
    pub fingerprint: String,
}

impl Sweep {
    /// A sweep of the scenario in this text; every combination of values is tried as a scenario.
    ///
    /// # Errors
    /// [`SweepError`], which names the combination.
    pub fn new(text: &str, axes: Vec<Axis>, seeds: Option<&Seeds>) -> Result<Self, SweepError> {
        let scenario = Scenario::from_toml(text)?;
        let unreadable = |error: toml::de::Error| SweepError::from(ScenarioError::from(error));
        let base: Table = toml::from_str(text).map_err(unreadable)?;
        for (at, axis) in axes.iter().enumerate() {
            if axes[..at].iter().any(|before| before.field == axis.field) {
                return Err(SweepError::Twice(axis.field.to_string()));
            }
        }
        let seeds = seeds.unwrap_or(&Seeds::Count(1)).range(scenario.seed);
        let of_seeds = usize::try_from(seeds.end - seeds.start).unwrap_or(usize::MAX);
        let counts = axes.iter().map(|axis| axis.values.len());
        let combinations = counts.fold(1, usize::saturating_mul);
        if combinations.saturating_mul(of_seeds) > MOST_RUNS {
            return Err(SweepError::TooManyRuns);
        }
        let id = fingerprint(&format!("{base}\n{axes:?}\n{seeds:?}"));
        let sweep = Self {
            base,
            axes,
            seeds,
            combinations,
            id,
        };
        for combination in 0..combinations {
            sweep.combination(combination)?;
        }
        Ok(sweep)
    }

    /// An identifier of the sweep: 16 hexadecimal digits.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its runs, of all shards.
    pub fn runs(&self) -> usize {
        self.combinations * self.of_seeds()
    }

    /// The run of this number, below [`runs`](Self::runs).
    ///
    /// # Errors
    /// [`SweepError`] if it has no such run; all combinations were tried before.
    pub fn run(&self, index: usize) -> Result<Run, SweepError> {
        let (mut scenario, set) = self.combination(index / self.of_seeds())?;
        scenario.seed = self.seeds.start + (index % self.of_seeds()) as u64;
        let fingerprint = fingerprint(&scenario.to_toml()?);
        Ok(Run {
            index,
            set,
            scenario,
            fingerprint,
        })
    }

    fn of_seeds(&self) -> usize {
        (self.seeds.end - self.seeds.start) as usize
    }

    /// The values of this combination, the last field's fastest.
    fn combination(
        &self,
        index: usize,
    ) -> Result<(Scenario, BTreeMap<String, String>), SweepError> {
        let mut table = self.base.clone();
        let mut set = BTreeMap::new();
        let mut left = index;
        // Fields are set in the order in which they are named.
        let mut chosen = Vec::new();
        for axis in self.axes.iter().rev() {
            chosen.push((axis, &axis.values[left % axis.values.len()]));
            left /= axis.values.len();
        }
        for (axis, text) in chosen.into_iter().rev() {
            axis.field.set(&mut table, &value(text))?;
            set.insert(axis.field.to_string(), text.clone());
        }
        let scenario = Scenario::from_table(table).map_err(|why| match set.is_empty() {
            true => SweepError::from(why),
            false => SweepError::Scenario {
                set: in_words(&set),
                why: Box::new(why),
            },
        })?;
        Ok((scenario, set))
    }
}

/// `network.delay=1ms, seed=3`.
pub(super) fn in_words(set: &BTreeMap<String, String>) -> String {
    let pairs = set.iter().map(|(field, value)| format!("{field}={value}"));
    pairs.collect::<Vec<_>>().join(", ")
}

/// 64 bits of FNV-1a, as hexadecimal digits: to tell runs apart, not to keep secrets.
fn fingerprint(text: &str) -> String {
    let mix = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325, mix);
    format!("{hash:016x}")
}
