//! What is kept is right, stays through crashes, and is no more than the owner allows.

mod giver;

use std::fs;
use std::path::{Path, PathBuf};

use giver::{Giver, LAYERS, begin, fetch, fetch_whole, home, layers, offer, read};
use potluck_protocol::transfer::{Kept, StoreAnswer, StoreOrder, piece_range};
use potluck_protocol::wire::limits::MAX_PIECE_BYTES;
use potluck_protocol::wire::{ByteRange, ContentHash, ShardRefusedCode};
use proptest::prelude::*;

use super::{OwnModels, ShardStore};
use crate::Part;
use crate::home::Home;
use crate::manifest::KnownFiles;
use crate::stages::ModelFiles as _;

#[test]
fn layers_that_came_are_a_working_file_of_just_them() {
    let giver = Giver::with(1);
    let (folder, home) = home();
    let store = ShardStore::open(&home, None);
    let model = giver.all[0];
    let came = fetch(&store, &giver, 0, layers(1, 2), usize::MAX).expect("there is room");
    assert!(came > 4, "common and a layer of several pieces");
    assert!(store.find(model, layers(0, 2)).is_none());
    let own = OwnModels {
        files: KnownFiles::new(),
        shards: store.clone(),
        packed: None,
    };
    let mapped = own.find(model, layers(1, 2)).expect("it is whole");
    store.end(model).expect("writable");
    let whole = giver.models.find(model, layers(0, 3)).expect("it is here");
    for tensor in whole.tensors() {
        let part = Part::of_tensor(&tensor.name, LAYERS as usize);
        let found = mapped.require_tensor(&tensor.name).expect("all are named");
        let same = mapped.tensor_bytes(found) == whole.tensor_bytes(tensor);
        assert_eq!(
            same,
            matches!(part, Part::Common | Part::Layer(1)),
            "{}",
            tensor.name
        );
    }
    // Mapped once.
    let again = own.find(model, layers(1, 2)).expect("it is whole");
    assert!(std::sync::Arc::ptr_eq(&mapped, &again));
    let manifest = giver.manifest(0);
    let offered = offer(&own, model);
    assert_eq!((offered.layers, offered.ends), (vec![layers(1, 2)], false));
    assert_eq!(offered.manifest_bytes, manifest.to_bytes().len() as u64);
    // It gives on what it has, and nothing else.
    let object = |layer| {
        manifest
            .object(Part::Layer(layer))
            .expect("a layer")
            .content()
    };
    let range = ByteRange::new(MAX_PIECE_BYTES / 2, MAX_PIECE_BYTES + 7).expect("some");
    assert_eq!(
        read(&own, object(1), range),
        Ok(giver.read(object(1), range))
    );
    assert_eq!(read(&own, object(0), range), Err(ShardRefusedCode::NotHere));
    let head = ByteRange::new(0, 40).expect("some");
    assert_eq!(read(&own, model, head), Ok(giver.read(model, head)));
    #[cfg(target_os = "linux")]
    {
        use std::os::unix::fs::MetadataExt as _;
        let file = weights(folder.path());
        let on_disk = fs::metadata(file).expect("there").blocks() * 512;
        assert!(on_disk < manifest.file_bytes() * 3 / 4, "{on_disk}");
    }
}

#[test]
fn what_is_not_right_is_not_kept() {
    let giver = Giver::with(1);
    let (_folder, home) = home();
    let store = ShardStore::open(&home, None);
    let model = giver.all[0];
    let mut bytes = giver.manifest(0).to_bytes();
    bytes[50] ^= 1;
    let kept = store.keep_manifest(model, &bytes);
    assert_eq!(kept.expect("no failure"), Kept::Corrupt);
    let lacking = begin(&store, &giver, 0, layers(0, 1)).expect("there is room");
    let layer = lacking.last().expect("a layer");
    let range = piece_range(layer.bytes, 1).expect("it has it");
    let right = giver.read(layer.content, range);
    for (piece, bytes) in [
        (0, right.clone()),
        (99, right.clone()),
        (1, right[1..].to_vec()),
        (1, [&right[..], &[0]].concat()),
        (1, Vec::new()),
    ] {
        let kept = store.keep(model, layer.content, piece, &bytes);
        assert_eq!(kept.expect("no failure"), Kept::Corrupt);
    }
    assert!(store.keep(model, ContentHash([0; 32]), 0, &right).is_err());
    assert!(store.prepare(model, &[layers(2, 4)]).is_err());
    let again = begin(&store, &giver, 0, layers(0, 1)).expect("there is room");
    assert_eq!(again, lacking);
    let twice = || store.keep(model, layer.content, 1, &right);
    assert_eq!(twice().expect("no failure"), Kept::Kept);
    assert_eq!(twice().expect("no failure"), Kept::Kept);
}

/// The one file of weights of a home.
fn weights(home: &Path) -> PathBuf {
    let mut folders = fs::read_dir(home.join("shards")).expect("a folder");
    let folder = folders.next().expect("one").expect("readable").path();
    folder.join("weights.gguf")
}

#[test]
fn a_fetch_that_was_cut_off_goes_on_where_it_was() {
    let giver = Giver::with(1);
    let (folder, home) = home();
    let all = layers(0, LAYERS);
    let whole = {
        let store = ShardStore::open(&home, None);
        let lacking = begin(&store, &giver, 0, all).expect("there is room");
        let pieces = lacking.iter().map(|lacking| lacking.missing.len());
        let pieces: usize = pieces.sum();
        assert_eq!(fetch(&store, &giver, 0, all, 6).expect("room"), 6);
        pieces
    };
    // Killed, and once more, with an entry of the log cut.
    let store = ShardStore::open(&home, None);
    assert_eq!(fetch(&store, &giver, 0, all, 3).expect("room"), 3);
    drop(store);
    let weights = weights(folder.path());
    let log = weights.with_file_name("pieces");
    let mut bytes = fs::read(&log).expect("there");
    assert_eq!(bytes.len(), 9 * 8);
    bytes.extend([1, 2, 3]);
    fs::write(&log, bytes).expect("written");
    // And a piece that never got to the disk.
    let common = giver
        .manifest(0)
        .object(Part::Common)
        .expect("it has it")
        .ranges()[0];
    let mut file = fs::read(&weights).expect("there");
    file[common.first() as usize + 30] ^= 1;
    fs::write(&weights, file).expect("written");
    let store = ShardStore::open(&home, None);
    assert_eq!(fetch_whole(&store, &giver, 0).expect("room"), whole - 8);
    assert!(store.find(giver.all[0], all).is_some());
    // What is finished is not read again.
    let checked = weights.with_file_name("checked");
    assert!(checked.exists());
    let store = ShardStore::open(&home, None);
    assert_eq!(fetch_whole(&store, &giver, 0).expect("room"), 0);
}

#[test]
fn a_file_that_another_program_wrote_into_is_checked_again() {
    let giver = Giver::with(1);
    let (folder, home) = home();
    let model = giver.all[0];
    fetch_whole(&ShardStore::open(&home, None), &giver, 0).expect("there is room");
    let manifest = giver.manifest(0);
    let layer = manifest.object(Part::Layer(1)).expect("a layer");
    let mut bytes = fs::read(weights(folder.path())).expect("there");
    bytes[layer.ranges()[0].first() as usize + MAX_PIECE_BYTES as usize + 5] ^= 1;
    fs::write(weights(folder.path()), &bytes).expect("written");
    let store = ShardStore::open(&home, None);
    assert!(store.find(model, layers(1, 2)).is_none());
    let offered = store.offer(model).expect("it has some");
    assert_eq!(offered.layers, [layers(0, 1), layers(2, 3)]);
    let lacking = begin(&store, &giver, 0, layers(0, LAYERS)).expect("there is room");
    assert_eq!(lacking.len(), 1);
    assert_eq!(
        (lacking[0].content, &lacking[0].missing[..]),
        (layer.content(), &[1][..])
    );
    assert_eq!(fetch_whole(&store, &giver, 0).expect("room"), 1);
    assert!(store.find(model, layers(0, 3)).is_some());

    // A shorter file is nothing at all, and neither are other folders.
    fs::write(weights(folder.path()), &bytes[1..]).expect("written");
    fs::create_dir(home.root().join("shards/.gone-3")).expect("writable");
    fs::create_dir(home.root().join("shards/other")).expect("writable");
    let store = ShardStore::open(&home, None);
    assert_eq!((store.bytes(), store.offer(model)), (0, None));
    assert!(!home.root().join("shards/.gone-3").exists());
    assert!(fetch_whole(&store, &giver, 0).expect("room") > 10);
}

#[test]
fn models_that_were_not_used_for_longest_make_room() {
    let giver = Giver::with(4);
    let (_folder, home) = home();
    let one = giver.bytes(0, LAYERS as usize);
    let quota = one * 2 + one / 2;
    let store = ShardStore::open(&home, Some(quota));
    let here = |store: &ShardStore| -> Vec<usize> {
        let whole = (0..4).filter(|&model| store.offer(giver.all[model]).is_some());
        whole.collect()
    };
    fetch_whole(&store, &giver, 0).expect("there is room");
    fetch_whole(&store, &giver, 1).expect("there is room");
    assert_eq!(store.bytes(), 2 * one);
    // The first is used again, so the second goes.
    assert!(store.find(giver.all[0], layers(0, 1)).is_some());
    fetch_whole(&store, &giver, 2).expect("there is room");
    assert_eq!(here(&store), [0, 2]);
    // One that is mapped stays, and so does one that is being fetched.
    let mapped = store.find(giver.all[0], layers(0, 1)).expect("it is here");
    fetch(&store, &giver, 3, layers(0, LAYERS), 1).expect("there is room");
    assert_eq!(here(&store), [0, 3]);
    assert!(store.bytes() <= quota);
    let error = fetch_whole(&store, &giver, 1).expect_err("both are in use");
    assert!(error.to_string().contains("--store"), "{error}");
    // Of the one without room there is the manifest only.
    assert_eq!(here(&store), [0, 1, 3]);
    drop(mapped);
    store.end(giver.all[3]).expect("writable");
    fetch_whole(&store, &giver, 1).expect("there is room");
    assert!(store.bytes() <= quota);

    // With less room, the last used stays; with none, nothing is kept.
    let store = ShardStore::open(&home, Some(one + 10));
    assert_eq!(here(&store), [1]);
    let store = ShardStore::open(&home, Some(0));
    assert_eq!(store.bytes(), 0);
    assert!(fetch_whole(&store, &giver, 1).is_err());
    assert_eq!(
        fs::read_dir(home.root().join("shards"))
            .expect("there")
            .count(),
        0
    );
}

#[test]
fn a_whole_file_is_given_while_it_is_as_it_was() {
    let giver = Giver::with(1);
    let model = giver.all[0];
    let layer = giver
        .manifest(0)
        .object(Part::Layer(2))
        .expect("a layer")
        .clone();
    let offered = offer(&giver.models, model);
    assert_eq!(
        (offered.layers, offered.ends),
        (vec![layers(0, LAYERS)], true)
    );
    let last = ByteRange::new(layer.bytes() - 9, layer.bytes()).expect("some");
    assert_eq!(giver.read(layer.content(), last).len(), 9);
    let beyond = ByteRange::new(layer.bytes() - 9, layer.bytes() + 1).expect("some");
    for content in [layer.content(), model] {
        let refused = read(&giver.models, content, beyond);
        assert_eq!(refused, Err(ShardRefusedCode::Range));
    }
    fs::write(giver.file(0), b"GGUF").expect("written");
    let refused = read(&giver.models, layer.content(), last);
    assert_eq!(refused, Err(ShardRefusedCode::NotHere));
    assert!(offer(&giver.models, model).is_empty());
}

#[test]
fn errors_that_peers_hear_do_not_tell_where_files_are() {
    let giver = Giver::with(1);
    let (folder, _) = home();
    // What is no folder cannot hold one.
    fs::write(folder.path().join("file"), b"").expect("written");
    let models = OwnModels {
        files: KnownFiles::new(),
        shards: ShardStore::open(&Home::at(folder.path().join("file")), Some(1 << 40)),
        packed: None,
    };
    let order = StoreOrder::KeepManifest {
        manifest: giver.all[0],
        bytes: giver.manifest(0).to_bytes(),
    };
    let Some(StoreAnswer::ManifestKept {
        kept: Kept::Failed(words),
        ..
    }) = models.follow(order)
    else {
        panic!("it cannot be kept");
    };
    let place = folder.path().to_str().expect("text");
    assert!(
        words.contains("its disk") && !words.contains(place),
        "{words}"
    );
}

#[derive(Debug, Clone)]
enum Act {
    Fetch {
        model: usize,
        first: u32,
        pieces: usize,
    },
    End(usize),
    Map(usize, u32),
    Unmap,
    Reopen,
}

fn any_act() -> impl Strategy<Value = Act> {
    let model = || 0..3_usize;
    prop_oneof![
        5 => (model(), 0..LAYERS, 0..12_usize)
            .prop_map(|(model, first, pieces)| Act::Fetch { model, first, pieces }),
        2 => model().prop_map(Act::End),
        2 => (model(), 0..LAYERS).prop_map(|(model, layer)| Act::Map(model, layer)),
        1 => Just(Act::Unmap),
        1 => Just(Act::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_quota_is_kept_and_what_is_in_use_stays(
        acts in prop::collection::vec(any_act(), 1..40),
        share in 1..30_u64,
    ) {
        static GIVER: std::sync::OnceLock<Giver> = std::sync::OnceLock::new();
        let giver = GIVER.get_or_init(|| Giver::with(3));
        let (_folder, home) = home();
        let quota = giver.bytes(0, LAYERS as usize) * share / 10;
        let mut store = ShardStore::open(&home, Some(quota));
        let mut mapped = Vec::new();
        for act in acts {
            match act {
                Act::Fetch { model, first, pieces } => {
                    // May have no room.
                    let _ = fetch(&store, giver, model, layers(first, LAYERS), pieces);
                }
                Act::End(model) => store.end(giver.all[model]).expect("writable"),
                Act::Map(model, layer) => {
                    let wanted = layers(layer, layer + 1);
                    mapped.extend(store.find(giver.all[model], wanted).map(|file| (model, file)));
                }
                Act::Unmap => mapped.clear(),
                Act::Reopen => {
                    mapped.clear();
                    store = ShardStore::open(&home, Some(quota));
                }
            }
            prop_assert!(store.bytes() <= quota);
            for (model, _) in &mapped {
                prop_assert!(store.offer(giver.all[*model]).is_some());
            }
        }
    }
}
