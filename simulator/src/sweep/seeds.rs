//! Seeds of a sweep.

use std::ops::Range;
use std::str::FromStr;

use super::SweepError;

/// Which seeds: so many from the scenario's on, or a range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seeds {
    /// So many.
    Count(u64),
    /// From one to before another.
    Range(Range<u64>),
}

impl Seeds {
    /// The seeds, for a scenario with this one.
    pub fn range(&self, first: u64) -> Range<u64> {
        match self {
            Self::Count(count) => first..first.saturating_add(*count),
            Self::Range(range) => range.clone(),
        }
    }
}

impl FromStr for Seeds {
    type Err = SweepError;

    fn from_str(text: &str) -> Result<Self, SweepError> {
        let wrong = || SweepError::NotSeeds(text.to_owned());
        let number = |text: &str| text.trim().parse::<u64>().map_err(|_| wrong());
        let seeds = match text.split_once("..") {
            Some((from, to)) => Self::Range(number(from)?..number(to)?),
            None => Self::Count(number(text)?),
        };
        match seeds.range(0).is_empty() {
            true => Err(wrong()),
            false => Ok(seeds),
        }
    }
}
