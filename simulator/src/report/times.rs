//! Distributions of times.

use serde::{Deserialize, Serialize};

/// A distribution of times, in milliseconds. Percentiles are by the nearest rank: each is a time that
/// was measured.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Times {
    /// How many there are.
    pub count: u64,
    /// Their sum by their number.
    pub mean: f64,
    /// The shortest.
    pub least: f64,
    /// Half of them are not longer.
    pub p50: f64,
    /// Nine of ten are not longer.
    pub p90: f64,
    /// 99 of 100 are not longer.
    pub p99: f64,
    /// The longest.
    pub most: f64,
}

impl Times {
    /// Of times in microseconds; `None` if there are none.
    pub fn of_us(times: impl IntoIterator<Item = u64>) -> Option<Self> {
        let mut sorted: Vec<u64> = times.into_iter().collect();
        sorted.sort_unstable();
        let (least, most) = (*sorted.first()?, *sorted.last()?);
        let sum: u128 = sorted.iter().copied().map(u128::from).sum();
        let count = sorted.len();
        let rank = |percent: usize| sorted[(count * percent).div_ceil(100).max(1) - 1];
        Some(Self {
            count: count as u64,
            mean: sum as f64 / count as f64 / 1e3,
            least: ms(least),
            p50: ms(rank(50)),
            p90: ms(rank(90)),
            p99: ms(rank(99)),
            most: ms(most),
        })
    }
}

fn ms(us: u64) -> f64 {
    us as f64 / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_by_the_nearest_rank() {
        assert_eq!(Times::of_us([]), None);
        let one = Times::of_us([2_500]).expect("one");
        assert_eq!(
            (one.least, one.p50, one.p99, one.most),
            (2.5, 2.5, 2.5, 2.5)
        );
        let hundred = Times::of_us((1..=100).rev().map(|ms| ms * 1_000)).expect("some");
        assert_eq!((hundred.p50, hundred.p90, hundred.p99), (50.0, 90.0, 99.0));
        assert_eq!(
            (hundred.count, hundred.mean, hundred.most),
            (100, 50.5, 100.0)
        );
    }
}
