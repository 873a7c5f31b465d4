//! Packed weights on disk: made once for each model, used by every command of a home.
//!
//! A packed file has the matrices of a layer, or of the head, in the layout that the processor reads
//! fastest ([`potluck_model::PackedPart`]). It is derived from the model file and gives the same
//! answers, so it can be removed at any time. [`PackedStore`] keeps such files; [`Packing`] is the
//! thread that makes them and puts them to use while answers are already computed from the model
//! file.
//!
//! # On disk
//! A folder for each model, in `packed/` of the home, named by the hash of its manifest:
//!
//! | file | what |
//! |---|---|
//! | `layer-0003.v1`, `head.v1` | the packed files; the number at the end is the layout's version |
//! | `used` | locked, shared, by each process that uses the files; modified when one last began to |
//! | `packing` | locked by the process that makes files |
//! | `sources` | which model files they were made from; see `folder` |
//! | `problem` | why some parts are not packed |
//! | `.layer-0003.v1.123` | a file that process 123 is writing |
//!
//! # Invariants
//! - A file has its name only once it is whole: it is written under another one, synced and renamed.
//!   It is still checked whenever it is opened, and made again if it is damaged or of another model.
//! - Only the process that holds the lock `packing` makes files; what it leaves when it is killed is
//!   removed by the next one that does. Others use each file as it appears.
//! - All files together stay within the quota. The models that were not used for longest make room,
//!   never one that is in use.
//! - Folders whose model files are gone are removed when a process first packs.
//! - That there is no room, or that the disk fails, never fails an answer: what is not packed is
//!   computed from the model file.

mod folder;
mod packing;
#[cfg(test)]
mod tests;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use potluck_model::Shard;
use potluck_protocol::wire::ContentHash;
use serde::Serialize;

use crate::disk;
use crate::home::Home;
use crate::manifest::{ManifestCache, ManifestError, MappedFile};
use folder::Folder;
use packing::Model;
pub use packing::{Packing, PackingState};

/// The packed weights of a home; see the module's page. Clones share one state.
#[derive(Debug, Clone)]
pub struct PackedStore(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    home: PathBuf,
    quota: Option<u64>,
    manifests: ManifestCache,
    /// Called with the first problem.
    tell: fn(&str),
    told: AtomicBool,
    /// Whether folders without a model were removed.
    cleaned: AtomicBool,
    /// Bytes of files that this process computes from.
    in_use: AtomicU64,
}

/// Why weights are not packed. Answers are computed from the model file then.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// The quota is used up by models in use.
    #[error(
        "no room for packed weights within {} MB: allow more with --packed, or pack nothing with \
         --no-pack",
        quota / 1_000_000
    )]
    Quota {
        /// Bytes that all files together may have.
        quota: u64,
    },
    /// The disk is full.
    #[error("no room on the disk for packed weights: free some, or pack nothing with --no-pack")]
    Full(#[source] io::Error),
    /// The disk fails.
    #[error("cannot keep packed weights in {}", path.display())]
    Disk {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file is damaged as soon as it was written.
    #[error("packed weights in {} do not keep their bytes: check the disk", path.display())]
    Damaged {
        /// Where.
        path: PathBuf,
    },
    /// The model file cannot be read.
    #[error("cannot pack weights")]
    Model(#[from] ManifestError),
    /// The model file was replaced or written to since it was opened.
    #[error("cannot pack weights: the model file has changed")]
    Changed,
    /// The system has no more threads.
    #[error("cannot pack weights: the system gives no thread")]
    Thread(#[source] io::Error),
}

/// What is packed of a model.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct PackedView {
    /// Bytes on disk.
    pub bytes: u64,
    /// Layers that are packed.
    pub layers: usize,
    /// Whether the head is.
    pub head: bool,
    /// Why the rest is not, if packing it failed.
    pub problem: Option<String>,
}

impl PackedStore {
    /// The store of this home, which keeps so many bytes; by default half of what is free on its disk,
    /// and 20 GB at most. `tell` is called with the first problem, in words. Nothing is read or
    /// written before something is packed.
    pub fn of(home: &Home, quota: Option<u64>, tell: fn(&str)) -> Self {
        Self(Arc::new(Inner {
            home: home.root().to_owned(),
            quota,
            manifests: ManifestCache::of(home),
            tell,
            told: AtomicBool::new(false),
            cleaned: AtomicBool::new(false),
            in_use: AtomicU64::new(0),
        }))
    }

    /// The quota that was given, in bytes.
    pub fn quota(&self) -> Option<u64> {
        self.0.quota
    }

    /// Packs a shard of the model in `file` on a thread of its own, or puts to use what is there, as
    /// long as the result lives. Keep it as long as the shard.
    pub fn pack_file(&self, shard: &Arc<Shard>, file: MappedFile) -> Packing {
        Packing::start(self, shard, Model::File(file))
    }

    /// Like [`pack_file`](Self::pack_file), for a shard of the model with this manifest; `path` is its
    /// file, unless it came from peers.
    pub fn pack_model(
        &self,
        shard: &Arc<Shard>,
        manifest: ContentHash,
        path: Option<PathBuf>,
    ) -> Packing {
        Packing::start(self, shard, Model::Known { manifest, path })
    }

    /// Bytes of packed files that this process computes from.
    pub fn in_use_bytes(&self) -> u64 {
        self.0.in_use.load(Ordering::Relaxed)
    }

    /// What is packed of the model in the file at `path`. Nothing, if its manifest was never made.
    pub fn view(home: &Home, path: &Path) -> PackedView {
        let manifest = ManifestCache::of(home).remembered(path);
        let folder = manifest.map(|manifest| Folder::of(home.root(), manifest.content()));
        folder.map(|folder| folder.view()).unwrap_or_default()
    }

    fn folder(&self, manifest: ContentHash) -> Folder {
        Folder::of(&self.0.home, manifest)
    }

    /// Logs a problem, and tells the first one.
    fn tell(&self, error: &PackError) -> String {
        let words = crate::words::of(error);
        if !self.0.told.swap(true, Ordering::Relaxed) {
            tracing::warn!(why = %words, "weights are not packed");
            (self.0.tell)(&words);
        }
        words
    }

    /// Removes folders of models that are gone, the first time.
    fn clean(&self) {
        if !self.0.cleaned.swap(true, Ordering::Relaxed) {
            remove_gone(&self.0.home);
            let folders = Folder::all(&self.0.home);
            let orphans = folders.iter().filter(|folder| folder.is_orphan());
            for orphan in orphans {
                remove(orphan);
            }
        }
    }

    /// Removes the models that were not used for longest, until there is room for a file of `more`
    /// bytes of the model of `keep`.
    fn make_room(&self, more: u64, keep: &Folder) -> Result<(), PackError> {
        let mut others = Folder::all(&self.0.home);
        let mut total: u64 = others.iter().map(Folder::bytes).sum();
        let quota = match self.0.quota {
            Some(quota) => quota,
            None => disk::usual_quota(&Folder::parent(&self.0.home), total),
        };
        others.retain(|folder| folder.name() != keep.name());
        others.sort_by_key(|folder| std::cmp::Reverse(folder.used()));
        while total.saturating_add(more) > quota {
            let oldest = others.pop().ok_or(PackError::Quota { quota })?;
            let bytes = oldest.bytes();
            if remove(&oldest) {
                total -= bytes;
            }
        }
        Ok(())
    }
}

/// Removes a model's packed files unless they are in use; whether it did. What cannot be removed is
/// tried again the next time.
fn remove(folder: &Folder) -> bool {
    let removed = folder.remove().unwrap_or(false);
    if removed {
        tracing::info!(model = folder.name(), "packed weights are removed");
    }
    removed
}

/// Removes the packed weights of a model that is no longer in the shard store of `home`, unless they
/// have another source.
pub(crate) fn forget(home: &Path, manifest: ContentHash) {
    let folder = Folder::of(home, manifest);
    if folder.is_orphan() {
        remove(&folder);
    }
}

/// Finishes removing folders.
fn remove_gone(home: &Path) {
    let entries = fs::read_dir(Folder::parent(home)).into_iter().flatten();
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with(".gone-") {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
