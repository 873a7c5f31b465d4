//! A whole model on one device: sessions, generation, scoring.

mod embedding;
mod generate;
mod generator;
mod score;
mod sequence;
mod session;
mod step;
mod stop;
#[cfg(test)]
mod tests;

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::OnceLock;

pub use self::embedding::MeanPool;
pub use self::generate::{Event, Generation, generate};
pub use self::generator::{
    Chosen, ChosenToken, GenerateOptions, Generator, StopReason, TokenLogprobs,
};
pub use self::score::Score;
pub use self::sequence::{LocalSequence, Sequence};
pub use self::session::Session;
pub use self::step::{Part, ReadPart, Wants};
use crate::compute::Compute;
use crate::gguf::Gguf;
use crate::grammar::{GrammarError, Grammars};
use crate::kv_cache::KvCache;
use crate::sampler::SamplerError;
use crate::shard::{Shard, ShardRange};
use crate::template::{ChatTemplate, Date, TemplateError};
use crate::tokenizer::{TokenId, Tokenizer};
use crate::{Isa, ModelConfig, ModelError};

/// Positions of a prefill step. More would not be faster, and intermediate results take memory in
/// proportion.
pub const PREFILL_CHUNK: usize = 256;

/// Positions whose logits are computed at once when every position's are wanted.
const LOGITS_ROWS: usize = 16;

/// Receives a position's index and its logits.
pub type ReadLogits<'a> = dyn FnMut(usize, &[f32]) -> Result<(), ModelError> + 'a;

/// How to open a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineOptions {
    /// Threads; by default as many as this process may use.
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

/// A model that is ready to run.
#[derive(Debug)]
pub struct Engine {
    config: ModelConfig,
    shard: Shard,
    tokenizer: Tokenizer,
    template: Result<Option<ChatTemplate>, TemplateError>,
    grammars: OnceLock<Result<Grammars, GrammarError>>,
    context: usize,
}

impl Engine {
    /// Maps a model file; weights are read as they are first used.
    ///
    /// # Errors
    /// The file is not a model this crate runs, or the context exceeds what the model was made
    /// for.
    pub fn open(path: &Path, options: &EngineOptions) -> Result<Self, ModelError> {
        let compute = Compute::new(options.threads)?;
        Self::from_gguf(&Gguf::open(path)?, options.context, compute)
    }

    /// As [`Engine::open`], from a parsed file.
    ///
    /// # Errors
    /// As [`Engine::open`].
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
            shard: Shard::load(gguf, &config, ShardRange::whole(&config), compute)?,
            template: ChatTemplate::from_metadata(gguf.metadata(), &tokenizer),
            grammars: OnceLock::new(),
            tokenizer,
            config,
            context,
        })
    }

    /// The model's sizes.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The model's tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// How the model wants conversations written, if it says so.
    ///
    /// # Errors
    /// The file's template cannot be used; all that needs none works.
    pub fn template(&self) -> Result<Option<&ChatTemplate>, TemplateError> {
        self.template
            .as_ref()
            .map(Option::as_ref)
            .map_err(Clone::clone)
    }

    /// Writes conversations with this template, which is for [`Self::tokenizer`], instead of the
    /// file's.
    #[must_use]
    pub fn with_template(mut self, template: ChatTemplate) -> Self {
        self.template = Ok(Some(template));
        self
    }

    /// Tells the template what day it is.
    #[must_use]
    pub fn with_date(mut self, today: Date) -> Self {
        self.template = self
            .template
            .map(|template| template.map(|template| template.with_date(today)));
        self
    }

    /// What makes masks from grammars for this model's vocabulary. The first call takes as long as
    /// [`Grammars::new`].
    ///
    /// # Errors
    /// [`GrammarError::Vocabulary`].
    pub fn grammars(&self) -> Result<&Grammars, GrammarError> {
        let grammars = self.grammars.get_or_init(|| Grammars::new(&self.tokenizer));
        grammars.as_ref().map_err(Clone::clone)
    }

    /// Threads in use, the caller's included.
    pub fn threads(&self) -> usize {
        self.shard.compute().threads()
    }

    /// The instruction set in use.
    pub fn isa(&self) -> Isa {
        self.shard.compute().isa()
    }

    /// Positions a session is given.
    pub fn context(&self) -> usize {
        self.context
    }

    /// Bytes of weights read for each token in decode.
    pub fn weight_bytes_per_token(&self) -> u64 {
        self.shard.weight_bytes_per_token()
    }

    /// A session with room for the context.
    ///
    /// # Errors
    /// There is no memory for its KV cache.
    pub fn new_session(&self) -> Result<Session, ModelError> {
        self.session(self.context)
    }

    /// A session with room for `capacity` positions, whatever the engine's own context is.
    ///
    /// # Errors
    /// There is no memory for its KV cache, or the model was made for fewer positions.
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

    /// Reads `tokens` into the session and calls `read` with the logits of the last position.
    ///
    /// `progress` is called after each step with the tokens read so far; if it returns false,
    /// reading stops (what was read stays in the session) and the result is `None`.
    ///
    /// # Errors
    /// No token, one beyond the vocabulary, or more than the session has room for (checked before
    /// any is read); logits that are not numbers.
    pub fn prefill<T>(
        &self,
        session: &mut Session,
        tokens: &[TokenId],
        progress: &mut dyn FnMut(usize) -> bool,
        read: impl FnOnce(&[f32]) -> T,
    ) -> Result<Option<T>, ModelError> {
        self.check(session, tokens)?;
        let (mut done, mut read, mut value) = (0, Some(read), None);
        for chunk in tokens.chunks(PREFILL_CHUNK) {
            done += chunk.len();
            let mut part = Part::reading(session, chunk);
            if done == tokens.len() {
                part.wants = Wants::Logits;
            }
            self.step(&mut [part], &mut |_part, logits| {
                let read = read.take().expect("one part has logits once");
                value = Some(logits.map(read));
            })?;
            if !progress(done) {
                return Ok(None);
            }
        }
        value.transpose()
    }

    /// Reads `tokens` and calls `read` with each position's index among them and its logits.
    ///
    /// # Errors
    /// As [`Engine::prefill`], and those of `read`.
    pub fn evaluate(
        &self,
        session: &mut Session,
        tokens: &[TokenId],
        read: &mut ReadLogits<'_>,
    ) -> Result<(), ModelError> {
        self.check(session, tokens)?;
        let mut at = 0;
        for chunk in tokens.chunks(PREFILL_CHUNK) {
            let hidden = self.forward(&mut [Part::reading(session, chunk)])?;
            for first in (0..chunk.len()).step_by(LOGITS_ROWS) {
                let rows = LOGITS_ROWS.min(chunk.len() - first);
                let hidden = hidden.clone().narrow(0, first, rows);
                self.shard.logits(hidden, |logits| {
                    for row in logits.chunks_exact(self.config.vocabulary) {
                        if is_none(row) {
                            return Err(no_logits(session));
                        }
                        read(at, row)?;
                        at += 1;
                    }
                    Ok::<_, ModelError>(())
                })??;
            }
        }
        Ok(())
    }

    fn check(&self, session: &Session, tokens: &[TokenId]) -> Result<(), ModelError> {
        // Computing tells, too, but only when it is done.
        self.shard.check_file()?;
        self.check_tokens(session, tokens)
    }

    fn check_tokens(&self, session: &Session, tokens: &[TokenId]) -> Result<(), ModelError> {
        if tokens.is_empty() {
            return Err(ModelError::EmptyPrompt);
        }
        if tokens.len() > session.free() {
            return Err(ModelError::ContextFull {
                needed: tokens.len(),
                free: session.free(),
                capacity: session.capacity(),
            });
        }
        let vocabulary = self.config.vocabulary;
        match tokens.iter().find(|id| **id as usize >= vocabulary) {
            Some(&id) => Err(ModelError::UnknownToken { id, vocabulary }),
            None => Ok(()),
        }
    }
}

/// Whether a position's logits are not numbers. A single number of its hidden state that is none
/// makes all of them so, by the norm before the head.
fn is_none(logits: &[f32]) -> bool {
    logits.first().is_some_and(|logit| logit.is_nan())
}

/// Why logits are not numbers.
fn no_logits(session: &Session) -> ModelError {
    match session.cache.overflowed() {
        Some(layer) => ModelError::CacheOverflow { layer },
        None => SamplerError::NotANumber.into(),
    }
}
