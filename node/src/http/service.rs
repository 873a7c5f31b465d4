//! [`Answers`] for the node's service.

use futures_util::future::BoxFuture;
use futures_util::stream;

use super::answers::{Answers, Updates};
use crate::serve::{
    Caller, Embedded, Input, LoadedModel, ModelCard, Numbers, Request, RequestError, Service,
};

impl Answers for Service {
    fn models(&self) -> Vec<ModelCard> {
        self.models()
    }

    fn card(&self, name: &str) -> Result<ModelCard, RequestError> {
        self.card(name)
            .inspect_err(|error| self.count_refused(error))
    }

    fn loaded(&self) -> Vec<LoadedModel> {
        self.loaded()
    }

    fn unload(&self, name: &str) -> Result<(), RequestError> {
        self.unload(name)
    }

    fn submit(&self, request: Request) -> Result<Updates, RequestError> {
        let answering = self.submit(request)?;
        let updates = stream::unfold(answering, |mut answering| async move {
            let update = answering.next().await?;
            Some((update, answering))
        });
        Ok(Box::pin(updates))
    }

    fn embed(
        &self,
        model: &str,
        inputs: Vec<Input>,
        caller: Caller,
    ) -> Result<BoxFuture<'static, Result<Embedded, RequestError>>, RequestError> {
        let embedding = self.embed(model, inputs, caller)?;
        Ok(Box::pin(embedding))
    }

    fn numbers(&self) -> Numbers {
        self.numbers()
    }
}
