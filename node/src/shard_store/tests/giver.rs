//! A device that gives, and one that fetches.

use std::fs;
use std::path::PathBuf;

use potluck_model::TensorType;
use potluck_model::gguf::synth::{SynthSpec, TypeMix};
use potluck_protocol::transfer::{Kept, Lacking, Missing, StoreAnswer, StoreOrder, piece_range};
use potluck_protocol::wire::{ByteRange, ContentHash, ModelOffer, ShardRefusedCode};
use potluck_protocol::{LayerRange, PeerId};

use crate::home::Home;
use crate::manifest::{KnownFiles, Manifest};
use crate::shard_store::{OwnModels, ShardStore, StoreError};
use crate::{Cancel, Part};

pub(super) const LAYERS: u32 = 3;

/// A device with whole models, which differ.
pub(super) struct Giver {
    folder: tempfile::TempDir,
    pub(super) models: OwnModels,
    pub(super) all: Vec<ContentHash>,
}

impl Giver {
    pub(super) fn with(count: u64) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let models = OwnModels {
            files: KnownFiles::new(),
            shards: ShardStore::open(&Home::at(folder.path()), Some(0)),
            packed: None,
        };
        let all = (0..count).map(|seed| {
            let path = folder.path().join(format!("{seed}.gguf"));
            fs::write(&path, spec(seed).to_bytes().expect("valid")).expect("written");
            let manifest = Manifest::of_file(&path, &Cancel::new(), &mut |_| ());
            let manifest = manifest.expect("a model").expect("not cancelled");
            models.files.add(manifest, &path).expect("there")
        });
        let all = all.collect();
        Self {
            folder,
            models,
            all,
        }
    }

    pub(super) fn file(&self, model: usize) -> PathBuf {
        self.folder.path().join(format!("{model}.gguf"))
    }

    pub(super) fn manifest(&self, model: usize) -> Manifest {
        let manifest = self.models.files.manifest(self.all[model]);
        (*manifest.expect("it is here")).clone()
    }

    pub(super) fn read(&self, content: ContentHash, range: ByteRange) -> Vec<u8> {
        read(&self.models, content, range).expect("it is here")
    }

    /// Bytes of a model's manifest, common and so many layers.
    pub(super) fn bytes(&self, model: usize, layers: usize) -> u64 {
        let manifest = self.manifest(model);
        let parts = (0..layers).map(Part::Layer).chain([Part::Common]);
        let objects = parts.map(|part| manifest.object(part).expect("it has it").bytes());
        manifest.to_bytes().len() as u64 + objects.sum::<u64>()
    }
}

/// A model whose layers have four pieces each.
pub(super) fn spec(seed: u64) -> SynthSpec {
    let mut spec = SynthSpec::preset("tiny").expect("a preset");
    spec.seed = seed;
    (spec.d_model, spec.d_ff, spec.heads, spec.kv_heads) = (256, 1024, 4, 2);
    spec.types = TypeMix::uniform(TensorType::Q8_0);
    spec
}

pub(super) fn read(
    models: &OwnModels,
    content: ContentHash,
    range: ByteRange,
) -> Result<Vec<u8>, ShardRefusedCode> {
    let order = StoreOrder::Read {
        to: PeerId::from_public_key([1; 32]),
        id: 9,
        content,
        range,
    };
    match models.follow(order) {
        Some(StoreAnswer::Read { result, .. }) => result,
        other => panic!("{other:?}"),
    }
}

pub(super) fn offer(models: &OwnModels, manifest: ContentHash) -> ModelOffer {
    let order = StoreOrder::Tell {
        to: PeerId::from_public_key([1; 32]),
        manifest,
    };
    match models.follow(order) {
        Some(StoreAnswer::Has { offer, .. }) => offer,
        other => panic!("{other:?}"),
    }
}

pub(super) fn layers(first: u32, end: u32) -> LayerRange {
    LayerRange::new(first, end).expect("forwards")
}

pub(super) fn home() -> (tempfile::TempDir, Home) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let home = Home::at(folder.path());
    (folder, home)
}

/// What a store lacks of layers of which it has the manifest after this.
pub(super) fn begin(
    store: &ShardStore,
    giver: &Giver,
    model: usize,
    wanted: LayerRange,
) -> Result<Vec<Lacking>, StoreError> {
    let manifest = giver.all[model];
    if let Missing::Manifest = store.prepare(manifest, &[wanted])? {
        let bytes = giver.manifest(model).to_bytes();
        let kept = store.keep_manifest(manifest, &bytes)?;
        assert_eq!(kept, Kept::Kept);
    }
    match store.prepare(manifest, &[wanted])? {
        Missing::Pieces(lacking) => Ok(lacking),
        Missing::Manifest => panic!("it was kept"),
    }
}

/// Fetches layers, at most so many pieces; how many came.
pub(super) fn fetch(
    store: &ShardStore,
    giver: &Giver,
    model: usize,
    wanted: LayerRange,
    most: usize,
) -> Result<usize, StoreError> {
    let lacking = begin(store, giver, model, wanted)?;
    let pieces = lacking.iter().flat_map(|lacking| {
        let pieces = lacking.missing.iter();
        pieces.map(move |piece| (lacking, *piece))
    });
    let mut came = 0;
    for (lacking, piece) in pieces.take(most) {
        let range = piece_range(lacking.bytes, piece).expect("it has it");
        let bytes = giver.read(lacking.content, range);
        let kept = store.keep(giver.all[model], lacking.content, piece, &bytes)?;
        assert_eq!(kept, Kept::Kept);
        came += 1;
    }
    Ok(came)
}

pub(super) fn fetch_whole(
    store: &ShardStore,
    giver: &Giver,
    model: usize,
) -> Result<usize, StoreError> {
    let came = fetch(store, giver, model, layers(0, LAYERS), usize::MAX)?;
    store.end(giver.all[model])?;
    Ok(came)
}
