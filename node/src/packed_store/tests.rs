//! Tests of the packed store, with a small model of random weights.

use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;

use potluck_model::gguf::synth::{Architecture, RopeScaling, SynthSpec, TypeMix};
use potluck_model::{Compute, ModelConfig, ShardRange, TensorType};
use tempfile::TempDir;

use super::*;
use crate::Cancel;

fn tell_nobody(_: &str) {}

/// A model file of so many layers, and the home it is used in.
struct Kitchen {
    folder: TempDir,
}

impl Kitchen {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let kitchen = Self { folder };
        kitchen.write("a.gguf", 0);
        kitchen
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, seed: u64) {
        let mut spec = SynthSpec {
            name: "packed".to_owned(),
            architecture: Architecture::Llama,
            layers: 3,
            d_model: 64,
            heads: 4,
            kv_heads: 2,
            head_dim: 16,
            d_ff: 128,
            vocabulary: 0,
            context: 64,
            types: TypeMix::uniform(TensorType::Q4_0),
            tied: false,
            seed,
            rope_base: 10_000.0,
            rope_scaling: RopeScaling::None,
            sliding_window: None,
        };
        spec.vocabulary = spec.minimum_vocabulary();
        // Replaced, not changed: it may be mapped.
        let new = self.path("new");
        fs::write(&new, spec.to_bytes().expect("a model")).expect("written");
        fs::rename(new, self.path(name)).expect("renamed");
    }

    fn home(&self) -> Home {
        Home::at(self.path("home"))
    }

    fn store(&self, quota: Option<u64>) -> PackedStore {
        PackedStore::of(&self.home(), quota, tell_nobody)
    }

    fn open(&self, name: &str) -> (Arc<Shard>, MappedFile) {
        let (gguf, file) = MappedFile::open(&self.path(name)).expect("a model");
        let config = ModelConfig::from_gguf(&gguf).expect("a model");
        let compute = Compute::new(std::num::NonZeroUsize::new(1)).expect("one thread");
        let shard = Shard::load(&gguf, &config, ShardRange::whole(&config), compute);
        (Arc::new(shard.expect("it runs")), file)
    }

    /// Packs a model to the end.
    fn pack(&self, store: &PackedStore, name: &str) -> (Packing, PackingState) {
        let (shard, file) = self.open(name);
        let packing = store.pack_file(&shard, file);
        let state = packing.wait(&Cancel::new());
        (packing, state)
    }

    /// The folder of a model's packed files.
    fn packed(&self, name: &str) -> PathBuf {
        let manifests = ManifestCache::of(&self.home());
        let manifest = manifests.remembered(&self.path(name)).expect("known");
        Folder::of(self.home().root(), manifest.content())
            .path()
            .to_owned()
    }

    /// Names in `packed/` that are models'.
    fn models(&self) -> Vec<String> {
        let folders = Folder::all(self.home().root());
        folders.iter().map(|f| f.name().to_owned()).collect()
    }

    fn view(&self, name: &str) -> PackedView {
        PackedStore::view(&self.home(), &self.path(name))
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("readable");
    let names = entries.map(|entry| entry.expect("readable").file_name());
    let mut names: Vec<_> = names.map(|n| n.to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn a_model_is_packed_once_and_then_only_opened() {
    let kitchen = Kitchen::new();
    let store = kitchen.store(None);
    assert_eq!(kitchen.view("a.gguf"), PackedView::default());
    let (packing, state) = kitchen.pack(&store, "a.gguf");
    assert_eq!((state.parts, state.ready, state.made), (4, 4, 4));
    assert_eq!(state.problem, None);
    assert_eq!(store.in_use_bytes(), state.bytes);
    drop(packing);
    assert_eq!(store.in_use_bytes(), 0);
    let view = kitchen.view("a.gguf");
    assert_eq!((view.layers, view.head, view.bytes), (3, true, state.bytes));

    let (_packing, again) = kitchen.pack(&kitchen.store(None), "a.gguf");
    assert_eq!((again.ready, again.made, again.bytes), (4, 0, state.bytes));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = kitchen.packed("a.gguf");
        let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!(mode(&folder), 0o700);
        for name in names(&folder) {
            assert_eq!(mode(&folder.join(&name)), 0o600, "{name}");
        }
    }
}

#[test]
fn damaged_files_are_made_again_and_what_was_left_behind_is_removed() {
    let kitchen = Kitchen::new();
    drop(kitchen.pack(&kitchen.store(None), "a.gguf"));
    let folder = kitchen.packed("a.gguf");
    let whole = names(&folder);
    let layer = folder.join(potluck_model::PackedPart::Layer(1).file_name());
    let bytes = fs::read(&layer).expect("readable");
    let mut damaged = bytes.clone();
    damaged[5000] ^= 1;
    // Old versions, and what a process left that was killed.
    for left in [
        "layer-0001.v0",
        "head.v0",
        ".layer-0002.v1.77777",
        ".head.v1.1",
    ] {
        fs::write(folder.join(left), b"left").expect("written");
    }
    for wrong in [&damaged[..], &bytes[..1000], b""] {
        fs::write(&layer, wrong).expect("written");
        let (_packing, state) = kitchen.pack(&kitchen.store(None), "a.gguf");
        assert_eq!((state.ready, state.made), (4, 1));
        assert!(fs::read(&layer).expect("readable") == bytes);
        assert_eq!(names(&folder), whole);
    }
}

#[test]
fn without_room_a_model_stays_as_it_is_and_that_is_said_once() {
    static TOLD: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let kitchen = Kitchen::new();
    kitchen.write("b.gguf", 1);
    let tell = |words: &str| TOLD.lock().expect("not poisoned").push(words.to_owned());
    let store = PackedStore::of(&kitchen.home(), Some(1000), tell);
    for name in ["a.gguf", "b.gguf"] {
        let (_packing, state) = kitchen.pack(&store, name);
        assert_eq!((state.ready, state.bytes), (0, 0));
        let problem = state.problem.expect("one");
        assert!(problem.contains("--packed"), "{problem}");
        let view = kitchen.view(name);
        assert_eq!(view.problem, Some(problem));
        assert_eq!((view.bytes, view.layers), (0, 0));
    }
    assert_eq!(TOLD.lock().expect("not poisoned").len(), 1);
    // With room the problem is over.
    let (_packing, state) = kitchen.pack(&kitchen.store(None), "a.gguf");
    assert_eq!((state.ready, state.problem), (4, None));
    assert_eq!(kitchen.view("a.gguf").problem, None);
}

#[test]
fn the_model_not_used_for_longest_makes_room_but_none_in_use() {
    let kitchen = Kitchen::new();
    kitchen.write("b.gguf", 1);
    let (in_use, state) = kitchen.pack(&kitchen.store(None), "a.gguf");
    // Beside the files there are a few small ones.
    let store = kitchen.store(Some(state.bytes + 8000));
    let (packing, second) = kitchen.pack(&store, "b.gguf");
    assert!(second.ready < 4 && second.problem.is_some(), "{second:?}");
    assert_eq!(kitchen.view("a.gguf").layers, 3);
    drop((in_use, packing));
    let (_packing, second) = kitchen.pack(&store, "b.gguf");
    assert_eq!((second.ready, second.problem), (4, None));
    assert_eq!(kitchen.view("a.gguf"), PackedView::default());
    assert_eq!(kitchen.models().len(), 1);
}

#[test]
fn packed_weights_go_with_their_model() {
    let kitchen = Kitchen::new();
    kitchen.write("b.gguf", 1);
    let (in_use, _) = kitchen.pack(&kitchen.store(None), "a.gguf");
    fs::remove_file(kitchen.path("a.gguf")).expect("removed");
    // In use: it goes later.
    drop(kitchen.pack(&kitchen.store(None), "b.gguf"));
    assert_eq!(kitchen.models().len(), 2);
    drop(in_use);
    drop(kitchen.pack(&kitchen.store(None), "b.gguf"));
    assert_eq!(kitchen.models().len(), 1);
    assert_eq!(kitchen.view("b.gguf").layers, 3);
    // Another file of the same name is another model.
    kitchen.write("a.gguf", 2);
    assert_eq!(kitchen.view("a.gguf"), PackedView::default());
}

#[test]
fn layers_of_the_shard_store_are_kept_while_they_are_there() {
    let kitchen = Kitchen::new();
    let (shard, file) = kitchen.open("a.gguf");
    let manifests = ManifestCache::of(&kitchen.home());
    let manifest = file.manifest(&manifests, &Cancel::new());
    let manifest = manifest.expect("readable").expect("unchanged").content();
    let home = kitchen.home();
    let shards = home.root().join("shards").join(manifest.to_string());
    fs::create_dir_all(&shards).expect("created");
    let packing = kitchen.store(None).pack_model(&shard, manifest, None);
    assert_eq!(packing.wait(&Cancel::new()).ready, 4);
    drop(packing);
    forget(home.root(), manifest);
    assert_eq!(kitchen.models().len(), 1);
    fs::remove_dir_all(shards).expect("removed");
    forget(home.root(), manifest);
    assert_eq!(kitchen.models().len(), 0);
}

#[test]
fn a_disk_that_fails_does_no_harm() {
    let kitchen = Kitchen::new();
    fs::create_dir_all(kitchen.home().root()).expect("created");
    fs::write(kitchen.home().root().join("packed"), b"no folder").expect("written");
    let (packing, state) = kitchen.pack(&kitchen.store(None), "a.gguf");
    assert_eq!((state.parts, state.ready), (4, 0));
    assert!(state.problem.is_some_and(|words| words.contains("packed")));
    assert_eq!(packing.state().ready, 0);
}

#[test]
fn a_model_file_that_was_replaced_is_not_packed_as_the_new_one() {
    let kitchen = Kitchen::new();
    let store = kitchen.store(None);
    let (shard, file) = kitchen.open("a.gguf");
    kitchen.write("a.gguf", 1);
    let packing = store.pack_file(&shard, file);
    let state = packing.wait(&Cancel::new());
    assert_eq!(state.ready, 0);
    assert!(state.problem.is_some_and(|words| words.contains("changed")));
    assert_eq!(kitchen.models().len(), 0);
}

#[test]
fn two_at_once_share_the_work() {
    let kitchen = Kitchen::new();
    let stores = [kitchen.store(None), kitchen.store(None)];
    let opened = stores.map(|store| {
        let (shard, file) = kitchen.open("a.gguf");
        (store.pack_file(&shard, file), shard)
    });
    let states = opened.each_ref().map(|(p, _)| p.wait(&Cancel::new()));
    assert_eq!(states.each_ref().map(|state| state.ready), [4, 4]);
    assert_eq!(states.iter().map(|state| state.made).sum::<usize>(), 4);
}

#[test]
fn what_is_stopped_leaves_nothing_unfinished() {
    let kitchen = Kitchen::new();
    for _ in 0..8 {
        let (shard, file) = kitchen.open("a.gguf");
        drop(kitchen.store(None).pack_file(&shard, file));
        for model in Folder::all(kitchen.home().root()) {
            let names = names(model.path());
            let unfinished = names.iter().filter(|name| name.starts_with(".layer"));
            assert_eq!(unfinished.count(), 0, "{names:?}");
        }
    }
}
