//! A drafter: a smaller model with the same vocabulary that guesses a model's tokens.
//!
//! A person names it (`--drafter`). It computes on this device, whoever computes the model's layers.

use std::path::{Path, PathBuf};

use potluck_model::gguf::{Gguf, files_at};
use potluck_model::tokenizer::{OtherVocabulary, Tokenizer};
use potluck_model::{Compute, DraftModel, Engine, ModelConfig, ModelError, Shard};

use crate::manifest::MappedFile;
use crate::packed_store::{PackedStore, Packing};

/// Why a drafter cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DrafterError {
    /// Its file is not a model that this build runs.
    #[error("cannot use the drafter {}", path.display())]
    Model {
        /// The drafter's file.
        path: PathBuf,
        /// The cause.
        #[source]
        error: Box<ModelError>,
    },
    /// Its tokens are not the model's.
    #[error(
        "cannot use the drafter {}: {error}; choose a smaller model of the same family",
        path.display()
    )]
    Vocabulary {
        /// The drafter's file.
        path: PathBuf,
        /// The first difference.
        error: Box<OtherVocabulary>,
    },
}

impl DrafterError {
    fn model(path: &Path, error: impl Into<ModelError>) -> Self {
        Self::Model {
            path: path.to_owned(),
            error: Box::new(error.into()),
        }
    }

    fn vocabulary(path: &Path, error: OtherVocabulary) -> Self {
        Self::Vocabulary {
            path: path.to_owned(),
            error: Box::new(error),
        }
    }
}

/// A drafter that was opened for one model.
#[derive(Debug)]
pub struct OpenedDrafter {
    model: DraftModel,
    file: MappedFile,
}

impl OpenedDrafter {
    /// Opens the drafter in the file at `path`, to guess the tokens of `model` on the threads of
    /// `compute`.
    ///
    /// # Errors
    /// [`DrafterError`].
    pub fn open(path: &Path, model: &Engine, compute: Compute) -> Result<Self, DrafterError> {
        let failed = |error| DrafterError::model(path, error);
        let opened = MappedFile::open(path);
        let (gguf, file) = opened.map_err(|error| DrafterError::model(path, error))?;
        let config = ModelConfig::from_gguf(&gguf).map_err(failed)?;
        let engine = Engine::from_gguf(&gguf, config.context, compute).map_err(failed)?;
        let model = DraftModel::new(engine, model);
        let model = model.map_err(|error| DrafterError::vocabulary(path, error))?;
        Ok(Self { model, file })
    }

    /// Its file.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// The model that guesses.
    pub fn model(&self) -> &DraftModel {
        &self.model
    }

    /// Packs its weights, if there is a store for that. Keep the result as long as the drafter is used.
    pub fn pack(&self, packed: Option<&PackedStore>) -> Option<Packing> {
        packed.map(|packed| packed.pack_file(self.model.engine().shard(), self.file.clone()))
    }

    /// Bytes of its weights, and of the keys and values of a text with so many positions.
    pub fn bytes(&self, positions: usize) -> u64 {
        bytes_of(self.file.path()) + self.model.kv_bytes(positions)
    }

    /// A warning if it reads more weights for a token than the model: its guesses then take longer than
    /// the tokens they are for.
    pub fn warning(&self) -> Option<String> {
        let share = self.model.share();
        (share > 1.0).then(|| {
            format!(
                "the drafter {} is larger than the model: it reads {share:.1} times as much for a token, \
                 so its guesses save no time where this device computes the model",
                self.file.path().display()
            )
        })
    }
}

/// Bytes of a model's files.
pub fn bytes_of(path: &Path) -> u64 {
    let files = files_at(path);
    let lengths = files.iter().filter_map(|file| file.metadata().ok());
    lengths.map(|file| file.len()).sum()
}

/// Checks that the model at `drafter` can guess the tokens of the one at `model`, without loading
/// either.
///
/// # Errors
/// [`DrafterError`]. What is wrong with the model itself is not reported.
pub fn check(model: &Path, drafter: &Path) -> Result<(), DrafterError> {
    let tokenizer_of = |gguf: &Gguf| Tokenizer::from_metadata(gguf.metadata());
    let of_drafter = || -> Result<Tokenizer, ModelError> {
        let gguf = Gguf::open(drafter)?;
        Shard::check(&gguf, &ModelConfig::from_gguf(&gguf)?)?;
        Ok(tokenizer_of(&gguf)?)
    };
    let of_drafter = of_drafter().map_err(|error| DrafterError::model(drafter, error))?;
    let of_model = Gguf::open(model).ok().map(|gguf| tokenizer_of(&gguf));
    let Some(Ok(of_model)) = of_model else {
        return Ok(());
    };
    let same = of_model.check_same(&of_drafter);
    same.map_err(|error| DrafterError::vocabulary(drafter, error))
}
