//! Whether two groups of runs differ.

use serde::Serialize;

use super::Results;
use crate::report::{Better, FIGURES, Figure, Spread};

/// Two kinds of runs, figure by figure.
#[derive(Debug, Clone)]
pub struct Comparison {
    /// What the first are called.
    pub first: String,
    /// What the second are called.
    pub second: String,
    /// Pairs of runs.
    pub pairs: usize,
    /// Runs without a partner.
    pub unpaired: usize,
    /// Every figure that any run has.
    pub differences: Vec<Difference>,
}

/// A figure of two kinds of runs.
#[derive(Debug, Clone, Copy)]
pub struct Difference {
    /// The figure.
    pub figure: &'static Figure,
    /// Of the first, over those pairs in which it has the figure.
    pub first: Option<Spread>,
    /// Of the second.
    pub second: Option<Spread>,
    /// The second less the first, over pairs in which both have the figure.
    pub difference: Option<Spread>,
    /// What follows.
    pub verdict: Verdict,
}

/// What follows for the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Every pair is equal.
    Equal,
    /// Within the tolerance, or within what chance explains with 95 % confidence.
    Alike,
    /// It is better.
    Better,
    /// It is worse.
    Worse,
    /// One of the two has no such figure.
    Incomparable,
}

/// Why runs cannot be compared.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompareError {
    /// No seed is of both.
    #[error(
        "no run of {first} has a partner of the same seed in {second}: give both the same --seeds"
    )]
    NoPairs {
        /// What the first are called.
        first: String,
        /// What the second are called.
        second: String,
    },
}

/// Compares runs in pairs. A difference counts from `tolerance` on, as a share of the first's mean,
/// and, where there are several pairs, if the 95 % interval of the mean difference is without 0.
///
/// # Errors
/// [`CompareError`].
pub fn compare(
    first: &Results,
    second: &Results,
    tolerance: f64,
) -> Result<Comparison, CompareError> {
    let pairs = first.runs.iter();
    let pairs = pairs.filter_map(|(key, a)| Some((a, second.runs.get(key)?)));
    let pairs: Vec<_> = pairs.collect();
    if pairs.is_empty() {
        return Err(CompareError::NoPairs {
            first: first.name.clone(),
            second: second.name.clone(),
        });
    }
    let differences = FIGURES.iter().map(|figure| {
        let values = pairs.iter().map(|(a, b)| ((figure.of)(a), (figure.of)(b)));
        let values: Vec<_> = values.collect();
        let both = values.iter().filter_map(|(a, b)| Some(((*a)?, (*b)?)));
        let mut difference = Difference {
            figure,
            first: Spread::of(values.iter().filter_map(|(a, _)| *a)),
            second: Spread::of(values.iter().filter_map(|(_, b)| *b)),
            difference: Spread::of(both.map(|(a, b)| b - a)),
            verdict: Verdict::Incomparable,
        };
        difference.verdict = difference.verdict(tolerance);
        difference
    });
    let told = |difference: &Difference| difference.first.or(difference.second).is_some();
    Ok(Comparison {
        first: first.name.clone(),
        second: second.name.clone(),
        pairs: pairs.len(),
        unpaired: first.runs.len() + second.runs.len() - 2 * pairs.len(),
        differences: differences.filter(told).collect(),
    })
}

impl Comparison {
    /// The figure of this name, if any run has it.
    pub fn figure(&self, name: &str) -> Option<&Difference> {
        let mut all = self.differences.iter();
        all.find(|difference| difference.figure.name == name)
    }

    /// Whether the second is worse in any figure.
    pub fn is_worse(&self) -> bool {
        let mut verdicts = self.differences.iter().map(|difference| difference.verdict);
        verdicts.any(|verdict| verdict == Verdict::Worse)
    }
}

impl Difference {
    /// The mean difference as a share of the first's mean; `None` if that is 0.
    pub fn relative(&self) -> Option<f64> {
        let mean = self.first?.mean;
        let difference = self.difference?.mean;
        (mean != 0.0).then(|| difference / mean.abs())
    }

    fn verdict(&self, tolerance: f64) -> Verdict {
        let (Some(first), Some(difference)) = (self.first, self.difference) else {
            return Verdict::Incomparable;
        };
        if difference.least == 0.0 && difference.most == 0.0 {
            return Verdict::Equal;
        }
        let size = difference.mean.abs();
        let chance = difference.within().unwrap_or(0.0);
        if size <= tolerance * first.mean.abs() || size <= chance {
            return Verdict::Alike;
        }
        match (self.figure.better, difference.mean > 0.0) {
            (Better::More, true) | (Better::Less, false) => Verdict::Better,
            (Better::More, false) | (Better::Less, true) => Verdict::Worse,
        }
    }
}
