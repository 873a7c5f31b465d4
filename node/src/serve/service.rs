//! The door to the models: names in, answers out.

use std::sync::Arc;
use std::time::Duration;

use super::caller::Caller;
use super::client::{Answering, Client, Embedding, outcome_of};
use super::engine_thread::live;
use super::models::ModelCard;
use super::numbers::Numbers;
use super::shared::Shared;
use super::work::{Raw, RawWork};
use super::{Circle, Input, Request, RequestError, Settings};
use crate::engine::ModelError;

/// Answers requests of many at once. Each model that is asked for has a thread that computes; it is
/// loaded at its first use, and unloaded when nobody used it for a while or another one needs the
/// memory.
///
/// Clones are the same service. When the last one is dropped, it stops without grace.
#[derive(Clone)]
pub struct Service(Arc<Handle>);

struct Handle(Arc<Shared>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.stop(Duration::ZERO);
    }
}

/// The service cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The default model's file is here and cannot be run.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// It would answer nobody.
    #[error("a service that answers no request at once is none: give at least 1 stream")]
    NoStreams,
    /// An alias names no model.
    #[error("the alias \"{alias}\" stands for \"{model}\", of which there is no model here")]
    Alias {
        /// The alias.
        alias: String,
        /// What it stands for.
        model: String,
    },
}

/// A model that is loaded, or is being.
#[derive(Debug, Clone)]
pub struct LoadedModel {
    /// Its name.
    pub name: String,
    /// Whether it can compute yet.
    pub is_loaded: bool,
    /// Bytes of its weights on this device.
    pub weight_bytes: u64,
    /// Bytes of KV caches on this device, in use and kept.
    pub kv_bytes: u64,
    /// Positions that a request may take.
    pub context: usize,
    /// Requests that are answered.
    pub running: usize,
    /// Requests that wait.
    pub waiting: usize,
    /// When it is unloaded if nobody asks it anything.
    pub unloads_in: Duration,
}

impl Service {
    /// Starts a service; nothing is loaded before it is asked for.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start(settings: Settings) -> Result<Self, StartError> {
        if settings.streams == 0 {
            return Err(StartError::NoStreams);
        }
        let shared = Shared::new(settings);
        shared.models.check_default()?;
        for (alias, model) in &shared.settings.aliases {
            if shared.models.find(alias).is_err() {
                return Err(StartError::Alias {
                    alias: alias.clone(),
                    model: model.clone(),
                });
            }
        }
        Ok(Self(Arc::new(Handle(Arc::new(shared)))))
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.0.0
    }

    /// All models that requests can name, the default one first. Files that are new are read, so this
    /// is not for a thread that must not wait.
    pub fn models(&self) -> Vec<ModelCard> {
        self.shared().models.all()
    }

    /// The model of this name; the default one if it is empty. It may read a file, as
    /// [`Self::models`].
    ///
    /// # Errors
    /// [`RequestError::UnknownModel`], [`RequestError::NotFetched`].
    pub fn card(&self, name: &str) -> Result<ModelCard, RequestError> {
        self.shared().models.card(name)
    }

    /// Models that are loaded or being loaded.
    pub fn loaded(&self) -> Vec<LoadedModel> {
        let shared = self.shared();
        let lanes = shared.lanes().into_iter();
        let loaded = lanes.map(|lane| (lane.load(), lane));
        loaded
            .filter(|(load, _lane)| !load.is_closed)
            .map(|(load, lane)| LoadedModel {
                name: lane.model.name.clone(),
                is_loaded: load.is_loaded,
                weight_bytes: load.view.weight_bytes,
                kv_bytes: load.view.kv_bytes + load.view.kept_bytes,
                context: load.view.context,
                running: load.running,
                waiting: load.waiting,
                unloads_in: shared.settings.idle.saturating_sub(load.used.elapsed()),
            })
            .collect()
    }

    /// Has a model unloaded as soon as nobody asks it anything.
    ///
    /// # Errors
    /// As [`Self::card`].
    pub fn unload(&self, name: &str) -> Result<(), RequestError> {
        let found = self.shared().models.find(name)?;
        let lanes = self.shared().lanes().into_iter();
        for lane in lanes.filter(|lane| lane.model.path == found.path) {
            lane.unload();
        }
        Ok(())
    }

    /// Takes a request. It never waits: what can be said at once is refused here, and the rest comes
    /// with the answer.
    ///
    /// # Errors
    /// [`RequestError::UnknownModel`], [`RequestError::NotFetched`], [`RequestError::Busy`],
    /// [`RequestError::Stopping`].
    pub fn submit(&self, request: Request) -> Result<Answering, RequestError> {
        let caller = request.caller.clone();
        let (client, answering) = Client::answering(&self.shared().counters, caller);
        let model = request.model.clone();
        let work = RawWork::Answer(Box::new(request));
        self.give(&model, Raw { client, work })?;
        Ok(answering)
    }

    /// Makes texts vectors: for each the mean of the model's last hidden states, of length 1.
    ///
    /// # Errors
    /// As [`Self::submit`], and [`RequestError::Invalid`] for no text at all.
    pub fn embed(
        &self,
        model: &str,
        inputs: Vec<Input>,
        caller: Caller,
    ) -> Result<Embedding, RequestError> {
        let (client, embedding) = Client::embedding(&self.shared().counters, caller);
        if inputs.is_empty() {
            let error = RequestError::Invalid {
                field: None,
                message: "there is no text to embed: give one at least".to_owned(),
            };
            client.fail(error.clone());
            return Err(error);
        }
        let work = RawWork::Embed(inputs);
        self.give(model, Raw { client, work })?;
        Ok(embedding)
    }

    fn give(&self, model: &str, raw: Raw) -> Result<(), RequestError> {
        match self.shared().models.find(model) {
            Ok(found) => self.shared().submit(found, raw, live),
            Err(error) => {
                raw.client.fail(error.clone());
                Err(error)
            }
        }
    }

    /// Whether an answer is computed.
    pub fn is_computing(&self) -> bool {
        let lanes = self.shared().lanes();
        lanes.iter().any(|lane| lane.load().running > 0)
    }

    /// What was served, and what is at hand.
    pub fn numbers(&self) -> Numbers {
        let mut numbers = self.shared().counters.get();
        let circle = self.shared().settings.circle.as_ref();
        numbers.devices = circle.map_or(0, Circle::connected);
        for load in self.shared().lanes().iter().map(|lane| lane.load()) {
            numbers.waiting += load.waiting;
            numbers.running += load.running;
            numbers.kv_bytes += load.view.kv_bytes;
            numbers.kept_bytes += load.view.kept_bytes;
            numbers.kept_prefixes += load.view.kept_prefixes;
            numbers.split_kept += load.view.split_kept;
            numbers.weight_bytes += load.view.weight_bytes;
            numbers.models += usize::from(load.is_loaded);
        }
        numbers
    }

    /// Counts a request that was refused before it came here.
    pub fn count_refused(&self, error: &RequestError) {
        self.shared().counters.ended(outcome_of(error));
    }

    /// Stops: requests that wait end with [`RequestError::Stopping`] at once, answers in flight when
    /// [`Settings::grace`] is over. Returns when all threads have ended.
    pub fn stop(&self) {
        let shared = self.shared();
        shared.stop(shared.settings.grace);
        shared.wait();
    }
}
