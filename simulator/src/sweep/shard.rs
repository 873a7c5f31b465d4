//! Parts of a sweep, for several processes.

use std::str::FromStr;

use super::SweepError;

/// Every `n`th run: of `n` shards, `i/n` has the runs whose number leaves `i` when it is divided
/// by `n`. So each run is in one shard, and each shard has runs of all kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    index: usize,
    of: usize,
}

impl Shard {
    /// The whole sweep.
    pub const ALL: Self = Self { index: 0, of: 1 };

    /// Whether it has this run.
    pub fn has(self, run: usize) -> bool {
        run % self.of == self.index
    }
}

impl FromStr for Shard {
    type Err = SweepError;

    fn from_str(text: &str) -> Result<Self, SweepError> {
        let wrong = || SweepError::NotAShard(text.to_owned());
        let (index, of) = text.split_once('/').ok_or_else(wrong)?;
        let number = |text: &str| text.trim().parse().map_err(|_| wrong());
        let (index, of) = (number(index)?, number(of)?);
        if index < of {
            Ok(Self { index, of })
        } else {
            Err(wrong())
        }
    }
}
