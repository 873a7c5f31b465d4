//! The figures by which runs are compared.

use super::summary::Summary;

/// Which of two values is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Better {
    /// The larger.
    More,
    /// The smaller.
    Less,
}

/// A figure of a run, by which runs are compared.
#[derive(Debug, Clone, Copy)]
pub struct Figure {
    /// What it is called, unit included.
    pub name: &'static str,
    /// Which of two is better.
    pub better: Better,
    /// The figure of a run; `None` if the run has none, as the speed of an answer that never came.
    pub of: fn(&Summary) -> Option<f64>,
}

/// All figures, the most important first.
pub const FIGURES: [Figure; 13] = [
    Figure {
        name: "tokens/s",
        better: Better::More,
        of: |summary| summary.tokens_per_s,
    },
    Figure {
        name: "tokens",
        better: Better::More,
        of: |summary| Some(summary.tokens as f64),
    },
    Figure {
        name: "answers whole, %",
        better: Better::More,
        of: |summary| {
            let asked = summary.answerable();
            (asked > 0).then(|| summary.complete as f64 / asked as f64 * 100.0)
        },
    },
    Figure {
        name: "first token p50, ms",
        better: Better::Less,
        of: |summary| summary.time_to_first_token_ms.map(|times| times.p50),
    },
    Figure {
        name: "first token p90, ms",
        better: Better::Less,
        of: |summary| summary.time_to_first_token_ms.map(|times| times.p90),
    },
    Figure {
        name: "a token p50, ms",
        better: Better::Less,
        of: |summary| summary.time_per_output_token_ms.map(|times| times.p50),
    },
    Figure {
        name: "a token p99, ms",
        better: Better::Less,
        of: |summary| summary.time_per_output_token_ms.map(|times| times.p99),
    },
    Figure {
        name: "failures",
        better: Better::Less,
        of: |summary| Some(summary.failures as f64),
    },
    Figure {
        name: "longest stall, ms",
        better: Better::Less,
        of: |summary| summary.stall_ms.map(|times| times.most),
    },
    Figure {
        name: "J a token",
        better: Better::Less,
        of: |summary| summary.joules_per_token,
    },
    Figure {
        name: "airtime a token, ms",
        better: Better::Less,
        of: |summary| summary.airtime_ms_per_token,
    },
    Figure {
        name: "least battery, %",
        better: Better::More,
        of: |summary| summary.least_battery.map(|charge| charge * 100.0),
    },
    Figure {
        name: "violations",
        better: Better::Less,
        of: |summary| Some(summary.violations.len() as f64),
    },
];
