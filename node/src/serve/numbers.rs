//! What was served, in numbers.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// It was answered.
    Answered,
    /// Whoever asked went away.
    Cancelled,
    /// Something about it was wrong: no such model, too long.
    Refused,
    /// Too many waited already.
    Busy,
    /// The node failed, lacked memory, or stopped.
    Failed,
}

impl Outcome {
    /// Its name, as metrics have it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Cancelled => "cancelled",
            Self::Refused => "refused",
            Self::Busy => "busy",
            Self::Failed => "failed",
        }
    }
}

/// How often times came, by upper bounds in seconds.
#[derive(Debug, Clone, PartialEq)]
pub struct Histogram {
    /// Upper bounds in seconds, ascending.
    pub bounds: &'static [f64],
    /// How many times were at most each bound and above the one before; last, those above all.
    pub counts: Vec<u64>,
    /// All times added, in seconds.
    pub sum: f64,
}

impl Histogram {
    fn new(bounds: &'static [f64]) -> Self {
        Self {
            bounds,
            counts: vec![0; bounds.len() + 1],
            sum: 0.0,
        }
    }

    fn add(&mut self, time: Duration) {
        let seconds = time.as_secs_f64();
        let at = self.bounds.partition_point(|&bound| bound < seconds);
        self.counts[at] += 1;
        self.sum += seconds;
    }

    /// How many times there are.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

const REQUEST_BOUNDS: &[f64] = &[
    0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
];
const TOKEN_BOUNDS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
];

/// What was served since the start, and what is at hand.
#[derive(Debug, Clone, PartialEq)]
pub struct Numbers {
    /// Requests that ended, by how.
    pub requests: BTreeMap<Outcome, u64>,
    /// Tokens of prompts that were taken, and of texts to embed.
    pub prompt_tokens: u64,
    /// Those of them that were in a cache.
    pub cached_tokens: u64,
    /// Tokens that were written.
    pub completion_tokens: u64,
    /// From a request to its first token.
    pub first_token: Histogram,
    /// From one token of an answer to the next.
    pub token: Histogram,
    /// From a request to the start of reading.
    pub waited: Histogram,
    /// Requests that wait.
    pub waiting: usize,
    /// Requests that are answered.
    pub running: usize,
    /// Bytes of KV caches in use.
    pub kv_bytes: u64,
    /// Bytes of KV caches that are kept for later requests.
    pub kept_bytes: u64,
    /// How many such caches.
    pub kept_prefixes: usize,
    /// Sessions that the circle's devices keep for later requests.
    pub split_kept: usize,
    /// Other devices of the circle that are connected.
    pub devices: usize,
    /// Failures of devices that answers survived.
    pub recoveries: u64,
    /// Tokens that were guessed and sent ahead to devices.
    pub drafts_sent: u64,
    /// Those of them that came true.
    pub drafts_right: u64,
    /// Bytes of the weights of models that are loaded.
    pub weight_bytes: u64,
    /// Models that are loaded.
    pub models: usize,
}

impl Default for Numbers {
    fn default() -> Self {
        Self {
            requests: BTreeMap::new(),
            prompt_tokens: 0,
            cached_tokens: 0,
            completion_tokens: 0,
            first_token: Histogram::new(REQUEST_BOUNDS),
            token: Histogram::new(TOKEN_BOUNDS),
            waited: Histogram::new(REQUEST_BOUNDS),
            waiting: 0,
            running: 0,
            kv_bytes: 0,
            kept_bytes: 0,
            kept_prefixes: 0,
            split_kept: 0,
            devices: 0,
            recoveries: 0,
            drafts_sent: 0,
            drafts_right: 0,
            weight_bytes: 0,
            models: 0,
        }
    }
}

/// The numbers that grow, shared by all models' threads.
#[derive(Default)]
pub(super) struct Counters(Mutex<Numbers>);

impl Counters {
    fn lock(&self) -> MutexGuard<'_, Numbers> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn get(&self) -> Numbers {
        self.lock().clone()
    }

    pub(super) fn ended(&self, outcome: Outcome) {
        *self.lock().requests.entry(outcome).or_default() += 1;
    }

    /// A prompt is read from here on.
    pub(super) fn started(&self, prompt: usize, cached: usize, waited: Duration) {
        let mut numbers = self.lock();
        numbers.prompt_tokens += prompt as u64;
        numbers.cached_tokens += cached as u64;
        numbers.waited.add(waited);
    }

    /// What came of a request that the circle's devices computed.
    pub(super) fn circle(&self, drafts_sent: u64, drafts_right: u64, recoveries: u64) {
        let mut numbers = self.lock();
        numbers.drafts_sent += drafts_sent;
        numbers.drafts_right += drafts_right;
        numbers.recoveries += recoveries;
    }

    pub(super) fn first_token(&self, after: Duration) {
        let mut numbers = self.lock();
        numbers.completion_tokens += 1;
        numbers.first_token.add(after);
    }

    pub(super) fn token(&self, after: Duration) {
        let mut numbers = self.lock();
        numbers.completion_tokens += 1;
        numbers.token.add(after);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_fall_under_the_bound_that_they_do_not_exceed() {
        let mut times = Histogram::new(&[0.1, 1.0]);
        for millis in [0, 100, 101, 1000, 5000] {
            times.add(Duration::from_millis(millis));
        }
        assert_eq!(times.counts, [2, 2, 1]);
        assert_eq!(times.count(), 5);
        assert!((times.sum - 6.201).abs() < 1e-9);
    }
}
