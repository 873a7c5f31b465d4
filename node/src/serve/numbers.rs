//! Counters and gauges of the service, for metrics.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::answer::Drafts;

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// Answered in full.
    Answered,
    /// The client disconnected.
    Cancelled,
    /// The request was invalid, for example an unknown model or a prompt that is too long.
    Refused,
    /// The queue was full.
    Busy,
    /// The node failed, lacked memory, or stopped.
    Failed,
}

impl Outcome {
    /// The label used in metrics.
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

/// A histogram of times.
#[derive(Debug, Clone, PartialEq)]
pub struct Histogram {
    /// Upper bounds of the buckets in seconds, ascending.
    pub bounds: &'static [f64],
    /// Times per bucket: above the previous bound, up to this one. The last bucket has no bound.
    pub counts: Vec<u64>,
    /// The sum of all times in seconds.
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

    /// The number of times.
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

/// Totals since the start, and the current load.
#[derive(Debug, Clone, PartialEq)]
pub struct Numbers {
    /// Ended requests by outcome.
    pub requests: BTreeMap<Outcome, u64>,
    /// Tokens of accepted prompts and of texts to embed.
    pub prompt_tokens: u64,
    /// Those of them found in the prefix cache.
    pub cached_tokens: u64,
    /// Generated tokens.
    pub completion_tokens: u64,
    /// Time from a request to its first token.
    pub first_token: Histogram,
    /// Time between consecutive tokens of an answer.
    pub token: Histogram,
    /// Time from a request to the start of prompt processing.
    pub waited: Histogram,
    /// Queued requests.
    pub waiting: usize,
    /// Running requests.
    pub running: usize,
    /// Bytes of KV caches in use.
    pub kv_bytes: u64,
    /// Bytes of KV caches kept as cached prefixes.
    pub kept_bytes: u64,
    /// The number of cached prefixes.
    pub kept_prefixes: usize,
    /// Idle sessions kept on the circle's devices.
    pub split_kept: usize,
    /// Connected devices of the circle, without this one.
    pub devices: usize,
    /// Device failures that answers recovered from.
    pub recoveries: u64,
    /// Tokens guessed, and computed or sent to devices before it was known whether they are right.
    pub drafts_sent: u64,
    /// Those of them that were right.
    pub drafts_right: u64,
    /// Bytes of the weights of loaded models.
    pub weight_bytes: u64,
    /// Bytes of packed weights that models are computed from.
    pub packed_bytes: u64,
    /// Loaded models.
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
            packed_bytes: 0,
            models: 0,
        }
    }
}

/// The totals, shared by all models' threads.
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

    /// Counts a request whose prompt processing starts.
    pub(super) fn started(&self, prompt: usize, cached: usize, waited: Duration) {
        let mut numbers = self.lock();
        numbers.prompt_tokens += prompt as u64;
        numbers.cached_tokens += cached as u64;
        numbers.waited.add(waited);
    }

    /// Counts guesses.
    pub(super) fn drafts(&self, Drafts { sent, right }: Drafts) {
        let mut numbers = self.lock();
        numbers.drafts_sent += sent;
        numbers.drafts_right += right;
    }

    /// Counts failures of the circle's devices that answers recovered from.
    pub(super) fn recovered(&self, recoveries: u64) {
        self.lock().recoveries += recoveries;
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
