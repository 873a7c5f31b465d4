//! Metrics in Prometheus's text format.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::serve::{Histogram, Numbers};

/// Request counters.
#[derive(Default)]
pub(super) struct Counters {
    active: AtomicU64,
    ended: Mutex<BTreeMap<(String, u16), u64>>,
    callers: Mutex<BTreeMap<&'static str, u64>>,
}

impl Counters {
    /// Counts a request that has arrived.
    pub(super) fn begun(&self) {
        self.active.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a request by the kind of its sender.
    pub(super) fn sent_by(&self, kind: &'static str) {
        let mut callers = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
        *callers.entry(kind).or_default() += 1;
    }

    /// Counts an ended request by its status; 0 if the client left before there was one.
    pub(super) fn ended(&self, route: &str, status: u16) {
        self.active.fetch_sub(1, Ordering::Relaxed);
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        *ended.entry((route.to_owned(), status)).or_default() += 1;
    }
}

fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn one(text: &mut String, name: &str, kind: &str, help: &str, value: u64) {
    head(text, name, kind, help);
    let _ = writeln!(text, "{name} {value}");
}

/// All metrics as text.
pub(super) fn text(counters: &Counters, connections: usize, numbers: &Numbers) -> String {
    let mut text = String::new();
    let name = "potluck_http_requests_total";
    head(&mut text, name, "counter", "Requests by path and status.");
    let ended = counters
        .ended
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    for ((route, status), count) in &*ended {
        let _ = writeln!(
            text,
            "{name}{{path=\"{route}\",status=\"{status}\"}} {count}"
        );
    }
    drop(ended);
    let name = "potluck_http_callers_total";
    let help = "Requests by who sends them: the owner, a guest, or nobody in particular.";
    head(&mut text, name, "counter", help);
    let callers = counters.callers.lock();
    for (kind, count) in &*callers.unwrap_or_else(PoisonError::into_inner) {
        let _ = writeln!(text, "{name}{{caller=\"{kind}\"}} {count}");
    }
    let gauge = "gauge";
    let active = counters.active.load(Ordering::Relaxed);
    let name = "potluck_http_requests_active";
    one(&mut text, name, gauge, "Requests under way.", active);
    let name = "potluck_http_connections";
    let open = connections as u64;
    one(&mut text, name, gauge, "Connections that are open.", open);
    of_service(&mut text, numbers);
    text
}

/// One metric: its name after `potluck_`, its type, its help and its value.
type Number = (&'static str, &'static str, &'static str, u64);

fn of_service(text: &mut String, numbers: &Numbers) {
    let name = "potluck_requests_total";
    head(
        text,
        name,
        "counter",
        "Requests to models, by how they ended.",
    );
    for (outcome, count) in &numbers.requests {
        let outcome = outcome.name();
        let _ = writeln!(text, "{name}{{outcome=\"{outcome}\"}} {count}");
    }
    let name = "potluck_tokens_total";
    let help = "Tokens of prompts, those of them that were kept from before, and of answers.";
    head(text, name, "counter", help);
    for (kind, count) in [
        ("prompt", numbers.prompt_tokens),
        ("cached", numbers.cached_tokens),
        ("completion", numbers.completion_tokens),
    ] {
        let _ = writeln!(text, "{name}{{kind=\"{kind}\"}} {count}");
    }
    for (name, help, times) in [
        (
            "potluck_time_to_first_token_seconds",
            "From a request to the first token of its answer.",
            &numbers.first_token,
        ),
        (
            "potluck_time_per_token_seconds",
            "From one token of an answer to the next.",
            &numbers.token,
        ),
        (
            "potluck_waiting_seconds",
            "From a request to the start of reading it.",
            &numbers.waited,
        ),
    ] {
        write_times(text, name, help, times);
    }
    let name = "potluck_drafts_total";
    let help = "Tokens guessed and computed ahead, and those of them that were right.";
    head(text, name, "counter", help);
    for (kind, count) in [
        ("sent", numbers.drafts_sent),
        ("right", numbers.drafts_right),
    ] {
        let _ = writeln!(text, "{name}{{kind=\"{kind}\"}} {count}");
    }
    let name = "potluck_recoveries_total";
    let help = "Failures of devices of the circle that answers survived.";
    one(text, name, "counter", help, numbers.recoveries);
    gauges_of_service(text, numbers);
}

fn gauges_of_service(text: &mut String, numbers: &Numbers) {
    let (waiting, running) = (numbers.waiting as u64, numbers.running as u64);
    let (models, kept) = (numbers.models as u64, numbers.kept_prefixes as u64);
    let (devices, split_kept) = (numbers.devices as u64, numbers.split_kept as u64);
    let gauges: [Number; 10] = [
        ("requests_waiting", "gauge", "Requests that wait.", waiting),
        (
            "requests_running",
            "gauge",
            "Requests that are answered.",
            running,
        ),
        ("models_loaded", "gauge", "Models in memory.", models),
        (
            "weight_bytes",
            "gauge",
            "Weights of those.",
            numbers.weight_bytes,
        ),
        (
            "packed_bytes",
            "gauge",
            "Packed weights that are computed from, those of layers for others included.",
            numbers.packed_bytes,
        ),
        ("kv_bytes", "gauge", "Caches in use.", numbers.kv_bytes),
        (
            "kept_bytes",
            "gauge",
            "Caches kept for requests that begin alike.",
            numbers.kept_bytes,
        ),
        (
            "kept_prefixes",
            "gauge",
            "How many of those there are.",
            kept,
        ),
        (
            "circle_devices_connected",
            "gauge",
            "Other devices of the circle that are connected.",
            devices,
        ),
        (
            "split_sessions_kept",
            "gauge",
            "Conversations that those keep for requests that begin alike.",
            split_kept,
        ),
    ];
    for (name, kind, help, value) in gauges {
        one(text, &format!("potluck_{name}"), kind, help, value);
    }
}

fn write_times(text: &mut String, name: &str, help: &str, times: &Histogram) {
    head(text, name, "histogram", help);
    // Prometheus's buckets are cumulative: each counts all values up to its bound.
    let mut so_far = 0;
    let counts = times.counts.iter();
    for (bound, count) in times.bounds.iter().zip(counts) {
        so_far += count;
        let _ = writeln!(text, "{name}_bucket{{le=\"{bound}\"}} {so_far}");
    }
    let (all, sum) = (times.count(), times.sum);
    let _ = writeln!(
        text,
        "{name}_bucket{{le=\"+Inf\"}} {all}\n{name}_sum {sum}\n{name}_count {all}"
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::Outcome;

    #[test]
    fn what_is_counted_is_written_as_prometheus_reads_it() {
        let counters = Counters::default();
        counters.begun();
        counters.begun();
        counters.ended("/v1/models", 200);
        counters.sent_by("guest");
        let mut numbers = Numbers {
            cached_tokens: 7,
            running: 2,
            devices: 5,
            recoveries: 1,
            packed_bytes: 11,
            drafts_sent: 9,
            drafts_right: 6,
            split_kept: 3,
            ..Numbers::default()
        };
        numbers.requests.insert(Outcome::Busy, 4);
        numbers.first_token.counts[0] = 1;
        numbers.first_token.counts[2] = 2;
        let text = text(&counters, 3, &numbers);
        for line in [
            "# TYPE potluck_http_requests_total counter",
            "potluck_http_requests_total{path=\"/v1/models\",status=\"200\"} 1",
            "potluck_http_callers_total{caller=\"guest\"} 1",
            "potluck_http_requests_active 1",
            "potluck_http_connections 3",
            "potluck_requests_total{outcome=\"busy\"} 4",
            "potluck_tokens_total{kind=\"cached\"} 7",
            "potluck_time_to_first_token_seconds_bucket{le=\"0.025\"} 1",
            "potluck_time_to_first_token_seconds_bucket{le=\"0.05\"} 3",
            "potluck_time_to_first_token_seconds_bucket{le=\"+Inf\"} 3",
            "potluck_requests_running 2",
            "potluck_circle_devices_connected 5",
            "potluck_recoveries_total 1",
            "potluck_packed_bytes 11",
            "potluck_drafts_total{kind=\"sent\"} 9",
            "potluck_drafts_total{kind=\"right\"} 6",
            "potluck_split_sessions_kept 3",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
    }
}
