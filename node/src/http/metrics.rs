//! Numbers for Prometheus, in its text format.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::serve::Numbers;

/// Upper bounds of a histogram's buckets, in seconds.
const FIRST_TOKEN: [f64; 10] = [0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0];
const PER_TOKEN: [f64; 10] = [0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0];

/// What is counted of requests.
#[derive(Default)]
pub(super) struct Counters {
    active: AtomicU64,
    ended: Mutex<BTreeMap<(String, u16), u64>>,
    /// Of prompts, of those kept, of answers.
    tokens: [AtomicU64; 3],
    first_token: Histogram,
    per_token: Histogram,
}

impl Counters {
    /// A request came.
    pub(super) fn begun(&self) {
        self.active.fetch_add(1, Ordering::Relaxed);
    }

    /// It is answered, with this status; 0 if its client went before.
    pub(super) fn ended(&self, route: &str, status: u16) {
        self.active.fetch_sub(1, Ordering::Relaxed);
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        *ended.entry((route.to_owned(), status)).or_default() += 1;
    }

    /// A model answered: tokens of the prompt, those of them that were kept, and of the answer.
    pub(super) fn answered(
        &self,
        first_token: Option<Duration>,
        decode: Duration,
        tokens: [usize; 3],
    ) {
        for (counter, tokens) in self.tokens.iter().zip(tokens) {
            counter.fetch_add(tokens as u64, Ordering::Relaxed);
        }
        if let Some(time) = first_token {
            self.first_token.add(time, &FIRST_TOKEN);
        }
        let [.., written] = tokens;
        if let Some(gaps) = u32::try_from(written).ok().filter(|written| *written > 1) {
            self.per_token.add(decode / (gaps - 1), &PER_TOKEN);
        }
    }
}

/// How often a time was at most each bound.
#[derive(Default)]
struct Histogram {
    buckets: [AtomicU64; 10],
    count: AtomicU64,
    sum_us: AtomicU64,
}

impl Histogram {
    fn add(&self, time: Duration, bounds: &[f64; 10]) {
        let seconds = time.as_secs_f64();
        for (bucket, bound) in self.buckets.iter().zip(bounds) {
            if seconds <= *bound {
                bucket.fetch_add(1, Ordering::Relaxed);
            }
        }
        let us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.sum_us.fetch_add(us, Ordering::Relaxed);
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    fn write(&self, text: &mut String, name: &str, help: &str, bounds: &[f64; 10]) {
        head(text, name, "histogram", help);
        for (bucket, bound) in self.buckets.iter().zip(bounds) {
            let count = bucket.load(Ordering::Relaxed);
            let _ = writeln!(text, "{name}_bucket{{le=\"{bound}\"}} {count}");
        }
        let count = self.count.load(Ordering::Relaxed);
        let sum = self.sum_us.load(Ordering::Relaxed) as f64 / 1e6;
        let _ = writeln!(text, "{name}_bucket{{le=\"+Inf\"}} {count}");
        let _ = writeln!(text, "{name}_sum {sum}\n{name}_count {count}");
    }
}

fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn one(text: &mut String, name: &str, kind: &str, help: &str, value: u64) {
    head(text, name, kind, help);
    let _ = writeln!(text, "{name} {value}");
}

/// All of it.
pub(super) fn text(counters: &Counters, connections: usize, numbers: &Numbers) -> String {
    let mut text = String::new();
    let name = "potluck_http_requests_total";
    head(&mut text, name, "counter", "Requests by path and status.");
    let ended = counters.ended.lock().unwrap_or_else(PoisonError::into_inner);
    for ((route, status), count) in &*ended {
        let _ = writeln!(
            text,
            "{name}{{path=\"{route}\",status=\"{status}\"}} {count}"
        );
    }
    drop(ended);
    let gauge = "gauge";
    let active = counters.active.load(Ordering::Relaxed);
    let name = "potluck_http_requests_active";
    one(&mut text, name, gauge, "Requests under way.", active);
    let name = "potluck_http_connections";
    let open = connections as u64;
    one(&mut text, name, gauge, "Connections that are open.", open);
    let name = "potluck_tokens_total";
    let help = "Tokens of prompts, those of them that were kept from before, and of answers.";
    head(&mut text, name, "counter", help);
    for (kind, counter) in ["prompt", "cached", "completion"].iter().zip(&counters.tokens) {
        let count = counter.load(Ordering::Relaxed);
        let _ = writeln!(text, "{name}{{kind=\"{kind}\"}} {count}");
    }
    let name = "potluck_time_to_first_token_seconds";
    let help = "From a request to the first token of its answer.";
    counters
        .first_token
        .write(&mut text, name, help, &FIRST_TOKEN);
    let name = "potluck_time_per_token_seconds";
    let help = "From one token of an answer to the next, on the average of an answer.";
    counters.per_token.write(&mut text, name, help, &PER_TOKEN);
    of_service(&mut text, numbers);
    text
}

fn of_service(_text: &mut String, _numbers: &Numbers) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_written_as_prometheus_reads_it() {
        let counters = Counters::default();
        counters.begun();
        counters.begun();
        counters.ended("/v1/models", 200);
        let time = Duration::from_millis(20);
        counters.answered(Some(time), 4 * time, [10, 7, 5]);
        let text = text(&counters, 3, &Numbers::default());
        for line in [
            "# TYPE potluck_http_requests_total counter",
            "potluck_http_requests_total{path=\"/v1/models\",status=\"200\"} 1",
            "potluck_http_requests_active 1",
            "potluck_http_connections 3",
            "potluck_tokens_total{kind=\"cached\"} 7",
            "potluck_time_to_first_token_seconds_bucket{le=\"0.01\"} 0",
            "potluck_time_to_first_token_seconds_bucket{le=\"0.03\"} 1",
            "potluck_time_to_first_token_seconds_bucket{le=\"+Inf\"} 1",
            "potluck_time_to_first_token_seconds_sum 0.02",
            "potluck_time_per_token_seconds_bucket{le=\"0.02\"} 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
    }
}
