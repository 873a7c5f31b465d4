//! The interface between the HTTP API and whatever answers its requests.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::Stream;
use futures_util::future::BoxFuture;

use super::account::Account;
use crate::serve::{
    Caller, Embedded, Input, LoadedModel, ModelCard, Numbers, Request, RequestError, Update,
};

/// Answers requests: the node's [`Service`](crate::serve::Service), or a script in tests. Methods
/// that read files may block, so they are not called on the thread that serves connections.
pub(super) trait Answers: Send + Sync + 'static {
    /// All available models. Reads files.
    fn models(&self) -> Vec<ModelCard>;
    /// One model; the default model for an empty name. Reads files.
    fn card(&self, name: &str) -> Result<ModelCard, RequestError>;
    /// The models in memory.
    fn loaded(&self) -> Vec<LoadedModel>;
    /// Unloads a model once it has no more requests.
    fn unload(&self, name: &str) -> Result<(), RequestError>;
    /// Starts an answer. Dropping the returned stream cancels it.
    fn submit(&self, request: Request) -> Result<Updates, RequestError>;
    /// Embeds texts as vectors.
    fn embed(
        &self,
        model: &str,
        inputs: Vec<Input>,
        caller: Caller,
    ) -> Result<BoxFuture<'static, Result<Embedded, RequestError>>, RequestError>;
    /// Current values for the metrics.
    fn numbers(&self) -> Numbers;
}

/// Updates of one request.
pub(super) type Updates = Pin<Box<dyn Stream<Item = Update> + Send>>;

/// The merged updates of all choices of one request. Dropping it cancels all of them.
pub(super) struct Choices {
    all: Vec<Option<Updates>>,
    /// Index of the choice to poll first, rotated for fairness.
    first: usize,
    account: Arc<Account>,
}

impl Choices {
    /// Submits one request per choice. If one is refused, those before it are cancelled.
    ///
    /// # Errors
    /// The error of the first request that was refused.
    pub(super) fn begin(
        answers: &dyn Answers,
        requests: Vec<Request>,
        account: Arc<Account>,
    ) -> Result<Self, RequestError> {
        let all: Result<Vec<_>, _> = account.within(|| {
            let begun = requests.into_iter().map(|request| answers.submit(request));
            begun.map(|updates| updates.map(Some)).collect()
        });
        let all = all.inspect_err(|error| account.failed(error))?;
        Ok(Self {
            all,
            first: 0,
            account,
        })
    }

    /// Number of choices.
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// The next update and the index of its choice; `None` once all choices have ended.
    pub(super) async fn next(&mut self) -> Option<(usize, Update)> {
        poll_fn(|context| self.poll_next(context)).await
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<(usize, Update)>> {
        let count = self.all.len();
        for offset in 0..count {
            let index = (self.first + offset) % count;
            let Some(updates) = &mut self.all[index] else {
                continue;
            };
            match updates.as_mut().poll_next(context) {
                Poll::Pending => {}
                Poll::Ready(Some(update)) => {
                    self.first = index + 1;
                    self.account.saw(&update);
                    return Poll::Ready(Some((index, update)));
                }
                Poll::Ready(None) => self.all[index] = None,
            }
        }
        match self.all.iter().all(Option::is_none) {
            true => Poll::Ready(None),
            false => Poll::Pending,
        }
    }
}

/// The error for an answer whose stream ended without a final update.
pub(super) fn lost() -> RequestError {
    RequestError::Failed {
        message: "the answer ended early".to_owned(),
    }
}

/// Whether requests can turn a model's thinking on and off.
pub(super) fn has_thinking_switch(card: &ModelCard) -> bool {
    let inspection = card.inspection.as_ref();
    inspection.is_some_and(|inspection| inspection.thinking_switch)
}

/// The thinking setting to request of a model. Thinking on is a preference: a model without a
/// switch ignores it. Thinking off is binding: a model that always thinks refuses it.
pub(super) fn thinking(card: &ModelCard, asked: Option<bool>) -> Option<bool> {
    asked.filter(|thinks| !thinks || has_thinking_switch(card))
}
