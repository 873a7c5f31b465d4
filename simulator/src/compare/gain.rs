//! What the first of several kinds of runs gains over the others, in words.

use super::{Comparison, Difference, Verdict};
use crate::report::words;

/// What the first gains over each other: speed, waiting, energy. A sentence each.
pub fn gains(comparisons: &[Comparison]) -> String {
    let sentences = comparisons.iter().map(|comparison| {
        let parts = PARTS.iter().filter_map(|part| part.told(comparison));
        let parts: Vec<_> = parts.collect();
        let parts = match parts.is_empty() {
            true => "no difference".to_owned(),
            false => parts.join(", "),
        };
        format!("Against {}: {parts}.", comparison.second)
    });
    sentences.collect::<Vec<_>>().join(" ")
}

/// A figure, and how to say what it gains.
struct Part {
    figure: &'static str,
    /// After the factor, as of 1.4: what is that many times as much.
    words: &'static str,
    /// If the other has no such figure.
    missing: Option<&'static str>,
}

const PARTS: [Part; 4] = [
    Part {
        figure: "tokens/s",
        words: "the speed",
        missing: Some("an answer, where it gives none"),
    },
    Part {
        figure: "tokens",
        words: "the tokens",
        missing: None,
    },
    Part {
        figure: "first token p90, ms",
        words: "the wait for the first token (p90)",
        missing: None,
    },
    Part {
        figure: "J a token",
        words: "the energy a token",
        missing: None,
    },
];

impl Part {
    fn told(&self, comparison: &Comparison) -> Option<String> {
        let mut all = comparison.differences.iter();
        let of = all.find(|difference| difference.figure.name == self.figure)?;
        match of.verdict {
            Verdict::Incomparable => self
                .missing
                .filter(|_| of.second.is_none())
                .map(str::to_owned),
            Verdict::Equal | Verdict::Alike => None,
            Verdict::Better | Verdict::Worse => {
                let factor = factor(of)?;
                Some(format!("{} times {}", words::figure(factor), self.words))
            }
        }
    }
}

/// The first's mean by the second's.
fn factor(of: &Difference) -> Option<f64> {
    let (first, second) = (of.first?.mean, of.second?.mean);
    (second != 0.0).then(|| first / second)
}
