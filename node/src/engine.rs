//! Opening a model: the model crate's engine, with the node's way of choosing a context.

use std::fs::File;
use std::io::{self, Read as _};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use potluck_model::template::{self, ChatTemplate, Date};
use potluck_model::tokenizer::Tokenizer;
use potluck_protocol::placement::ModelShape;

use crate::Cancel;
use crate::draft_heads::{self, HeadError};
use crate::drafter::{DrafterError, OpenedDrafter};
use crate::manifest::MappedFile;
use crate::packed_store::{PackedStore, Packing};
use crate::shape::{ShapeError, model_shape};

pub use potluck_model::Compute;
pub use potluck_model::gguf::Gguf;
pub use potluck_model::sampler::{LogitBias, Mask, MaskError, SamplerError, SamplerSettings};
pub use potluck_model::template::{Message, Role, TemplateError};
pub use potluck_model::tokenizer::TokenId;
pub use potluck_model::{
    Chosen, ChosenToken, Drafter, Engine, Event, GenerateOptions, Generation, Generator,
    LocalSequence, MeanPool, ModelConfig, ModelError, PREFILL_CHUNK, Part, Planned, Sequence,
    Session, Shard, StepCosts, StopReason, TokenLogprobs, Wants, generate,
};

/// Positions a session has unless told otherwise.
pub const DEFAULT_CONTEXT: usize = 2048;

/// How to open a model.
#[derive(Debug, Clone, Default)]
pub struct OpenOptions {
    /// Threads to compute with; one for each core that helps if `None`.
    pub threads: Option<NonZeroUsize>,
    /// Positions of a session, as [`context_of`] takes them.
    pub context: Option<NonZeroUsize>,
    /// The chat template; the file's own if `None`.
    pub template: Option<GivenTemplate>,
    /// Whether to look for the model's draft head, which is not used with a drafter.
    pub drafts: bool,
    /// The file of a smaller model that guesses this one's tokens.
    pub drafter: Option<PathBuf>,
}

/// A chat template that a person gives instead of the model file's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GivenTemplate {
    /// The usual one.
    ChatMl,
    /// A Jinja template in a file.
    File(PathBuf),
}

impl From<&str> for GivenTemplate {
    fn from(argument: &str) -> Self {
        match argument {
            "chatml" => Self::ChatMl,
            path => Self::File(path.into()),
        }
    }
}

/// A model could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Its file.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The file of the template that was given.
    #[error("cannot read the chat template {}", path.display())]
    ReadTemplate {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        error: io::Error,
    },
    /// The template that was given.
    #[error("cannot use the chat template {}: {error}", path.display())]
    Template {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: TemplateError,
    },
    /// The drafter that was given.
    #[error(transparent)]
    Drafter(#[from] DrafterError),
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

/// A model that was opened to be computed on this device alone.
#[derive(Debug)]
pub struct Opened {
    /// What computes it.
    pub engine: Engine,
    /// The model in numbers, or why it could not be placed over several devices.
    pub shape: Result<Arc<ModelShape>, ShapeError>,
    /// Why the draft head beside the model's file is not used, if there is one. Answers are the same
    /// without it.
    pub head_problem: Option<HeadError>,
    /// The drafter, if one was given. The engine uses it.
    pub drafter: Option<OpenedDrafter>,
    /// The file that is mapped.
    pub file: MappedFile,
}

impl Opened {
    /// Packs the weights of the model and its drafter, if there is a store for that. Keep the result as
    /// long as they are used.
    pub fn pack(&self, packed: Option<&PackedStore>) -> Vec<Packing> {
        let pack = |packed: &PackedStore| packed.pack_file(self.engine.shard(), self.file.clone());
        let drafter = self.drafter.as_ref();
        let drafter = drafter.and_then(|drafter| drafter.pack(packed));
        packed.map(pack).into_iter().chain(drafter).collect()
    }
}

/// Opens the model in the file at `path`. Weights are mapped, and read as they are first used.
/// Templates that ask are told today's date.
///
/// # Errors
/// The file is not a model this build runs, the context asked for exceeds what the model was
/// made for, or the chat template or the drafter that was given cannot be used.
pub fn open(path: &Path, options: &OpenOptions) -> Result<Opened, OpenError> {
    let compute = Compute::new(options.threads).map_err(ModelError::from)?;
    let (gguf, file) = MappedFile::open(path).map_err(ModelError::from)?;
    let config = ModelConfig::from_gguf(&gguf)?;
    let context = context_of(&config, options.context);
    let mut engine = Engine::from_gguf(&gguf, context, compute)?;
    if let Some(given) = &options.template {
        let template = read_template(given, engine.tokenizer())?;
        engine = engine.with_template(template);
    }
    if let Some(today) = today() {
        engine = engine.with_date(today);
    }
    let compute = engine.shard().compute().clone();
    let drafter = options.drafter.as_deref();
    let drafter = drafter.map(|path| OpenedDrafter::open(path, &engine, compute));
    let drafter = drafter.transpose()?;
    if let Some(drafter) = &drafter {
        engine.use_draft_model(drafter.model().clone());
    }
    let head_problem = match options.drafts && drafter.is_none() {
        true => {
            let (with_head, problem) = with_head(engine, path);
            engine = with_head;
            problem
        }
        false => None,
    };
    Ok(Opened {
        engine,
        head_problem,
        drafter,
        shape: model_shape(&gguf, &config).map(Arc::new),
        file,
    })
}

/// The engine with the model's draft head, if there is one that can be used.
fn with_head(engine: Engine, path: &Path) -> (Engine, Option<HeadError>) {
    let head = match draft_heads::of_model(path, &Cancel::new()) {
        Ok(Some(head)) => head,
        Ok(None) => return (engine, None),
        Err(problem) => return (engine, Some(problem)),
    };
    let mut engine = engine;
    let problem = engine.use_draft_head(&head).err();
    let problem = problem.map(|error| HeadError::Head {
        path: path.to_owned(),
        error,
    });
    (engine, problem)
}

fn read_template(given: &GivenTemplate, tokenizer: &Tokenizer) -> Result<ChatTemplate, OpenError> {
    let (path, source) = match given {
        GivenTemplate::ChatMl => (Path::new("chatml"), template::CHATML.to_owned()),
        GivenTemplate::File(path) => {
            let source = read_bounded(path).map_err(|error| OpenError::ReadTemplate {
                path: path.clone(),
                error,
            })?;
            (path.as_path(), source)
        }
    };
    ChatTemplate::for_tokenizer(&source, tokenizer).map_err(|error| OpenError::Template {
        path: path.to_owned(),
        error,
    })
}

/// The file's text, or a little more than the limit if it is longer, which is refused later.
fn read_bounded(path: &Path) -> io::Result<String> {
    let mut source = String::new();
    let most = template::SOURCE_LIMIT as u64 + 4;
    File::open(path)?.take(most).read_to_string(&mut source)?;
    Ok(source)
}

/// The date by the clock of this device, in UTC.
fn today() -> Option<Date> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    Date::from_unix_days(u32::try_from(since.as_secs() / 86_400).ok()?)
}
