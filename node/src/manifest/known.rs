//! Which model is in which file.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use potluck_model::gguf::Gguf;
use potluck_protocol::wire::ContentHash;

use super::files::Look;
use crate::stages::ModelFiles;

/// The model files of this node, by manifest. Clones share them.
///
/// Mappings are kept only while somebody uses them. A file that changed since it was added, or is
/// gone, is not found any more.
#[derive(Debug, Clone, Default)]
pub struct KnownFiles(Arc<Mutex<BTreeMap<ContentHash, Known>>>);

#[derive(Debug)]
struct Known {
    path: PathBuf,
    look: Look,
    mapped: Weak<Gguf>,
}

impl KnownFiles {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The file at `path` is the model of this manifest, as was just found.
    ///
    /// # Errors
    /// The file cannot be looked at.
    pub fn add(&self, manifest: ContentHash, path: &Path) -> io::Result<()> {
        let known = Known {
            path: path.into(),
            look: Look::at(path)?,
            mapped: Weak::new(),
        };
        let mut files = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        files.insert(manifest, known);
        Ok(())
    }

    /// Where the model of this manifest is.
    pub fn path(&self, manifest: ContentHash) -> Option<PathBuf> {
        let files = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        files.get(&manifest).map(|known| known.path.clone())
    }
}

impl ModelFiles for KnownFiles {
    fn find(&self, manifest: ContentHash) -> Option<Arc<Gguf>> {
        let mut files = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = files.get_mut(&manifest)?;
        if let Some(mapped) = known.mapped.upgrade() {
            return Some(mapped);
        }
        let mapped = Arc::new(Gguf::open(&known.path).ok()?);
        // After mapping: a file that is replaced later stays mapped as it is.
        if Look::at(&known.path).ok()? != known.look {
            return None;
        }
        known.mapped = Arc::downgrade(&mapped);
        Some(mapped)
    }
}
