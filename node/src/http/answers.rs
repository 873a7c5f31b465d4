//! Who answers requests, and what comes of them.

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

/// Answers requests: the node's [`Service`](crate::serve::Service), or a script in a test. What looks at
/// files may take its time: it is not called on the thread that serves connections.
pub(super) trait Answers: Send + Sync + 'static {
    /// The models that there are. Looks at files.
    fn models(&self) -> Vec<ModelCard>;
    /// One of them; the default one for an empty name. Looks at files.
    fn card(&self, name: &str) -> Result<ModelCard, RequestError>;
    /// Those in memory.
    fn loaded(&self) -> Vec<LoadedModel>;
    /// Has one let go once nobody asks it anything.
    fn unload(&self, name: &str) -> Result<(), RequestError>;
    /// Begins to answer. Whoever drops what comes back ends it.
    fn submit(&self, request: Request) -> Result<Updates, RequestError>;
    /// Vectors of texts.
    fn embed(
        &self,
        model: &str,
        inputs: Vec<Input>,
        caller: Caller,
    ) -> Result<BoxFuture<'static, Result<Embedded, RequestError>>, RequestError>;
    /// What there is to measure.
    fn numbers(&self) -> Numbers;
}

/// What happens to one request.
pub(super) type Updates = Pin<Box<dyn Stream<Item = Update> + Send>>;

/// What happens to the choices of one request, as it comes. Dropping it ends all of them.
pub(super) struct Choices {
    all: Vec<Option<Updates>>,
    /// Whose turn it is to be looked at first.
    first: usize,
    account: Arc<Account>,
}

impl Choices {
    /// Asks for these; a choice that cannot be begun ends those before it.
    ///
    /// # Errors
    /// That of the first that cannot.
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

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// The next thing that happens, and to which choice; `None` once all have ended.
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

/// What is said of an answer that ended without a word.
pub(super) fn lost() -> RequestError {
    RequestError::Failed {
        message: "the answer ended early".to_owned(),
    }
}

/// Whether requests can say whether a model thinks before it answers.
pub(super) fn has_thinking_switch(card: &ModelCard) -> bool {
    let inspection = card.inspection.as_ref();
    inspection.is_some_and(|inspection| inspection.thinking_switch)
}

/// What is asked of a model about thinking before it answers. That it thinks is a wish: one that has no
/// switch for it does as it does. That it does not think is not: one that always does cannot be told.
pub(super) fn thinking(card: &ModelCard, asked: Option<bool>) -> Option<bool> {
    asked.filter(|thinks| !thinks || has_thinking_switch(card))
}
