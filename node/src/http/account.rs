//! Per-request accounting: one span whose single log event is emitted when the request ends, and
//! counters for the metrics. Prompts and answers are never recorded.
//!
//! | field | |
//! |---|---|
//! | `method`, `path` | the path as a route of the API, `/v1/models/{*id}`; `other` for unknown paths |
//! | `client` | the client's address |
//! | `model` | this node's name for the model |
//! | `status`, `how` | the HTTP status, and how the answer ended: `done`, `failed`, `the client went` |
//! | `prompt_tokens`, `cached_tokens` | tokens of the prompt, and how many of them were cached |
//! | `tokens` | tokens of the answer, summed over all choices |
//! | `waited_ms`, `first_token_ms`, `ms` | from the request's head to its turn, its first text, its end |
//! | `tokens_per_s` | tokens after the first, divided by the time after the first |

use std::net::IpAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tracing::Span;
use tracing::field::Empty;

use super::connection::Phase;
use super::fault::Fault;
use super::guard::Visitor;
use super::metrics::Counters;
use super::room::Taken;
use crate::guests::Places;
use crate::serve::{RequestError, Update};

/// One request, from its head to the end of the response body. Dropping the last reference logs and
/// counts it.
pub(super) struct Account {
    span: Span,
    begun: Instant,
    method: String,
    route: String,
    client: Option<String>,
    counters: Arc<Counters>,
    phase: Option<Phase>,
    visitor: OnceLock<Visitor>,
    /// A guest's places, held until the answer ends.
    places: Mutex<Option<Places>>,
    /// The memory of the request's body, held until the answer ends.
    room: Mutex<Option<Taken>>,
    seen: Mutex<Seen>,
}

/// Measurements so far.
#[derive(Debug, Clone, Default)]
struct Seen {
    status: u16,
    model: Option<String>,
    prompt_tokens: usize,
    cached_tokens: usize,
    completion_tokens: usize,
    waited: Option<Duration>,
    first_token: Option<Duration>,
    asked: usize,
    done: usize,
    failed: bool,
}

impl Account {
    pub(super) fn new(
        method: &str,
        route: &str,
        counters: Arc<Counters>,
        client: Option<IpAddr>,
        phase: Option<Phase>,
    ) -> Arc<Self> {
        counters.begun();
        let span = tracing::info_span!(
            "request",
            method,
            path = route,
            client = Empty,
            model = Empty,
            status = Empty,
            how = Empty,
            prompt_tokens = Empty,
            cached_tokens = Empty,
            tokens = Empty,
            waited_ms = Empty,
            first_token_ms = Empty,
            tokens_per_s = Empty,
        );
        if let Some(client) = client {
            span.record("client", tracing::field::display(client));
        }
        Arc::new(Self {
            span,
            client: client.map(|client| client.to_string()),
            begun: Instant::now(),
            method: method.to_owned(),
            route: route.to_owned(),
            counters,
            phase,
            visitor: OnceLock::new(),
            places: Mutex::default(),
            room: Mutex::default(),
            seen: Mutex::default(),
        })
    }

    fn note(&self, note: impl FnOnce(&mut Seen)) {
        note(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Runs `act` inside the request's span.
    pub(super) fn within<T>(&self, act: impl FnOnce() -> T) -> T {
        self.span.in_scope(act)
    }

    /// Sets the visitor, once it is known.
    pub(super) fn is_sent_by(&self, visitor: Visitor) {
        self.counters.sent_by(visitor.kind());
        // Set only once.
        let _ = self.visitor.set(visitor);
    }

    /// The visitor who sent the request.
    pub(super) fn visitor(&self) -> &Visitor {
        self.visitor.get().unwrap_or(&Visitor::Nobody)
    }

    /// Takes `answers` places if the visitor is a guest.
    ///
    /// # Errors
    /// The guest's limits do not allow it now.
    pub(super) fn take_places(&self, answers: usize) -> Result<(), Fault> {
        if let Some(guest) = self.visitor().guest() {
            let places = guest.begin(answers)?;
            *self.places.lock().unwrap_or_else(PoisonError::into_inner) = Some(places);
        }
        Ok(())
    }

    /// Keeps the room of the request's body until the answer ends.
    pub(super) fn keeps(&self, room: Taken) {
        *self.room.lock().unwrap_or_else(PoisonError::into_inner) = Some(room);
    }

    /// Records the response's status.
    pub(super) fn answered(&self, status: u16) {
        self.note(|seen| seen.status = status);
    }

    /// Records the model, by this node's name for it, and the number of choices.
    pub(super) fn asks(&self, model: &str, choices: usize) {
        self.note(|seen| {
            seen.model = Some(model.to_owned());
            seen.asked = choices;
        });
    }

    /// Records that the request failed.
    pub(super) fn failed(&self, _: &RequestError) {
        self.note(|seen| seen.failed = true);
    }

    /// Records an update of the answer.
    pub(super) fn saw(&self, update: &Update) {
        let now = self.begun.elapsed();
        match update {
            Update::Waiting { .. } | Update::Loading { .. } | Update::Reading { .. } => {}
            Update::Started { .. } => self.note(|seen| {
                seen.waited.get_or_insert(now);
            }),
            Update::Reasoning(_)
            | Update::Content { .. }
            | Update::ToolCall { .. }
            | Update::ToolArguments(_) => self.note(|seen| {
                seen.first_token.get_or_insert(now);
            }),
            Update::Done(summary) => self.note(|seen| {
                seen.prompt_tokens = summary.prompt_tokens;
                seen.cached_tokens = summary.cached_tokens;
                seen.completion_tokens += summary.completion_tokens;
                seen.done += 1;
            }),
            Update::Failed(error) => self.failed(error),
        }
    }
}

impl Seen {
    fn how(&self) -> &'static str {
        match (self.failed, self.done < self.asked) {
            (true, _) => "failed",
            (false, true) => "the client went",
            (false, false) => "done",
        }
    }

    /// Rate of the tokens after the first; `all` is the request's whole duration.
    fn tokens_per_s(&self, all: Duration) -> Option<f64> {
        let tokens = self.completion_tokens.checked_sub(1).filter(|n| *n > 0)?;
        let time = all.checked_sub(self.first_token?)?.as_secs_f64();
        let rate = tokens as f64 / time;
        rate.is_finite().then(|| (rate * 10.0).round() / 10.0)
    }

    /// Writes the measurements into the span.
    fn record(&self, span: &Span, all: Duration) {
        span.record("model", self.model.as_deref());
        span.record("how", self.how());
        span.record("prompt_tokens", signed(self.prompt_tokens));
        span.record("cached_tokens", signed(self.cached_tokens));
        span.record("tokens", signed(self.completion_tokens));
        span.record("waited_ms", self.waited.map(milliseconds).map(signed));
        span.record(
            "first_token_ms",
            self.first_token.map(milliseconds).map(signed),
        );
        span.record("tokens_per_s", self.tokens_per_s(all));
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        if let Some(phase) = &self.phase {
            phase.waiting();
        }
        let seen = self.seen.get_mut().unwrap_or_else(PoisonError::into_inner);
        let seen = std::mem::take(seen);
        let caller = self.visitor().kind();
        self.counters.ended(&self.route, seen.status);
        self.span.record("status", signed(seen.status));
        let client = self.client.as_deref();
        if seen.asked == 0 {
            // Nothing was computed.
            let _in_span = self.span.enter();
            if self.method == "GET" && seen.status < 400 {
                tracing::debug!(caller, client, status = seen.status, "answered");
            } else {
                tracing::info!(caller, client, status = seen.status, "answered");
            }
            return;
        }
        let all = self.begun.elapsed();
        seen.record(&self.span, all);
        let _in_span = self.span.enter();
        tracing::info!(
            caller,
            client,
            model = seen.model.as_deref().unwrap_or_default(),
            status = seen.status,
            how = seen.how(),
            prompt_tokens = seen.prompt_tokens,
            cached_tokens = seen.cached_tokens,
            tokens = seen.completion_tokens,
            waited_ms = seen.waited.map(milliseconds),
            first_token_ms = seen.first_token.map(milliseconds),
            ms = milliseconds(all),
            tokens_per_s = seen.tokens_per_s(all),
            "answered"
        );
    }
}

/// A number as an OpenTelemetry attribute; other integer types would be exported as text.
fn signed(number: impl TryInto<i64>) -> i64 {
    number.try_into().unwrap_or(i64::MAX)
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_of_the_tokens_after_the_first() {
        let seen = |completion_tokens, first: u64| Seen {
            completion_tokens,
            first_token: Some(Duration::from_millis(first)),
            ..Seen::default()
        };
        let all = Duration::from_millis(1500);
        assert_eq!(seen(11, 500).tokens_per_s(all), Some(10.0));
        assert_eq!(seen(1, 500).tokens_per_s(all), None);
        assert_eq!(seen(11, 1500).tokens_per_s(all), None);
        assert_eq!(Seen::default().tokens_per_s(all), None);
    }
}
