//! How requests are served.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Circle;
use crate::ModelRef;
use crate::catalogue::{FetchOptions, ModelsFolder};
use crate::engine::OpenOptions;
use crate::stages::MemoryBudget;

/// How requests are served. Bounds are for each model that is loaded, unless they say otherwise.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where models are.
    pub models: ModelsFolder,
    /// The model of requests that name none. It is fetched at its first use if it is of the
    /// catalogue; no other model is.
    pub model: ModelRef,
    /// Other names for models, and what each stands for.
    pub aliases: BTreeMap<String, String>,
    /// How models are opened. The chat template is the default model's; a context that is more than
    /// a model was made for is cut, but for the default model, where it is an error.
    pub open: OpenOptions,
    /// Positions of a request if [`Self::open`] does not say, or those a model was made for if they are
    /// fewer. Programs describe their tools at length.
    pub usual_context: usize,
    /// How the default model is fetched.
    pub fetch: FetchOptions,
    /// The circle of this device's node, and which of its devices compute; only this one if `None`.
    pub circle: Option<Circle>,
    /// How long a request waits for devices before it is read.
    pub patience: Duration,
    /// What weights and KV caches of all models may take.
    pub memory: MemoryBudget,
    /// Requests that are answered at once.
    pub streams: usize,
    /// Requests that wait for those; more are refused.
    pub waiting: usize,
    /// Bytes of KV caches that are kept for requests that begin alike.
    pub kept_bytes: u64,
    /// How long a model stays loaded that nobody asks.
    pub idle: Duration,
    /// How long answers in flight may go on when the service stops.
    pub grace: Duration,
}

impl Settings {
    /// The usual ones.
    pub fn new(models: ModelsFolder) -> Self {
        Self {
            models,
            model: ModelRef::default(),
            aliases: BTreeMap::new(),
            open: OpenOptions::default(),
            usual_context: 8192,
            fetch: FetchOptions::default(),
            circle: None,
            // Somewhat less than an answer's head is waited for, so that a failure has a status.
            patience: Duration::from_secs(4),
            memory: MemoryBudget::new(None),
            streams: 16,
            waiting: 64,
            kept_bytes: 1 << 30,
            idle: Duration::from_secs(300),
            grace: Duration::from_secs(5),
        }
    }

    /// Positions of a request to a model that was made for so many. Of the default model it can be
    /// more, which opening refuses.
    pub(super) fn context(&self, limit: usize, is_default: bool) -> usize {
        match self.open.context {
            None => limit.min(self.usual_context),
            Some(asked) if is_default => asked.get(),
            Some(asked) => limit.min(asked.get()),
        }
    }
}
