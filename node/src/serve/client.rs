//! The two ends of a request: who asked, and the thread that answers.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

use super::numbers::{Counters, Outcome};
use super::{Caller, RequestError, Update};

/// An answer as it comes. Dropping it cancels the request: nothing is computed for it beyond the step
/// at hand.
///
/// What is not read waits in memory, at most what the request may get: its tokens are bounded.
pub struct Answering(UnboundedReceiver<Update>);

impl Answering {
    /// What happens next; `None` after [`Update::Done`] or [`Update::Failed`].
    pub async fn next(&mut self) -> Option<Update> {
        self.0.recv().await
    }

    /// What has happened and was not read.
    #[cfg(test)]
    pub(super) fn now(&mut self) -> Option<Update> {
        self.0.try_recv().ok()
    }

    /// As [`Self::next`], for threads that may wait.
    pub fn blocking_next(&mut self) -> Option<Update> {
        self.0.blocking_recv()
    }
}

/// Texts as vectors, once they are there. Dropping it cancels the request.
pub struct Embedding(oneshot::Receiver<Result<Embedded, RequestError>>);

/// Texts as vectors.
#[derive(Clone, PartialEq)]
pub struct Embedded {
    /// For each text in order, `[d_model]` numbers: a vector of length 1.
    pub vectors: Vec<Vec<f32>>,
    /// The tokens of all texts.
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
    /// Waits for the vectors, on a thread that may.
    ///
    /// # Errors
    /// As the future's.
    pub fn blocking(self) -> Result<Embedded, RequestError> {
        self.0.blocking_recv().unwrap_or_else(|_gone| Err(ended()))
    }
}

/// Whoever computed is no more.
fn ended() -> RequestError {
    RequestError::Failed {
        message: "the thread that computes has failed: ask again".to_owned(),
    }
}

/// Tells one who asked what happens before the answer, from any thread. The answer ends only when this
/// is dropped, too.
#[derive(Default)]
pub(super) struct Telling(Option<UnboundedSender<Update>>);

impl Telling {
    pub(super) fn tell(&self, update: Update) {
        if let Some(updates) = &self.0 {
            let _ = updates.send(update);
        }
    }

    /// Whether there was one who listened, and is no more.
    pub(super) fn is_gone(&self) -> bool {
        self.0.as_ref().is_some_and(UnboundedSender::is_closed)
    }
}

/// The one who asked, as the threads that answer see them. It hears the end exactly once: if nobody
/// says it, that the threads failed.
pub(super) struct Client {
    reply: Option<Reply>,
    counters: Arc<Counters>,
    pub(super) caller: Caller,
    /// What events of the request stand in.
    pub(super) span: tracing::Span,
    pub(super) arrived: Instant,
    /// How long of the time since then the model was made ready.
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

    /// Whether nobody listens any more, or whoever does may ask no longer.
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

    /// For telling it of what is done for it elsewhere.
    pub(super) fn telling(&self) -> Telling {
        match &self.reply {
            Some(Reply::Answer(updates)) => Telling(Some(updates.clone())),
            Some(Reply::Embedding(_)) | None => Telling::default(),
        }
    }

    /// Says what happens, to those who hear more than the end.
    pub(super) fn tell(&self, update: Update) {
        if let Some(Reply::Answer(updates)) = &self.reply {
            // Whether it is heard is asked between steps.
            let _ = updates.send(update);
        }
    }

    // An end is counted before it is told: whoever heard of it finds it in the numbers.

    /// The answer is whole.
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

    /// It [is gone](Self::is_gone).
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

/// What a refusal counts as.
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
