//! Lookup of models by name, and their descriptions.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use potluck_model::gguf;

use super::{RequestError, Settings};
use crate::ModelRef;
use crate::catalogue::{self, CacheState, Entry};
use crate::drafter::{self, DrafterError};
use crate::engine::{self, ModelError};
use crate::inspect::{self, Inspection};

/// A model that requests can name.
#[derive(Debug, Clone)]
pub struct ModelCard {
    /// Its catalogue name, its file name without extension, or an alias set by the owner.
    pub name: String,
    /// A one-line description, for models of the catalogue.
    pub title: Option<&'static str>,
    /// The model file. It does not exist yet if [`Self::is_here`] is false.
    pub path: PathBuf,
    /// Whether it is on this device. Only the default model may be absent: its first use downloads
    /// it.
    pub is_here: bool,
    /// Whether this is the model for requests that name none.
    pub is_default: bool,
    /// The total size of its files.
    pub bytes: u64,
    /// When its first file was last modified.
    pub modified: Option<SystemTime>,
    /// The SHA-256 of its file in hexadecimal, for models of the catalogue.
    pub digest: Option<String>,
    /// The context length of a request: prompt and answer together.
    pub context: Option<usize>,
    /// The storage type of most of its weights.
    pub quantisation: Option<String>,
    /// Metadata read from the file.
    pub inspection: Option<Arc<Inspection>>,
}

impl ModelCard {
    /// Whether the model has a chat template, and so can chat and call tools.
    pub fn has_template(&self) -> bool {
        let inspection = self.inspection.as_ref();
        inspection.is_some_and(|inspection| inspection.chat_template)
    }
}

/// A model found by one of its names.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) name: String,
    pub(super) path: PathBuf,
    pub(super) is_default: bool,
    /// The catalogue entry to download or verify before the model is opened.
    pub(super) entry: Option<&'static Entry>,
}

/// Finds the models of this device by name.
pub(super) struct Models {
    settings: Arc<Settings>,
    /// Metadata by path, valid while the file's size and modification time are unchanged.
    known: Mutex<HashMap<PathBuf, Known>>,
}

struct Known {
    bytes: u64,
    modified: Option<SystemTime>,
    inspection: Option<Arc<Inspection>>,
}

impl Models {
    pub(super) fn new(settings: &Arc<Settings>) -> Self {
        Self {
            settings: Arc::clone(settings),
            known: Mutex::default(),
        }
    }

    /// The model with this name, or the default one if `name` is empty. Catalogue and file names
    /// resolve to files in the models folder only: no request opens a file elsewhere.
    ///
    /// # Errors
    /// [`RequestError::UnknownModel`], [`RequestError::NotFetched`].
    pub(super) fn find(&self, name: &str) -> Result<Found, RequestError> {
        if name.is_empty() {
            return Ok(self.default_model());
        }
        let aliases = &self.settings.aliases;
        let meant = aliases.get(name).map_or(name, String::as_str);
        // Ollama's clients append this to a name without a tag.
        let short = meant.strip_suffix(":latest");
        for meant in [Some(meant), short].into_iter().flatten() {
            if let Some(found) = self.named(meant)? {
                return Ok(found);
            }
        }
        Err(RequestError::UnknownModel {
            model: name.to_owned(),
        })
    }

    /// The model with exactly this name.
    fn named(&self, name: &str) -> Result<Option<Found>, RequestError> {
        let default = self.default_model();
        if default.name.eq_ignore_ascii_case(name) || is_called(&default.path, name) {
            return Ok(Some(default));
        }
        if let Some(entry) = catalogue::find(name) {
            if !self.is_here(entry) {
                return Err(RequestError::NotFetched { model: entry.name });
            }
            return Ok(Some(self.of_entry(entry)));
        }
        let mut files = self.files();
        let at = files.iter().position(|file| is_called(&file.path, name));
        Ok(at.map(|at| files.swap_remove(at)))
    }

    fn default_model(&self) -> Found {
        match &self.settings.model {
            ModelRef::Named(entry) => self.of_entry(entry),
            ModelRef::File(path) => Found {
                name: name_of(path),
                path: path.clone(),
                is_default: true,
                entry: None,
            },
        }
    }

    fn of_entry(&self, entry: &'static Entry) -> Found {
        Found {
            name: entry.name.to_owned(),
            path: self.settings.models.path(entry),
            is_default: matches!(self.settings.model, ModelRef::Named(default) if default == entry),
            entry: Some(entry),
        }
    }

    fn is_here(&self, entry: &Entry) -> bool {
        let state = self.settings.models.state(entry);
        matches!(state, Ok(CacheState::Ready | CacheState::Unchecked))
    }

    /// The models in the folder, sorted by name.
    fn files(&self) -> Vec<Found> {
        let folder = fs::read_dir(self.settings.models.folder());
        let paths = folder
            .into_iter()
            .flatten()
            .flatten()
            .map(|file| file.path());
        let entry_of = |path: &Path| {
            let named = |entry: &&Entry| path.file_name() == Some(entry.file.as_ref());
            catalogue::entries().iter().find(named)
        };
        let mut found: Vec<_> = paths
            .filter(|path| is_model(path))
            .map(|path| match entry_of(&path) {
                Some(entry) => self.of_entry(entry),
                None => Found {
                    name: name_of(&path),
                    path,
                    is_default: false,
                    entry: None,
                },
            })
            .collect();
        found.sort_by(|a, b| a.name.cmp(&b.name));
        found
    }

    /// Checks that the default model can run, if it is on this device. Returns its layers.
    ///
    /// # Errors
    /// The file is not a model that this build runs, or its context is shorter than the settings
    /// ask for.
    pub(super) fn check_default(&self) -> Result<Option<usize>, ModelError> {
        let default = self.default_model();
        if default.entry.is_some_and(|entry| !self.is_here(entry)) {
            return Ok(None);
        }
        let config = engine::check(&default.path)?;
        let context = self.settings.context(config.context, true);
        if context > config.context {
            return Err(ModelError::ContextTooLong {
                asked: context,
                limit: config.context,
            });
        }
        Ok(Some(config.layers))
    }

    /// Checks that the drafter has the default model's tokens, if there is a drafter and the model is
    /// on this device.
    ///
    /// # Errors
    /// [`DrafterError`].
    pub(super) fn check_drafter(&self) -> Result<(), DrafterError> {
        let drafter = self.settings.open.drafter.as_deref();
        match drafter.filter(|_| self.settings.drafts) {
            Some(drafter) => drafter::check(&self.default_model().path, drafter),
            None => Ok(()),
        }
    }

    /// All models under all names, the default one first. Reads the headers of new files.
    pub(super) fn all(&self) -> Vec<ModelCard> {
        let default = self.default_model();
        let others = self.files().into_iter();
        let others = others.filter(|found| found.path != default.path);
        let mut cards: Vec<_> = std::iter::once(self.card_of(default.clone()))
            .chain(others.map(|found| self.card_of(found)))
            .collect();
        let aliases = self.settings.aliases.keys();
        cards.extend(aliases.filter_map(|alias| self.card(alias).ok()));
        cards
    }

    /// The model with this name.
    ///
    /// # Errors
    /// As [`Self::find`].
    pub(super) fn card(&self, name: &str) -> Result<ModelCard, RequestError> {
        let card = self.card_of(self.find(name)?);
        let is_alias = self.settings.aliases.contains_key(name);
        Ok(match is_alias {
            true => ModelCard {
                name: name.to_owned(),
                is_default: false,
                ..card
            },
            false => card,
        })
    }

    fn card_of(&self, found: Found) -> ModelCard {
        let files = gguf::files_at(&found.path);
        let lengths = files.iter().map(|file| fs::metadata(file).ok());
        let metadata: Option<Vec<_>> = lengths.collect();
        let metadata = metadata.unwrap_or_default();
        let is_here = !metadata.is_empty();
        let bytes = metadata.iter().map(fs::Metadata::len).sum();
        let modified = metadata.first().and_then(|file| file.modified().ok());
        let inspection = (is_here).then(|| self.inspection(&found.path, bytes, modified));
        let inspection = inspection.flatten();
        ModelCard {
            title: found.entry.map(|entry| entry.title),
            digest: found.entry.map(|entry| entry.sha256.to_string()),
            is_here,
            is_default: found.is_default,
            bytes: match (is_here, found.entry) {
                (false, Some(entry)) => entry.bytes,
                _ => bytes,
            },
            modified,
            context: inspection
                .as_deref()
                .and_then(|inspection| inspection.shape.context)
                .map(|limit| self.settings.context(limit, found.is_default)),
            quantisation: inspection.as_deref().and_then(quantisation),
            inspection,
            name: found.name,
            path: found.path,
        }
    }

    /// Metadata of the file; read only if it is not cached.
    fn inspection(
        &self,
        path: &Path,
        bytes: u64,
        modified: Option<SystemTime>,
    ) -> Option<Arc<Inspection>> {
        let lock = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let is_same = |known: &&Known| known.bytes == bytes && known.modified == modified;
        if let Some(known) = lock().get(path).filter(is_same) {
            return known.inspection.clone();
        }
        let inspection = inspect::inspect(path, None, false).ok().map(Arc::new);
        let known = Known {
            bytes,
            modified,
            inspection: inspection.clone(),
        };
        lock().insert(path.to_owned(), known);
        inspection
    }
}

/// The storage type that most bytes of the weights have.
fn quantisation(inspection: &Inspection) -> Option<String> {
    let most = inspection.types.first()?;
    Some(most.tensor_type.clone())
}

/// The model name of a file: without the extension and without a part number.
fn name_of(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let name = name.strip_suffix(".gguf").unwrap_or(&name);
    let parts = gguf::files_at(path).len();
    let name = match name
        .rsplit_once("-of-")
        .and_then(|(part, _)| part.rsplit_once('-'))
    {
        Some((start, _number)) if parts > 1 => start,
        _ => name,
    };
    name.to_owned()
}

/// Whether `name` refers to this file.
fn is_called(path: &Path, name: &str) -> bool {
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    file.eq_ignore_ascii_case(name) || name_of(path).eq_ignore_ascii_case(name)
}

/// Whether this file is a model, or the first part of one, judging by its name.
fn is_model(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let first = gguf::files_at(path)
        .first()
        .is_some_and(|first| first == path);
    !name.starts_with('.') && name.ends_with(".gguf") && first && path.is_file()
}
