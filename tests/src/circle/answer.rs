//! What `run --json` says.

use serde_json::Value;

use crate::Output;

/// An answer and how it came about.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Its tokens.
    pub tokens: Vec<u64>,
    /// Failures that it survived.
    pub recoveries: Vec<Recovery>,
    /// All that was said.
    pub json: Value,
}

/// A failure that an answer survived.
#[derive(Debug, Clone)]
pub struct Recovery {
    /// The name of the device whose stage failed.
    pub stage: String,
    /// Why.
    pub cause: String,
    /// From when it was noticed until the answer went on.
    pub stall_ms: f64,
}

impl Recovery {
    /// Whether it was noticed by the clock alone: a machine that is busy with other things lets a
    /// device be silent for as long, whatever a test does.
    pub fn is_by_time(&self) -> bool {
        let words = [
            "nothing was heard of it for",
            "rows on the way to it were lost",
        ];
        words.iter().any(|words| self.cause.starts_with(words))
    }
}

/// How often [`undisturbed`] tries.
const TRIES: usize = 6;

/// What comes with answers that no failure has interrupted. On a busy machine devices are silent now
/// and then: it is tried again after failures that were noticed by the clock alone, and after no other.
///
/// # Panics
/// When another failure is among them, or there are some at every try.
#[track_caller]
pub fn undisturbed<T>(mut ask: impl FnMut() -> (T, Vec<Recovery>)) -> T {
    let mut all = Vec::new();
    for _ in 0..TRIES {
        let (what, recoveries) = ask();
        if recoveries.is_empty() {
            return what;
        }
        assert!(
            recoveries.iter().all(Recovery::is_by_time),
            "{recoveries:?}"
        );
        println!("tried again after {recoveries:?}");
        all.push(recoveries);
    }
    panic!("a failure at every try: {all:#?}");
}

impl Answer {
    /// The answer of a `run --json` that has ended.
    ///
    /// # Panics
    /// When it failed, or said something else.
    pub fn of(output: Output) -> Self {
        let json = output.success().json();
        let words = |value: &Value| value.as_str().expect("words").to_owned();
        let list = |key: &str| {
            let list = json[key].as_array();
            list.unwrap_or_else(|| panic!("no {key} in {json}")).clone()
        };
        let tokens = list("token_ids").into_iter();
        let recoveries = list("recoveries").into_iter();
        Self {
            tokens: tokens.map(|id| id.as_u64().expect("a token")).collect(),
            recoveries: recoveries
                .map(|recovery| Recovery {
                    stage: words(&recovery["stage"]),
                    cause: words(&recovery["cause"]),
                    stall_ms: recovery["stall_ms"].as_f64().expect("a number"),
                })
                .collect(),
            json,
        }
    }

    /// Who computed at the end, in the order of the layers; nobody if it was alone.
    pub fn stages(&self) -> Vec<String> {
        let stages = self.json["placement"]["stages"].as_array();
        let names = stages.into_iter().flatten().map(|stage| {
            let layers = [&stage["first_layer"], &stage["end_layer"]];
            format!(
                "{}:{}..{}",
                stage["name"].as_str().expect("a name"),
                layers[0],
                layers[1]
            )
        });
        names.collect()
    }
}
