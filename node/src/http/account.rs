//! What is told of each request: one event of the log, and numbers. Never text.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tracing::Span;

use super::connection::Phase;
use super::fault::Fault;
use super::guard::Visitor;
use super::metrics::Counters;
use crate::guests::Places;
use crate::serve::{RequestError, Update};

/// One request, from its head to the end of its answer's body. When the last one who has a part in it
/// lets it go, it is told and counted.
pub(super) struct Account {
    span: Span,
    begun: Instant,
    method: String,
    route: String,
    counters: Arc<Counters>,
    phase: Option<Phase>,
    visitor: OnceLock<Visitor>,
    /// What a guest has until the answer's end.
    places: Mutex<Option<Places>>,
    seen: Mutex<Seen>,
}

/// What is known so far.
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
        phase: Option<Phase>,
    ) -> Arc<Self> {
        counters.begun();
        Arc::new(Self {
            span: tracing::info_span!("request", method, path = route),
            begun: Instant::now(),
            method: method.to_owned(),
            route: route.to_owned(),
            counters,
            phase,
            visitor: OnceLock::new(),
            places: Mutex::default(),
            seen: Mutex::default(),
        })
    }

    fn note(&self, note: impl FnOnce(&mut Seen)) {
        note(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Does something for it: what is told meanwhile stands in its span.
    pub(super) fn within<T>(&self, act: impl FnOnce() -> T) -> T {
        self.span.in_scope(act)
    }

    /// Who sends it, once that is known.
    pub(super) fn is_sent_by(&self, visitor: Visitor) {
        self.counters.sent_by(visitor.kind());
        // It is said once.
        let _ = self.visitor.set(visitor);
    }

    /// Who sends it.
    pub(super) fn visitor(&self) -> &Visitor {
        self.visitor.get().unwrap_or(&Visitor::Nobody)
    }

    /// Takes places for so many answers, if a guest asks for them.
    ///
    /// # Errors
    /// The guest may not have them now.
    pub(super) fn take_places(&self, answers: usize) -> Result<(), Fault> {
        if let Some(guest) = self.visitor().guest() {
            let places = guest.begin(answers)?;
            *self.places.lock().unwrap_or_else(PoisonError::into_inner) = Some(places);
        }
        Ok(())
    }

    /// The status that the client is told.
    pub(super) fn answered(&self, status: u16) {
        self.note(|seen| seen.status = status);
    }

    /// The model that answers, by the name that this node has for it.
    pub(super) fn asks(&self, model: &str, choices: usize) {
        self.note(|seen| {
            seen.model = Some(model.to_owned());
            seen.asked = choices;
        });
    }

    /// It is not answered.
    pub(super) fn failed(&self, _: &RequestError) {
        self.note(|seen| seen.failed = true);
    }

    /// What happens to it.
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
        if seen.asked == 0 {
            // Nobody computed anything.
            let _in_span = self.span.enter();
            if self.method == "GET" && seen.status < 400 {
                tracing::debug!(caller, status = seen.status, "answered");
            } else {
                tracing::info!(caller, status = seen.status, "answered");
            }
            return;
        }
        let _in_span = self.span.enter();
        tracing::info!(
            caller,
            model = seen.model.as_deref().unwrap_or_default(),
            status = seen.status,
            how = seen.how(),
            prompt_tokens = seen.prompt_tokens,
            cached_tokens = seen.cached_tokens,
            tokens = seen.completion_tokens,
            waited_ms = seen.waited.map(milliseconds),
            first_token_ms = seen.first_token.map(milliseconds),
            ms = milliseconds(self.begun.elapsed()),
            "answered"
        );
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
