//! All that this device can compute with and give.

use std::sync::Arc;

use potluck_model::Shard;
use potluck_model::gguf::Gguf;
use potluck_protocol::LayerRange;
use potluck_protocol::transfer::{Kept, StoreAnswer, StoreOrder};
use potluck_protocol::wire::limits::MAX_LAYERS;
use potluck_protocol::wire::{ByteRange, ContentHash, ModelOffer, ShardRefusedCode};

use super::offers::{cut, ranges};
use super::stored_model::read_places;
use super::{ShardStore, StoreError};
use crate::manifest::KnownFiles;
use crate::packed_store::{PackedStore, Packing};
use crate::stages::ModelFiles;

/// Whole model files, and what the shard store has. Clones share them.
#[derive(Debug, Clone)]
pub struct OwnModels {
    /// Whole files.
    pub files: KnownFiles,
    /// Layers that came from peers.
    pub shards: ShardStore,
    /// Packed weights of both; `None` to compute from the files as they are.
    pub packed: Option<PackedStore>,
}

impl ModelFiles for OwnModels {
    fn find(&self, manifest: ContentHash, layers: LayerRange) -> Option<Arc<Gguf>> {
        let whole = self.files.find(manifest, layers);
        whole.or_else(|| self.shards.find(manifest, layers))
    }

    fn pack(&self, shard: &Arc<Shard>, manifest: ContentHash) -> Option<Packing> {
        let packed = self.packed.as_ref()?;
        let whole = self.files.manifest(manifest);
        let path = whole.and_then(|_| self.files.path(manifest));
        Some(packed.pack_model(shard, manifest, path))
    }
}

impl OwnModels {
    /// Does what the protocol wants done.
    pub fn follow(&self, order: StoreOrder) -> Option<StoreAnswer> {
        Some(match order {
            StoreOrder::Tell { to, manifest } => StoreAnswer::Has {
                to,
                offer: self.offer(manifest),
            },
            StoreOrder::Prepare { manifest, layers } => StoreAnswer::Prepared {
                manifest,
                result: self
                    .shards
                    .prepare(manifest, &layers)
                    .map_err(|error| words(&error)),
            },
            StoreOrder::KeepManifest { manifest, bytes } => StoreAnswer::ManifestKept {
                manifest,
                kept: kept(self.shards.keep_manifest(manifest, &bytes)),
            },
            StoreOrder::Keep {
                manifest,
                content,
                piece,
                bytes,
            } => StoreAnswer::Kept {
                manifest,
                content,
                piece,
                kept: kept(self.shards.keep(manifest, content, piece, &bytes)),
            },
            StoreOrder::Read {
                to,
                id,
                content,
                range,
            } => StoreAnswer::Read {
                to,
                id,
                result: self.read(content, range),
            },
            StoreOrder::End { manifest } => {
                // What could not be marked as right is checked again.
                let _ = self.shards.end(manifest);
                return None;
            }
        })
    }

    /// What of a model can be given.
    fn offer(&self, manifest: ContentHash) -> ModelOffer {
        if let Some(whole) = self.files.manifest(manifest) {
            let layers = u32::try_from(whole.layers()).unwrap_or(MAX_LAYERS);
            return ModelOffer {
                manifest,
                layers: ranges(0..layers),
                ends: true,
                manifest_bytes: whole.to_bytes().len() as u64,
            };
        }
        let nothing = || ModelOffer {
            manifest,
            layers: Vec::new(),
            ends: false,
            manifest_bytes: 0,
        };
        self.shards.offer(manifest).unwrap_or_else(nothing)
    }

    /// Bytes of an object or a manifest.
    fn read(&self, content: ContentHash, range: ByteRange) -> Result<Vec<u8>, ShardRefusedCode> {
        if let Some(whole) = self.files.manifest(content) {
            return cut(&whole.to_bytes(), range).ok_or(ShardRefusedCode::Range);
        }
        let Some((layout, manifest)) = self.files.with_object(content) else {
            let bytes = self.shards.read(content, range);
            return bytes.ok_or(ShardRefusedCode::NotHere);
        };
        let mut objects = manifest.objects();
        let object = objects.find(|(_, object)| object.content() == content);
        let (_, object) = object.ok_or(ShardRefusedCode::NotHere)?;
        if range.end() > object.bytes() {
            return Err(ShardRefusedCode::Range);
        }
        let file = layout.open();
        let bytes = file.and_then(|mut file| read_places(&mut file, object, range));
        bytes.map_err(|_| ShardRefusedCode::NotHere)
    }
}

fn kept(result: Result<Kept, StoreError>) -> Kept {
    result.unwrap_or_else(|error| Kept::Failed(words(&error)))
}

/// What a peer may know of an error: not where this device keeps its files.
fn words(error: &StoreError) -> String {
    match error {
        StoreError::Disk { source, .. } => {
            format!("this device cannot keep weights on its disk: {source}")
        }
        other => other.to_string(),
    }
}
