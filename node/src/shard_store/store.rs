//! All models of the store.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use potluck_model::gguf::Gguf;
use potluck_protocol::LayerRange;
use potluck_protocol::transfer::{Kept, Lacking, Missing};
use potluck_protocol::wire::{ByteRange, ContentHash, ModelOffer};

use super::StoreError;
use super::offers::{cut, ranges};
use super::stored_model::StoredModel;
use crate::disk;
use crate::home::Home;
use crate::manifest::content_of;
use crate::packed_store;

/// Layers of models that came from peers; see the module's page. Clones share them.
#[derive(Debug, Clone)]
pub struct ShardStore(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    folder: PathBuf,
    quota: u64,
    models: BTreeMap<ContentHash, StoredModel>,
}

impl ShardStore {
    /// The store of this home, which keeps so many bytes; if nothing is said, half of what is free on
    /// its disk, and 20 GB at most. A folder that is no model is passed over; what was being removed is.
    pub fn open(home: &Home, quota: Option<u64>) -> Self {
        let folder = home.root().join("shards");
        let mut models = BTreeMap::new();
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with(".gone-") {
                // Tried again the next time.
                let _ = fs::remove_dir_all(entry.path());
            } else if let Some(stored) = StoredModel::open(entry.path(), &name) {
                models.insert(stored.manifest().content(), stored);
            }
        }
        let kept = models.values().map(StoredModel::bytes).sum();
        let mut inner = Inner {
            quota: quota.unwrap_or_else(|| disk::usual_quota(&folder, kept)),
            folder,
            models,
        };
        // It may keep less than before. What cannot be removed is tried again when room is needed.
        let _ = inner.make_room(0);
        Self(Arc::new(Mutex::new(inner)))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes that all models take, with what is promised.
    pub fn bytes(&self) -> u64 {
        self.lock().bytes()
    }

    /// What is missing of these layers; there is room for it from now on, and nothing of the model is
    /// removed until [`end`](Self::end).
    ///
    /// # Errors
    /// There is no room, or the disk fails.
    pub fn prepare(
        &self,
        manifest: ContentHash,
        layers: &[LayerRange],
    ) -> Result<Missing, StoreError> {
        let mut inner = self.lock();
        let Some(stored) = inner.models.get_mut(&manifest) else {
            let quota = inner.quota;
            return match quota {
                0 => Err(StoreError::NoRoom { needed: 1, quota }),
                _ => Ok(Missing::Manifest),
            };
        };
        if !stored.knows(layers) {
            return Err(StoreError::Unknown);
        }
        stored.check()?;
        let lacking = stored.lacks(layers);
        let missing = lacking.iter().map(missing_bytes).sum();
        stored.fetching = true;
        stored.promised = missing;
        stored.touch();
        if let Err(error) = inner.make_room(0) {
            if let Some(stored) = inner.models.get_mut(&manifest) {
                (stored.fetching, stored.promised) = (false, 0);
            }
            return Err(error);
        }
        Ok(Missing::Pieces(lacking))
    }

    /// Keeps a manifest, if it is right.
    ///
    /// # Errors
    /// It is none that this build reads, there is no room, or the disk fails.
    pub fn keep_manifest(&self, manifest: ContentHash, bytes: &[u8]) -> Result<Kept, StoreError> {
        if content_of(bytes) != manifest {
            return Ok(Kept::Corrupt);
        }
        let mut inner = self.lock();
        if !inner.models.contains_key(&manifest) {
            inner.make_room(bytes.len() as u64)?;
            let folder = inner.folder.join(manifest.to_string());
            let mut stored = StoredModel::create(folder, bytes)?;
            stored.fetching = true;
            inner.models.insert(manifest, stored);
        }
        Ok(Kept::Kept)
    }

    /// Keeps a piece, if it is right.
    ///
    /// # Errors
    /// The model or object is unknown, or the disk fails.
    pub fn keep(
        &self,
        manifest: ContentHash,
        content: ContentHash,
        piece: u32,
        bytes: &[u8],
    ) -> Result<Kept, StoreError> {
        let mut inner = self.lock();
        let stored = inner.models.get_mut(&manifest);
        let stored = stored.ok_or(StoreError::Unknown)?;
        stored.keep(content, piece, bytes)
    }

    /// Nothing more comes of a model for now.
    ///
    /// # Errors
    /// The disk fails: what was kept will be checked again.
    pub fn end(&self, manifest: ContentHash) -> Result<(), StoreError> {
        match self.lock().models.get_mut(&manifest) {
            Some(stored) => stored.end(),
            None => Ok(()),
        }
    }

    /// The model's file, mapped, if it has these layers.
    pub fn find(&self, manifest: ContentHash, layers: LayerRange) -> Option<Arc<Gguf>> {
        let mut inner = self.lock();
        let stored = inner.models.get_mut(&manifest)?;
        stored.check().ok()?;
        stored.map(layers)
    }

    /// What of a model can be given.
    pub fn offer(&self, manifest: ContentHash) -> Option<ModelOffer> {
        let mut inner = self.lock();
        let stored = inner.models.get_mut(&manifest)?;
        stored.check().ok()?;
        Some(ModelOffer {
            manifest,
            layers: ranges(stored.layers()),
            ends: false,
            manifest_bytes: stored.manifest_bytes(),
        })
    }

    /// Bytes of an object or a manifest, if they are here.
    pub fn read(&self, content: ContentHash, range: ByteRange) -> Option<Vec<u8>> {
        let mut inner = self.lock();
        for stored in inner.models.values_mut() {
            if stored.has_object(content) {
                stored.check().ok()?;
                if let Some(bytes) = stored.read(content, range) {
                    return Some(bytes);
                }
            }
        }
        let stored = inner.models.get(&content)?;
        cut(&stored.manifest().to_bytes(), range)
    }
}

impl Inner {
    fn bytes(&self) -> u64 {
        self.models.values().map(StoredModel::bytes).sum()
    }

    /// Removes what was not used for longest, until so many bytes more are within the quota.
    fn make_room(&mut self, more: u64) -> Result<(), StoreError> {
        let fits = |inner: &Self| inner.bytes().saturating_add(more) <= inner.quota;
        while !fits(self) {
            let idle = self.models.iter().filter(|(_, stored)| !stored.is_in_use());
            let oldest = idle.min_by_key(|(_, stored)| stored.used);
            let Some(&oldest) = oldest.map(|(manifest, _)| manifest) else {
                let kept = self.bytes().saturating_add(more);
                return Err(StoreError::NoRoom {
                    needed: kept,
                    quota: self.quota,
                });
            };
            if let Some(stored) = self.models.remove(&oldest) {
                let path = self.folder.join(oldest.to_string());
                stored
                    .remove()
                    .map_err(|source| StoreError::Disk { path, source })?;
                // The home is the folder above.
                self.folder
                    .parent()
                    .into_iter()
                    .for_each(|home| packed_store::forget(home, oldest));
            }
        }
        Ok(())
    }
}

fn missing_bytes(lacking: &Lacking) -> u64 {
    let pieces = lacking.missing.iter();
    let ranges =
        pieces.filter_map(|piece| potluck_protocol::transfer::piece_range(lacking.bytes, *piece));
    ranges.map(ByteRange::bytes).sum()
}
