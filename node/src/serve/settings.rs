//! Settings of the service.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Circle;
use crate::ModelRef;
use crate::catalogue::{FetchOptions, ModelsFolder};
use crate::engine::OpenOptions;
use crate::packed_store::PackedStore;
use crate::stages::MemoryBudget;

/// Settings of the service. Bounds apply to each loaded model unless documented otherwise.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The folder of model files.
    pub models: ModelsFolder,
    /// The model for requests that name none. If it is in the catalogue, its first use downloads
    /// it; no other model is downloaded.
    pub model: ModelRef,
    /// Aliases: from the alias to the model name.
    pub aliases: BTreeMap<String, String>,
    /// How models are opened. The chat template and the drafter apply to the default model only. A context longer
    /// than the model supports is shortened, except for the default model, where it is an error.
    pub open: OpenOptions,
    /// Default context length of a request if [`Self::open`] sets none, capped by the model's own
    /// limit. Programs send long tool descriptions.
    pub usual_context: usize,
    /// How the default model is downloaded.
    pub fetch: FetchOptions,
    /// The circle of this device's node, and which of its devices compute. `None`: only this
    /// device.
    pub circle: Option<Circle>,
    /// How long a request waits for devices before its prompt is processed.
    pub patience: Duration,
    /// The memory budget for weights and KV caches of all models.
    pub memory: MemoryBudget,
    /// Guess tokens ahead where that makes answers faster. Guesses change no answer.
    pub drafts: bool,
    /// Where weights are packed; `None` to compute from the files as they are.
    pub packed: Option<PackedStore>,
    /// The most requests answered concurrently.
    pub streams: usize,
    /// The most requests queued behind those; further requests are refused.
    pub waiting: usize,
    /// The most bytes of KV caches kept as cached prefixes.
    pub kept_bytes: u64,
    /// How long an unused model stays loaded.
    pub idle: Duration,
    /// How long running answers may continue after the service is told to stop.
    pub grace: Duration,
}

impl Settings {
    /// The default settings.
    pub fn new(models: ModelsFolder) -> Self {
        Self {
            models,
            model: ModelRef::default(),
            aliases: BTreeMap::new(),
            open: OpenOptions::default(),
            usual_context: 8192,
            fetch: FetchOptions::default(),
            circle: None,
            // Shorter than HTTP waits for the first update, so a failure still gets a status code.
            patience: Duration::from_secs(4),
            memory: MemoryBudget::new(None),
            drafts: true,
            packed: None,
            streams: 16,
            waiting: 64,
            kept_bytes: 1 << 30,
            idle: Duration::from_secs(300),
            grace: Duration::from_secs(5),
        }
    }

    /// Context length of a request, for a model that supports `limit` positions. For the default
    /// model the result may exceed `limit`; opening the model then fails.
    pub(super) fn context(&self, limit: usize, is_default: bool) -> usize {
        match self.open.context {
            None => limit.min(self.usual_context),
            Some(asked) if is_default => asked.get(),
            Some(asked) => limit.min(asked.get()),
        }
    }
}
