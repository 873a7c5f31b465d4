//! A model file that was mapped, to find out later which model it is.

use std::path::{Path, PathBuf};

use potluck_model::gguf::{Gguf, GgufError};

use super::{Look, Manifest, ManifestCache, ManifestError};
use crate::Cancel;

/// The path of a mapped model file, and how the file looked when it was mapped.
#[derive(Debug, Clone)]
pub struct MappedFile {
    path: PathBuf,
    /// `None` if it changed as it was mapped.
    look: Option<Look>,
}

impl MappedFile {
    /// Maps the file at `path`.
    ///
    /// # Errors
    /// Those of [`Gguf::open`].
    pub fn open(path: &Path) -> Result<(Gguf, Self), GgufError> {
        let before = Look::at(path).ok();
        let gguf = Gguf::open(path)?;
        let file = Self {
            path: path.to_owned(),
            look: before,
        };
        let look = file.look.clone().filter(|_| file.is_as_it_was());
        Ok((gguf, Self { look, ..file }))
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn is_as_it_was(&self) -> bool {
        let now = Look::at(&self.path).ok();
        now.is_some() && now == self.look
    }

    /// The manifest of what is mapped. `None` if the file at the path has changed since, or if
    /// `cancel` was set.
    ///
    /// # Errors
    /// Those of [`ManifestCache::get`].
    pub fn manifest(
        &self,
        manifests: &ManifestCache,
        cancel: &Cancel,
    ) -> Result<Option<Manifest>, ManifestError> {
        if !self.is_as_it_was() {
            return Ok(None);
        }
        let manifest = manifests.get(&self.path, cancel, &mut |_| ())?;
        Ok(manifest.filter(|_| self.is_as_it_was()))
    }
}
