//! A complete model on one device: sessions, generation, scoring.

mod draft_model;
mod embedding;
mod generate;
mod generator;
#[cfg(test)]
mod guess_tests;
mod local;
#[cfg(test)]
mod ring_tests;
mod score;
mod session;
mod step;
mod stop;
#[cfg(test)]
mod tests;

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::{Arc, OnceLock};

pub use self::draft_model::DraftModel;
pub use self::embedding::MeanPool;
pub use self::generate::{Event, Generation, Sequence, generate};
pub use self::generator::{
    Chosen, ChosenToken, GenerateOptions, Generator, StopReason, TokenLogprobs,
};
pub use self::local::LocalSequence;
pub use self::score::Score;
pub use self::session::Session;
pub use self::step::{PREFILL_CHUNK, Part, ReadLogits, ReadPart, Wants};
use crate::compute::Compute;
use crate::drafts::{DraftHead, DraftHeadError, Drafter, HeadFile};
use crate::gguf::Gguf;
use crate::grammar::{GrammarError, Grammars};
use crate::kv_cache::KvCache;
use crate::shard::{Shard, ShardRange};
use crate::template::{ChatTemplate, Date, TemplateError};
use crate::tokenizer::Tokenizer;
use crate::{Isa, ModelConfig, ModelError};

/// Options for opening a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineOptions {
    /// Number of threads; by default, as many as this process may use.
    pub threads: Option<NonZeroUsize>,
    /// Positions reserved for a session, at most the model's own limit.
    pub context: usize,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            threads: None,
            context: 2048,
        }
    }
}

/// A loaded model, ready to run.
#[derive(Debug)]
pub struct Engine {
    config: ModelConfig,
    shard: Arc<Shard>,
    tokenizer: Tokenizer,
    template: Result<Option<ChatTemplate>, TemplateError>,
    grammars: OnceLock<Result<Grammars, GrammarError>>,
    draft_head: Option<Arc<DraftHead>>,
    draft_model: Option<DraftModel>,
    context: usize,
}

impl Engine {
    /// Maps a model file. Weights are read on first use.
    ///
    /// # Errors
    /// The file is not a model that this crate supports, or the context exceeds the model's limit.
    pub fn open(path: &Path, options: &EngineOptions) -> Result<Self, ModelError> {
        let compute = Compute::new(options.threads)?;
        Self::from_gguf(&Gguf::open(path)?, options.context, compute)
    }

    /// Like [`Engine::open`], but takes a parsed file.
    ///
    /// # Errors
    /// Same as [`Engine::open`].
    pub fn from_gguf(gguf: &Gguf, context: usize, compute: Compute) -> Result<Self, ModelError> {
        let config = ModelConfig::from_gguf(gguf)?;
        if context > config.context {
            return Err(ModelError::ContextTooLong {
                asked: context,
                limit: config.context,
            });
        }
        let tokenizer = Tokenizer::from_metadata(gguf.metadata())?;
        Ok(Self {
            shard: Arc::new(Shard::load(
                gguf,
                &config,
                ShardRange::whole(&config),
                compute,
            )?),
            template: ChatTemplate::from_metadata(gguf.metadata(), &tokenizer),
            grammars: OnceLock::new(),
            draft_head: None,
            draft_model: None,
            tokenizer,
            config,
            context,
        })
    }

    /// The model's configuration.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The model's weights, whose packed form another thread may write and put to use.
    pub fn shard(&self) -> &Arc<Shard> {
        &self.shard
    }

    /// The model's tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The model's chat template, if the file has one.
    ///
    /// # Errors
    /// The file's template cannot be used. Everything that does not need a template still works.
    pub fn template(&self) -> Result<Option<&ChatTemplate>, TemplateError> {
        self.template
            .as_ref()
            .map(Option::as_ref)
            .map_err(Clone::clone)
    }

    /// Replaces the file's template with this one, which must match [`Self::tokenizer`].
    #[must_use]
    pub fn with_template(mut self, template: ChatTemplate) -> Self {
        self.template = Ok(Some(template));
        self
    }

    /// Sets the date that the template sees.
    #[must_use]
    pub fn with_date(mut self, today: Date) -> Self {
        self.template = self
            .template
            .map(|template| template.map(|template| template.with_date(today)));
        self
    }

    /// Uses this draft head for the guesses of [`Self::drafter`]. The caller has checked that it is
    /// for this model's file.
    ///
    /// # Errors
    /// The head has other sizes than the model.
    pub fn use_draft_head(&mut self, file: &HeadFile) -> Result<(), DraftHeadError> {
        self.draft_head = Some(Arc::new(self.shard.draft_head(file)?));
        Ok(())
    }

    /// The model's draft head, if there is one.
    pub fn draft_head(&self) -> Option<&DraftHead> {
        self.draft_head.as_deref()
    }

    /// Uses this smaller model for the guesses of [`Self::drafter`], in place of a draft head.
    pub fn use_draft_model(&mut self, model: DraftModel) {
        self.draft_model = Some(model);
    }

    /// The smaller model that guesses, if there is one.
    pub fn draft_model(&self) -> Option<&DraftModel> {
        self.draft_model.as_ref()
    }

    /// A drafter for one text of at most `capacity` positions: with a smaller model or the model's
    /// draft head, if there is one.
    pub fn drafter(&self, capacity: usize) -> Drafter {
        match &self.draft_model {
            Some(model) => model.drafter(capacity),
            None => Drafter::new(self.draft_head.clone()),
        }
    }

    /// Returns the grammar compiler for this model's vocabulary. The first call takes as long as
    /// [`Grammars::new`].
    ///
    /// # Errors
    /// [`GrammarError::Vocabulary`].
    pub fn grammars(&self) -> Result<&Grammars, GrammarError> {
        let grammars = self.grammars.get_or_init(|| Grammars::new(&self.tokenizer));
        grammars.as_ref().map_err(Clone::clone)
    }

    /// Number of threads in use, including the caller's.
    pub fn threads(&self) -> usize {
        self.shard.compute().threads()
    }

    /// The instruction set in use.
    pub fn isa(&self) -> Isa {
        self.shard.compute().isa()
    }

    /// Positions reserved for each session.
    pub fn context(&self) -> usize {
        self.context
    }

    /// Bytes of weights read per decoded token.
    pub fn weight_bytes_per_token(&self) -> u64 {
        self.shard.weight_bytes_per_token()
    }

    /// Creates a session with room for the context.
    ///
    /// # Errors
    /// There is not enough memory for its KV cache.
    pub fn new_session(&self) -> Result<Session, ModelError> {
        self.session(self.context)
    }

    /// Creates a session with room for `capacity` positions, independent of the engine's own
    /// context.
    ///
    /// # Errors
    /// There is not enough memory for its KV cache, or `capacity` exceeds the model's limit.
    pub fn session(&self, capacity: usize) -> Result<Session, ModelError> {
        if capacity > self.config.context {
            return Err(ModelError::ContextTooLong {
                asked: capacity,
                limit: self.config.context,
            });
        }
        let layers = 0..self.config.layers;
        let cache = KvCache::new(&self.config, layers, capacity, self.shard.compute())?;
        Ok(Session {
            tokens: Vec::new(),
            cache,
        })
    }
}
