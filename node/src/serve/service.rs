//! The entry point of serving.

use std::sync::Arc;
use std::time::Duration;

use potluck_protocol::placement::ForcedError;

use super::caller::Caller;
use super::client::{Answering, Client, Embedding, outcome_of};
use super::engine_thread::live;
use super::models::ModelCard;
use super::numbers::Numbers;
use super::shared::Shared;
use super::work::{Raw, RawWork};
use super::{Circle, Input, Request, RequestError, Settings};
use crate::drafter::DrafterError;
use crate::engine::ModelError;
use crate::packed_store::PackedStore;

/// Answers concurrent requests. Each model in use has its own compute thread. A model is loaded on
/// first use and unloaded after it was idle for a while, or when another model needs the memory.
///
/// Clones share one service. Dropping the last clone stops it at once, without grace.
#[derive(Clone)]
pub struct Service(Arc<Handle>);

struct Handle(Arc<Shared>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.stop(Duration::ZERO);
    }
}

/// Why the service cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The default model's file is here but cannot be run.
    #[error("cannot use {model}")]
    Model {
        /// The name of the model, or its file.
        model: String,
        /// The cause.
        #[source]
        source: ModelError,
    },
    /// The drafter cannot be used with the default model.
    #[error(transparent)]
    Drafter(#[from] DrafterError),
    /// The fixed placement is none of the default model.
    #[error("cannot use the placement")]
    Placement(#[from] ForcedError),
    /// The settings allow no stream.
    #[error("a service that answers no request at once is none: give at least 1 stream")]
    NoStreams,
    /// An alias refers to an unknown model.
    #[error(
        "the alias \"{alias}\" stands for \"{model}\", which is no model on this device: `potluck models` \
         lists models"
    )]
    Alias {
        /// The alias.
        alias: String,
        /// The model name that it stands for.
        model: String,
    },
}

/// A model that is loaded or loading.
#[derive(Debug, Clone)]
pub struct LoadedModel {
    /// The model name.
    pub name: String,
    /// Whether loading has finished.
    pub is_loaded: bool,
    /// Bytes of its weights on this device.
    pub weight_bytes: u64,
    /// Bytes of KV caches on this device, both in use and kept as prefixes.
    pub kv_bytes: u64,
    /// The context length of a request.
    pub context: usize,
    /// The number of running requests.
    pub running: usize,
    /// The number of queued requests.
    pub waiting: usize,
    /// Time until it is unloaded if no request arrives.
    pub unloads_in: Duration,
}

impl Service {
    /// Starts the service. No model is loaded until a request needs it.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start(settings: Settings) -> Result<Self, StartError> {
        if settings.streams == 0 {
            return Err(StartError::NoStreams);
        }
        let shared = Shared::new(settings);
        let checked = shared.models.check_default();
        let layers = checked.map_err(|source| StartError::Model {
            model: shared.settings.model.to_string(),
            source,
        })?;
        let layers = layers.and_then(|layers| u32::try_from(layers).ok());
        if let (Some(circle), Some(layers)) = (&shared.settings.circle, layers) {
            circle.check_placement(layers)?;
        }
        shared.models.check_drafter()?;
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

    /// All models that requests can name, the default one first. Reads new files, so call it only
    /// where blocking is allowed.
    pub fn models(&self) -> Vec<ModelCard> {
        self.shared().models.all()
    }

    /// The model with this name; the default one if `name` is empty. It may read a file, as
    /// [`Self::models`] does.
    ///
    /// # Errors
    /// [`RequestError::UnknownModel`], [`RequestError::NotFetched`].
    pub fn card(&self, name: &str) -> Result<ModelCard, RequestError> {
        self.shared().models.card(name)
    }

    /// The models that are loaded or loading.
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

    /// Unloads a model as soon as it has no requests.
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

    /// Submits a request without blocking. Errors known at once are returned here; later ones
    /// arrive with the answer.
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

    /// Embeds texts: for each one the mean of the model's last hidden states, normalised to length
    /// 1.
    ///
    /// # Errors
    /// As [`Self::submit`], and [`RequestError::Invalid`] if there are no texts.
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

    /// Whether any request is running.
    pub fn is_computing(&self) -> bool {
        let lanes = self.shared().lanes();
        lanes.iter().any(|lane| lane.load().running > 0)
    }

    /// Counters of the service, and its current load.
    pub fn numbers(&self) -> Numbers {
        let mut numbers = self.shared().counters.get();
        let circle = self.shared().settings.circle.as_ref();
        numbers.devices = circle.map_or(0, Circle::connected);
        let packed = self.shared().settings.packed.as_ref();
        numbers.packed_bytes = packed.map_or(0, PackedStore::in_use_bytes);
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

    /// Counts a request that was refused before it reached the service.
    pub fn count_refused(&self, error: &RequestError) {
        self.shared().counters.ended(outcome_of(error));
    }

    /// Stops the service. Queued requests end with [`RequestError::Stopping`] at once, running
    /// answers when [`Settings::grace`] is over. Returns when all threads have ended.
    pub fn stop(&self) {
        let shared = self.shared();
        shared.stop(shared.settings.grace);
        shared.wait();
    }
}
