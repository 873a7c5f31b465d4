//! Both sides next to each other.

use std::fmt::Write as _;

use serde::Serialize;

use super::Times;

/// A set-up on both sides.
#[derive(Debug, Clone, Serialize)]
pub struct Comparison {
    /// Its name.
    pub name: String,
    /// Whether nothing was fitted to it.
    pub held_out: bool,
    /// Of real processes, medians.
    pub measured: Times,
    /// In virtual time.
    pub simulated: Times,
    /// What the real device's own plan said of a token, in milliseconds.
    pub planned_ms: f64,
    /// Of each answer of real processes: first token and between tokens, in milliseconds.
    pub answers: Vec<(f64, f64)>,
    /// Stalls after each kill, in milliseconds.
    pub stalls: Vec<f64>,
}

/// A time of both sides, in milliseconds.
#[derive(Debug, Clone, Copy)]
struct Pair {
    measured: f64,
    simulated: f64,
}

impl Pair {
    /// By how much the simulated is more, as a share of the measured.
    fn error(self) -> f64 {
        self.simulated / self.measured - 1.0
    }
}

impl Comparison {
    fn token(&self) -> Pair {
        Pair {
            measured: self.measured.token_ms,
            simulated: self.simulated.token_ms,
        }
    }

    fn first(&self) -> Pair {
        Pair {
            measured: self.measured.first_token_ms,
            simulated: self.simulated.first_token_ms,
        }
    }

    fn stall(&self) -> Option<Pair> {
        Some(Pair {
            measured: self.measured.stall_ms?,
            simulated: self.simulated.stall_ms?,
        })
    }

    fn plan(&self) -> Pair {
        Pair {
            measured: self.measured.token_ms,
            simulated: self.planned_ms,
        }
    }

    /// All its errors: between tokens, of the first token, of the stall.
    pub fn errors(&self) -> [Option<f64>; 3] {
        let pairs = [Some(self.token()), Some(self.first()), self.stall()];
        pairs.map(|pair| pair.map(Pair::error))
    }
}

/// A table in Markdown, and the mean errors of what was held out.
pub fn table(comparisons: &[Comparison]) -> String {
    let mut text = String::from(
        "| set-up | token, measured | simulated | error | first token, measured | simulated \
         | error | stall, measured | simulated | error |\n\
         |---|---|---|---|---|---|---|---|---|---|\n",
    );
    for comparison in comparisons {
        let fitted = if comparison.held_out { "" } else { " (fitted)" };
        let _ = write!(text, "| {}{fitted} |", comparison.name);
        let pairs = [
            Some(comparison.token()),
            Some(comparison.first()),
            comparison.stall(),
        ];
        for pair in pairs {
            let _ = match pair {
                Some(pair) => write!(
                    text,
                    " {:.1} ms | {:.1} ms | {:+.1} % |",
                    pair.measured,
                    pair.simulated,
                    100.0 * pair.error()
                ),
                None => write!(text, " – | – | – |"),
            };
        }
        text.push('\n');
    }
    let held_out: Vec<_> = comparisons.iter().filter(|c| c.held_out).collect();
    let names = ["time per output token", "time to first token", "stall"];
    for (at, name) in names.iter().enumerate() {
        let errors = held_out.iter().filter_map(|c| c.errors()[at]);
        let errors: Vec<f64> = errors.map(f64::abs).collect();
        if !errors.is_empty() {
            let mean = errors.iter().sum::<f64>() / errors.len() as f64;
            let worst = errors.iter().copied().fold(0.0, f64::max);
            let _ = writeln!(
                text,
                "\n{name}: mean error {:.1} %, greatest {:.1} %, {} set-ups held out",
                100.0 * mean,
                100.0 * worst,
                errors.len()
            );
        }
    }
    text
}

/// What plans said before, in Markdown.
pub fn plans(comparisons: &[Comparison]) -> String {
    let mut text =
        String::from("| set-up | token, measured | planned | error |\n|---|---|---|---|\n");
    for comparison in comparisons {
        let pair = comparison.plan();
        let _ = writeln!(
            text,
            "| {} | {:.1} ms | {:.1} ms | {:+.1} % |",
            comparison.name,
            pair.measured,
            pair.simulated,
            100.0 * pair.error()
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_shares_of_what_was_measured() {
        let times = |first_token_ms, token_ms, stall_ms| Times {
            first_token_ms,
            token_ms,
            stall_ms,
            stages: Vec::new(),
        };
        let comparison = Comparison {
            name: "a".to_owned(),
            held_out: true,
            measured: times(100.0, 10.0, None),
            simulated: times(90.0, 11.0, None),
            planned_ms: 8.0,
            answers: Vec::new(),
            stalls: Vec::new(),
        };
        let text = plans(std::slice::from_ref(&comparison));
        assert!(
            text.contains("| a | 10.0 ms | 8.0 ms | -20.0 % |"),
            "{text}"
        );
        let text = table(&[comparison]);
        assert!(
            text.contains("| a | 10.0 ms | 11.0 ms | +10.0 % | 100.0 ms | 90.0 ms | -10.0 % | – |"),
            "{text}"
        );
        assert!(
            text.contains("time per output token: mean error 10.0 %"),
            "{text}"
        );
    }
}
