//! Opening a model: the model crate's engine, with the node's way of choosing a context.

use std::num::NonZeroUsize;
use std::path::Path;

pub use potluck_model::Compute;
pub use potluck_model::gguf::Gguf;
pub use potluck_model::sampler::{SamplerError, SamplerSettings};
pub use potluck_model::template::{Message, Role};
pub use potluck_model::tokenizer::TokenId;
pub use potluck_model::{
    Engine, Event, GenerateOptions, Generation, LocalSequence, ModelConfig, ModelError, Sequence,
    Session, Shard, StopReason, generate,
};

/// Positions a session has unless told otherwise.
pub const DEFAULT_CONTEXT: usize = 2048;

/// How to open a model.
#[derive(Debug, Clone, Default)]
pub struct OpenOptions {
    /// Threads to compute with; all usable ones if `None`.
    pub threads: Option<NonZeroUsize>,
    /// Positions of a session, as [`context_of`] takes them.
    pub context: Option<NonZeroUsize>,
}

/// Positions of a session with a model: those asked for, or [`DEFAULT_CONTEXT`], or what the model was
/// made for if that is less.
pub fn context_of(config: &ModelConfig, asked: Option<NonZeroUsize>) -> usize {
    asked.map_or(config.context.min(DEFAULT_CONTEXT), NonZeroUsize::get)
}

/// The settings of the model in the file at `path`, of which every part could be loaded here: what
/// devices that share it would refuse is refused before they are asked.
///
/// # Errors
/// The file is not a model this build runs.
pub fn check(path: &Path) -> Result<ModelConfig, ModelError> {
    let gguf = Gguf::open(path)?;
    let config = ModelConfig::from_gguf(&gguf)?;
    Shard::check(&gguf, &config)?;
    Ok(config)
}

/// Opens the model in the file at `path`. Weights are mapped, and read as they are first used.
///
/// # Errors
/// The file is not a model this build runs, or the context asked for exceeds what the model was
/// made for.
pub fn open(path: &Path, options: &OpenOptions) -> Result<Engine, ModelError> {
    let compute = Compute::new(options.threads)?;
    let gguf = Gguf::open(path)?;
    let context = context_of(&ModelConfig::from_gguf(&gguf)?, options.context);
    Engine::from_gguf(&gguf, context, compute)
}
