//! Mean and spread of a sample.

use serde::Serialize;

/// Mean and spread of some values.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// How many.
    pub count: usize,
    /// Their mean.
    pub mean: f64,
    /// Their standard deviation, by `n - 1`; 0 of a single one.
    pub deviation: f64,
    /// The least.
    pub least: f64,
    /// The largest.
    pub most: f64,
}

/// Quantiles 0.975 of Student's t distribution, by degrees of freedom from 1; beyond them the normal
/// distribution's 1.96 is taken.
const STUDENT: [f64; 30] = [
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160,
    2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056,
    2.052, 2.048, 2.045, 2.042,
];

impl Spread {
    /// Of these values; `None` if there are none.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let values: Vec<_> = values.into_iter().collect();
        let least = values.iter().copied().reduce(f64::min)?;
        let most = values.iter().copied().reduce(f64::max)?;
        let count = values.len();
        let mean = if least == most {
            // Rounding makes no difference of values that have none.
            least
        } else {
            values.iter().sum::<f64>() / count as f64
        };
        let squares: f64 = values
            .iter()
            .map(|value| (value - mean) * (value - mean))
            .sum();
        let deviation = match count {
            1 => 0.0,
            _ => (squares / (count - 1) as f64).sqrt(),
        };
        Some(Self {
            count,
            mean,
            deviation,
            least,
            most,
        })
    }

    /// The true mean is within this of [`mean`](Self::mean) with 95 % confidence, if values are
    /// normally distributed: `t · deviation / sqrt(n)`. `None` of a single value, which tells nothing
    /// of it.
    pub fn within(&self) -> Option<f64> {
        let freedom = self.count.checked_sub(2)?;
        let t = STUDENT.get(freedom).copied().unwrap_or(1.96);
        Some(t * self.deviation / (self.count as f64).sqrt())
    }
}
