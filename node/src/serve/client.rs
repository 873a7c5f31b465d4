//! The two ends of a request: the client that receives the answer and the thread that writes it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

use super::numbers::{Counters, Outcome};
use super::{Caller, RequestError, Update};

/// A stream of updates of one answer. Dropping it cancels the request: after the current step
/// nothing more is computed for it.
///
/// Unread updates are buffered. The buffer is bounded by the request's maximum number of tokens.
pub struct Answering(UnboundedReceiver<Update>);

impl Answering {
    /// The next update; `None` after [`Update::Done`] or [`Update::Failed`].
    pub async fn next(&mut self) -> Option<Update> {
        self.0.recv().await
    }

    /// The next update if one is already buffered.
    #[cfg(test)]
    pub(super) fn now(&mut self) -> Option<Update> {
        self.0.try_recv().ok()
    }

    /// As [`Self::next`], for threads that may block.
    pub fn blocking_next(&mut self) -> Option<Update> {
        self.0.blocking_recv()
    }
}

/// A future of the embedded texts. Dropping it cancels the request.
pub struct Embedding(oneshot::Receiver<Result<Embedded, RequestError>>);

/// Embedded texts.
#[derive(Clone, PartialEq)]
pub struct Embedded {
    /// For each text in order a vector of length 1, `[d_model]`.
    pub vectors: Vec<Vec<f32>>,
    /// The number of tokens of all texts.
    pub tokens: usize,
}

impl Future for Embedding {
    type Output = Result<Embedded, RequestError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let result = Pin::new(&mut self.0).poll(context);
        result.map(|sent| sent.unwrap_or_else(|_gone| Err(ended())))
    }
}

impl Embedding {
    /// Blocks until the vectors are ready.
    ///
    /// # Errors
    /// The same errors as awaiting it.
    pub fn blocking(self) -> Result<Embedded, RequestError> {
        self.0.blocking_recv().unwrap_or_else(|_gone| Err(ended()))
    }
}

/// The error for a compute thread that died.
fn ended() -> RequestError {
    RequestError::Failed {
        message: "the thread that computes has failed: ask again".to_owned(),
    }
}

/// Sends updates to a client before its answer starts, from any thread. The answer's stream stays
/// open until this is dropped too.
#[derive(Default)]
pub(super) struct Telling(Option<UnboundedSender<Update>>);

impl Telling {
    pub(super) fn tell(&self, update: Update) {
        if let Some(updates) = &self.0 {
            let _ = updates.send(update);
        }
    }

    /// Whether the client has disconnected.
    pub(super) fn is_gone(&self) -> bool {
        self.0.as_ref().is_some_and(UnboundedSender::is_closed)
    }
}

/// The server's end of a request. It reports the end exactly once: if it is dropped before, it
/// reports that the compute thread failed.
pub(super) struct Client {
    reply: Option<Reply>,
    counters: Arc<Counters>,
    pub(super) caller: Caller,
    /// The tracing span of the request.
    pub(super) span: tracing::Span,
    pub(super) arrived: Instant,
    /// How much of the time since then was spent loading the model.
    pub(super) loading: Duration,
}

enum Reply {
    Answer(UnboundedSender<Update>),
    Embedding(oneshot::Sender<Result<Embedded, RequestError>>),
}

impl Client {
    pub(super) fn answering(counters: &Arc<Counters>, caller: Caller) -> (Self, Answering) {
        let (updates, answering) = unbounded_channel();
        let client = Self::new(Reply::Answer(updates), counters, caller);
        (client, Answering(answering))
    }

    pub(super) fn embedding(counters: &Arc<Counters>, caller: Caller) -> (Self, Embedding) {
        let (vectors, embedding) = oneshot::channel();
        let client = Self::new(Reply::Embedding(vectors), counters, caller);
        (client, Embedding(embedding))
    }

    fn new(reply: Reply, counters: &Arc<Counters>, caller: Caller) -> Self {
        Self {
            reply: Some(reply),
            counters: Arc::clone(counters),
            caller,
            span: tracing::Span::current(),
            arrived: Instant::now(),
            loading: Duration::ZERO,
        }
    }

    pub(super) fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Whether the client has disconnected or its access is withdrawn.
    pub(super) fn is_gone(&self) -> bool {
        if self.caller.is_withdrawn() {
            return true;
        }
        match &self.reply {
            Some(Reply::Answer(updates)) => updates.is_closed(),
            Some(Reply::Embedding(vectors)) => vectors.is_closed(),
            None => true,
        }
    }

    /// A handle for sending updates from elsewhere.
    pub(super) fn telling(&self) -> Telling {
        match &self.reply {
            Some(Reply::Answer(updates)) => Telling(Some(updates.clone())),
            Some(Reply::Embedding(_)) | None => Telling::default(),
        }
    }

    /// Sends an update, if the client receives more than the final result.
    pub(super) fn tell(&self, update: Update) {
        if let Some(Reply::Answer(updates)) = &self.reply {
            // A closed channel is detected between steps.
            let _ = updates.send(update);
        }
    }

    // Counters are updated before the client is notified, so a client that sees the end finds it
    // counted.

    /// Ends the answer successfully.
    pub(super) fn done(mut self, last: Update) {
        self.counters.ended(Outcome::Answered);
        self.tell(last);
        self.reply = None;
    }

    pub(super) fn embedded(mut self, embedded: Embedded) {
        self.counters.ended(Outcome::Answered);
        if let Some(Reply::Embedding(vectors)) = self.reply.take() {
            let _ = vectors.send(Ok(embedded));
        }
    }

    pub(super) fn fail(mut self, error: RequestError) {
        self.counters.ended(outcome_of(&error));
        self.say_failed(error);
    }

    /// Ends a request that [is gone](Self::is_gone).
    pub(super) fn cancelled(mut self) {
        self.counters.ended(Outcome::Cancelled);
        if self.caller.is_withdrawn() {
            self.say_failed(RequestError::Withdrawn);
        }
        self.reply = None;
    }

    fn say_failed(&mut self, error: RequestError) {
        match self.reply.take() {
            Some(Reply::Answer(updates)) => drop(updates.send(Update::Failed(error))),
            Some(Reply::Embedding(vectors)) => drop(vectors.send(Err(error))),
            None => {}
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if self.reply.is_some() {
            self.counters.ended(Outcome::Failed);
            self.say_failed(ended());
        }
    }
}

/// The outcome that an error counts as.
pub(super) fn outcome_of(error: &RequestError) -> Outcome {
    match error {
        RequestError::UnknownModel { .. }
        | RequestError::NotFetched { .. }
        | RequestError::TooLong { .. }
        | RequestError::Spent { .. }
        | RequestError::Withdrawn
        | RequestError::Invalid { .. } => Outcome::Refused,
        RequestError::Busy { .. } => Outcome::Busy,
        RequestError::NoMemory { .. }
        | RequestError::NoDevices { .. }
        | RequestError::Failed { .. }
        | RequestError::Stopping => Outcome::Failed,
    }
}
