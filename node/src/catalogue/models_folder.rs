//! The models folder: which models of the catalogue are on this device, and whether they are whole.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::Entry;
use super::verify::{Marker, Sha256};
use crate::{Cancel, home::Home};

/// The models folder of a [`Home`].
#[derive(Debug, Clone)]
pub struct ModelsFolder {
    folder: PathBuf,
}

/// What the folder holds of one model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheState {
    /// Nothing.
    Absent,
    /// The beginning of it, left by an interrupted fetch.
    Partial {
        /// How many bytes.
        bytes: u64,
    },
    /// The whole file, unchanged since its hash was checked.
    Ready,
    /// A file of the right length whose hash has not been checked since it last changed.
    Unchecked,
    /// A file of another length.
    Damaged {
        /// The length found.
        bytes: u64,
    },
}

/// The models folder could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}", path.display())]
pub struct ModelsFolderError {
    /// What was tried (`read`, `write`).
    pub action: &'static str,
    /// On which file or folder.
    pub path: PathBuf,
    /// Why it failed.
    #[source]
    pub source: io::Error,
}

impl ModelsFolderError {
    pub(super) fn at(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self {
            action,
            path: path.to_owned(),
            source,
        }
    }
}

impl ModelsFolder {
    /// The store of this home. The folder need not exist yet.
    pub fn of(home: &Home) -> Self {
        Self {
            folder: home.models(),
        }
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where this model's file is or would be.
    pub fn path(&self, entry: &Entry) -> PathBuf {
        self.folder.join(entry.file)
    }

    /// Looks at this model's file without reading it.
    ///
    /// # Errors
    /// When the folder exists but cannot be looked into.
    pub fn state(&self, entry: &Entry) -> Result<CacheState, ModelsFolderError> {
        let path = self.path(entry);
        if let Some(bytes) = length(&path)? {
            if bytes != entry.bytes {
                return Ok(CacheState::Damaged { bytes });
            }
            let marker =
                Marker::of(&path, entry.sha256).map_err(ModelsFolderError::at("read", &path))?;
            let checked = Marker::read(&path) == Some(marker);
            return Ok(if checked {
                CacheState::Ready
            } else {
                CacheState::Unchecked
            });
        }
        Ok(match length(&self.partial_path(entry))? {
            None | Some(0) => CacheState::Absent,
            Some(bytes) => CacheState::Partial { bytes },
        })
    }

    /// Hashes this model's file and says whether it is the catalogue's, remembering so if it is.
    /// `on_progress` is told the bytes read; `None` when cancelled.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn verify(
        &self,
        entry: &Entry,
        cancel: &Cancel,
        on_progress: &mut dyn FnMut(u64),
    ) -> Result<Option<bool>, ModelsFolderError> {
        let path = self.path(entry);
        let read = ModelsFolderError::at("read", &path);
        let Some(found) = Sha256::of_file(&path, cancel, on_progress).map_err(read)? else {
            return Ok(None);
        };
        if found == entry.sha256 {
            self.remember(entry);
        }
        Ok(Some(found == entry.sha256))
    }

    /// Notes that this model's file was just found to have the catalogue's hash.
    pub(super) fn remember(&self, entry: &Entry) {
        let path = self.path(entry);
        // In a folder that cannot be written the model is still good; it is hashed again at the
        // next start.
        let _ = Marker::of(&path, entry.sha256).and_then(|marker| marker.write(&path));
    }

    /// Removes this model's file and what is known about it.
    pub(super) fn remove(&self, entry: &Entry) -> Result<(), ModelsFolderError> {
        let path = self.path(entry);
        Marker::remove(&path).map_err(ModelsFolderError::at("write", &path))?;
        fs::remove_file(&path).map_err(ModelsFolderError::at("remove", &path))
    }

    pub(super) fn create_folder(&self) -> Result<(), ModelsFolderError> {
        fs::create_dir_all(&self.folder).map_err(ModelsFolderError::at("create", &self.folder))
    }

    pub(super) fn partial_path(&self, entry: &Entry) -> PathBuf {
        self.folder.join(format!(".partial-{}", entry.file))
    }

    pub(super) fn lock_path(&self, entry: &Entry) -> PathBuf {
        self.folder.join(format!(".lock-{}", entry.file))
    }

    pub(super) fn wheels_path(&self, entry: &Entry) -> PathBuf {
        self.folder.join(format!(".wheels-{}", entry.file))
    }
}

/// The length of the file at `path`, or `None` if there is no such file.
fn length(path: &Path) -> Result<Option<u64>, ModelsFolderError> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(Some(metadata.len())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(ModelsFolderError::at("read", path)(error)),
    }
}
