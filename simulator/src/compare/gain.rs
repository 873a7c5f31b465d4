//! How much the first of several groups of runs gains over the others, in words.

use super::{Comparison, Difference, Verdict};
use crate::report::words;

/// What the first gains over each other: answers, speed, waiting, energy. A sentence each.
pub fn gains(comparisons: &[Comparison]) -> String {
    let sentences = comparisons.iter().map(|comparison| {
        let parts = PARTS.iter().filter_map(|part| part.told(comparison));
        let parts: Vec<_> = answers(comparison).into_iter().chain(parts).collect();
        let parts = match parts.is_empty() {
            true => "no difference".to_owned(),
            false => parts.join(", "),
        };
        format!("Against {}: {parts}.", comparison.second)
    });
    sentences.collect::<Vec<_>>().join(" ")
}

/// Which group completes more answers: the speed of the other is that of fewer answers.
fn answers(comparison: &Comparison) -> Option<String> {
    let of = comparison.figure("answers whole, %")?;
    if !matches!(of.verdict, Verdict::Better | Verdict::Worse) {
        return None;
    }
    let [first, second] = [of.first?.mean, of.second?.mean].map(words::figure);
    Some(format!(
        "{first} % of the answers whole rather than {second} %"
    ))
}

/// A figure, and how to say what it gains.
struct Part {
    figure: &'static str,
    /// The noun after a factor such as 1.4.
    words: &'static str,
}

const PARTS: [Part; 4] = [
    Part {
        figure: "tokens/s",
        words: "the speed of the answers that each gives",
    },
    Part {
        figure: "tokens",
        words: "the tokens",
    },
    Part {
        figure: "first token p90, ms",
        words: "the wait for the first token (p90)",
    },
    Part {
        figure: "J a token",
        words: "the energy a token",
    },
];

impl Part {
    fn told(&self, comparison: &Comparison) -> Option<String> {
        let of = comparison.figure(self.figure)?;
        match of.verdict {
            Verdict::Incomparable | Verdict::Equal | Verdict::Alike => None,
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
