//! Which model is in which file.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use potluck_model::gguf::{Gguf, Layout};
use potluck_protocol::wire::ContentHash;

use super::Manifest;
use super::cache::Look;

/// The model files of this node, by manifest. Clones share them.
///
/// Mappings are kept only while somebody uses them. A file that changed since it was added, or is
/// gone, is not found any more.
#[derive(Debug, Clone, Default)]
pub struct KnownFiles(Arc<Mutex<BTreeMap<ContentHash, Known>>>);

#[derive(Debug)]
struct Known {
    manifest: Arc<Manifest>,
    path: PathBuf,
    look: Look,
    /// Known when it was first asked for.
    layout: OnceLock<Layout>,
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
    pub fn add(&self, manifest: Manifest, path: &Path) -> io::Result<ContentHash> {
        let content = manifest.content();
        let known = Known {
            manifest: Arc::new(manifest),
            path: path.into(),
            look: Look::at(path)?,
            layout: OnceLock::new(),
            mapped: Weak::new(),
        };
        let mut files = self.lock();
        let before = files.get(&content);
        // Its mapping is shared on.
        if before.is_none_or(|before| before.path != known.path || before.look != known.look) {
            files.insert(content, known);
        }
        Ok(content)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ContentHash, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The manifest of this model, if its file is here and has not changed.
    pub fn manifest(&self, manifest: ContentHash) -> Option<Arc<Manifest>> {
        let files = self.lock();
        let known = files.get(&manifest).filter(|known| known.is_as_it_was());
        known.map(|known| Arc::clone(&known.manifest))
    }

    /// Where the bytes of a model with this object lie, and its manifest, if it is here and has not
    /// changed.
    pub(crate) fn with_object(&self, content: ContentHash) -> Option<(Layout, Arc<Manifest>)> {
        let files = self.lock();
        let mut known = files.values().filter(|known| {
            let mut objects = known.manifest.objects();
            objects.any(|(_, object)| object.content() == content)
        });
        let known = known.find(|known| known.is_as_it_was())?;
        Some((known.layout()?, Arc::clone(&known.manifest)))
    }

    /// Where the model of this manifest is.
    pub fn path(&self, manifest: ContentHash) -> Option<PathBuf> {
        self.lock().get(&manifest).map(|known| known.path.clone())
    }
}

impl Known {
    fn layout(&self) -> Option<Layout> {
        if let Some(layout) = self.layout.get() {
            return Some(layout.clone());
        }
        let layout = Layout::at(&self.path).ok()?;
        Some(self.layout.get_or_init(|| layout).clone())
    }

    fn is_as_it_was(&self) -> bool {
        Look::at(&self.path).is_ok_and(|look| look == self.look)
    }
}

impl KnownFiles {
    /// The mapped file of this model, if it is here and has not changed.
    pub fn mapped(&self, manifest: ContentHash) -> Option<Arc<Gguf>> {
        let mut files = self.lock();
        let known = files.get_mut(&manifest)?;
        // One that has changed is of no use any more, even if its file is again what it was.
        let mapped = known.mapped.upgrade();
        if let Some(mapped) = mapped.filter(|mapped| mapped.watch().check().is_ok()) {
            return Some(mapped);
        }
        let mapped = Arc::new(Gguf::open(&known.path).ok()?);
        // After mapping: a file that is replaced later stays mapped as it is.
        if !known.is_as_it_was() {
            return None;
        }
        known.mapped = Arc::downgrade(&mapped);
        Some(mapped)
    }
}
