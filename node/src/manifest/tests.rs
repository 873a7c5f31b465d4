//! One file has one manifest, which is read back as it was written and hides no change.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use potluck_model::gguf::synth::{RopeScaling, SynthSpec};
use potluck_model::gguf::{Gguf, part_path};
use potluck_protocol::LayerRange;
use potluck_protocol::wire::limits::{MAX_MANIFEST_BYTES, MAX_PIECE_BYTES};
use potluck_protocol::wire::{ByteRange, ContentHash};
use proptest::prelude::*;

use super::{KnownFiles, Malformed, Manifest, ManifestCache, ManifestError, Object, content_of};
use crate::home::Home;
use crate::stages::ModelFiles as _;
use crate::{Cancel, Part};

/// A model of three layers, with rotary divisors, in a folder of its own.
fn model() -> (tempfile::TempDir, PathBuf) {
    let mut spec = SynthSpec::preset("tiny").expect("a preset");
    spec.rope_scaling = RopeScaling::Llama3 {
        factor: 8.0,
        low_frequency: 1.0,
        high_frequency: 4.0,
        original_context: 1024,
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("model.gguf");
    fs::write(&path, spec.to_bytes().expect("valid")).expect("written");
    (folder, path)
}

fn manifest_of(path: &Path) -> Manifest {
    let manifest = Manifest::of_file(path, &Cancel::new(), &mut |_| ());
    manifest.expect("a model").expect("not cancelled")
}

fn flip(path: &Path, at: u64) {
    let mut bytes = fs::read(path).expect("readable");
    bytes[at as usize] ^= 1;
    fs::write(path, bytes).expect("written");
}

#[test]
fn objects_are_the_bytes_of_their_tensors_and_the_header() {
    let (_folder, path) = model();
    let manifest = manifest_of(&path);
    let gguf = Gguf::open(&path).expect("valid");
    let file = fs::read(&path).expect("readable");
    assert_eq!(manifest.layers(), 3);
    assert_eq!(manifest.file_bytes(), file.len() as u64);
    for (part, object) in manifest.objects() {
        let tensors = gguf.tensors().iter();
        let mut tensors: Vec<_> = tensors
            .filter(|tensor| Part::of_tensor(&tensor.name, 3) == part)
            .collect();
        tensors.sort_by_key(|tensor| tensor.offset);
        let mut bytes = Vec::new();
        if part == Part::Common {
            bytes.extend(&file[..gguf.data_offset() as usize]);
        }
        for tensor in &tensors {
            bytes.extend(gguf.tensor_bytes(tensor));
        }
        assert!(!tensors.is_empty(), "{part:?}");
        assert_eq!(object.bytes(), bytes.len() as u64, "{part:?}");
        let pieces: Vec<_> = bytes.chunks(MAX_PIECE_BYTES as usize).collect();
        assert_eq!(object.pieces() as usize, pieces.len());
        let hashes: Vec<_> = pieces
            .iter()
            .map(|piece| *blake3::hash(piece).as_bytes())
            .collect();
        assert_eq!(
            object.content(),
            content_of(hashes.as_flattened()),
            "{part:?}"
        );
        for (number, piece) in (0..).zip(&pieces) {
            assert!(object.is_piece(number, piece));
            assert!(!object.is_piece(number, &piece[1..]) && !object.is_piece(99, piece));
        }
        let first = bytes.len() as u64 / 3;
        let part_of_it = ByteRange::new(first, bytes.len() as u64 - 1).expect("some");
        let mut there: Vec<u8> = Vec::new();
        for (at, length) in object.places(part_of_it) {
            there.extend_from_slice(&file[at as usize..at as usize + length]);
        }
        assert_eq!(there, bytes[first as usize..bytes.len() - 1]);
        assert_eq!(manifest.object(part), Some(object));
    }
    assert_eq!(manifest.object(Part::Layer(3)), None);
    assert_eq!(manifest.object(Part::Layer(usize::MAX)), None);
}

#[test]
fn any_byte_that_matters_makes_it_another_model() {
    let (_folder, path) = model();
    let before = manifest_of(&path);
    assert_eq!(manifest_of(&path).content(), before.content());
    let gguf = Gguf::open(&path).expect("valid");
    let changed = gguf.require_tensor("blk.1.ffn_up.weight").expect("there");
    flip(&path, changed.offset + changed.bytes as u64 - 1);
    let after = manifest_of(&path);
    assert_ne!(after.content(), before.content());
    for (part, object) in before.objects() {
        let same = after.object(part) == Some(object);
        assert_eq!(same, part != Part::Layer(1), "{part:?}");
    }
}

#[test]
fn a_file_is_read_once_and_again_when_it_changed() {
    let (folder, path) = model();
    let manifests = ManifestCache::of(&Home::at(folder.path().join("home")));
    let read = |manifests: &ManifestCache| {
        let mut read = 0;
        let manifest = manifests.get(&path, &Cancel::new(), &mut |bytes| read = bytes);
        (manifest.expect("a model").expect("not cancelled"), read)
    };
    let (first, bytes) = read(&manifests);
    let objects: u64 = first.objects().map(|(_, object)| object.bytes()).sum();
    assert_eq!(bytes, objects);
    assert_eq!(read(&manifests), (first.clone(), 0));

    // Touched only: it is read, and found to be the same.
    let file = fs::File::options().write(true).open(&path).expect("there");
    let modified = file.metadata().and_then(|m| m.modified()).expect("a time");
    let later = modified + Duration::from_secs(5);
    file.set_modified(later).expect("ours");
    assert_eq!(read(&manifests), (first.clone(), objects));

    flip(&path, first.file_bytes() - 1);
    let file = fs::File::options().write(true).open(&path).expect("there");
    file.set_modified(later + Duration::from_secs(5))
        .expect("ours");
    let (second, bytes) = read(&manifests);
    assert_eq!(bytes, objects);
    assert_ne!(second.content(), first.content());

    // What is remembered is damaged: it is made again.
    let memory = folder.path().join("home/manifests");
    let memory = fs::read_dir(memory).expect("a folder").next();
    let memory = memory.expect("one").expect("readable").path();
    let remembered = fs::read(&memory).expect("readable").len();
    for at in [0, remembered / 2, remembered - 1] {
        flip(&memory, at as u64);
        assert_eq!(read(&manifests), (second.clone(), objects));
    }
    fs::write(&memory, b"").expect("written");
    assert_eq!(read(&manifests), (second.clone(), objects));
    assert_eq!(read(&manifests), (second, 0));
}

#[test]
fn reading_stops_when_asked_to() {
    let (_folder, path) = model();
    let cancel = Cancel::new();
    cancel.cancel();
    let manifest = Manifest::of_file(&path, &cancel, &mut |_| ());
    assert_eq!(manifest.expect("no failure"), None);
}

#[test]
fn what_is_no_model_has_no_manifest() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("model.gguf");
    let get = || Manifest::of_file(&path, &Cancel::new(), &mut |_| ());
    assert!(matches!(get(), Err(ManifestError::Model(_))));
    fs::write(&path, b"GGUF").expect("written");
    assert!(matches!(get(), Err(ManifestError::Model(_))));
}

#[test]
fn a_known_file_is_mapped_once_and_not_found_when_it_changed() {
    let (_folder, path) = model();
    let manifest = manifest_of(&path);
    let name = manifest.content();
    let layer = manifest.object(Part::Layer(1)).expect("a layer").content();
    let known = KnownFiles::new();
    let all = LayerRange::new(0, 3).expect("forwards");
    let find = |known: &KnownFiles| known.find(name, all);
    assert!(find(&known).is_none());
    assert_eq!(known.add(manifest, &path).expect("there"), name);
    assert_eq!(known.path(name), Some(path.clone()));
    let first = find(&known).expect("it is known");
    let again = manifest_of(&path);
    assert_eq!(known.add(again.clone(), &path).expect("there"), name);
    let second = find(&known.clone()).expect("it is known");
    assert!(std::sync::Arc::ptr_eq(&first, &second));
    drop((first, second));
    assert!(find(&known).is_some());
    assert_eq!(known.manifest(name).as_deref(), Some(&again));
    let (found, _) = known.with_object(layer).expect("it is known");
    assert_eq!(found.files(), std::slice::from_ref(&path));
    assert!(known.with_object(ContentHash([0; 32])).is_none());
    let bytes = fs::read(&path).expect("readable");
    fs::write(&path, [&bytes[..], &[0]].concat()).expect("written");
    assert!(find(&known).is_none() && known.manifest(name).is_none());
    assert!(known.with_object(layer).is_none());
    fs::remove_file(&path).expect("removed");
    assert!(find(&known).is_none());
}

/// Any manifest: ascending bytes of a file, dealt out to objects.
fn any_manifest() -> impl Strategy<Value = Manifest> {
    let pieces = prop::collection::vec(
        (any::<prop::sample::Index>(), 1..1_000_u64, 0..2_u64),
        0..40,
    );
    (1..6_usize, pieces, any::<u8>(), 0..9_u64).prop_map(|(layers, pieces, hash, after)| {
        let mut ranges = vec![Vec::<(u64, u64)>::new(); layers + 2];
        let mut at = 0;
        let all = (0..layers + 2).map(|object| (object, 7, 1));
        let pieces = pieces
            .iter()
            .map(|(object, bytes, gap)| (object.index(layers + 2), *bytes, *gap));
        for (object, bytes, gap) in all.chain(pieces) {
            at += gap;
            match ranges[object].last_mut() {
                Some((_, end)) if *end == at => *end += bytes,
                _ => ranges[object].push((at, at + bytes)),
            }
            at += bytes;
        }
        let object = |(number, ranges): (usize, Vec<(u64, u64)>)| {
            let ranges = ranges.into_iter();
            let ranges = ranges.map(|(a, b)| ByteRange::new(a, b).expect("not empty"));
            // Shorter than a piece.
            Object::new(ranges.collect(), vec![[hash ^ number as u8; 32]])
        };
        let objects = ranges.into_iter().enumerate().map(object).collect();
        Manifest::new(at + after, objects).expect("in order")
    })
}

proptest! {
    #[test]
    fn a_manifest_is_read_back(manifest in any_manifest()) {
        let bytes = manifest.to_bytes();
        prop_assert_eq!(content_of(&bytes), manifest.content());
        prop_assert_eq!(Manifest::parse(&bytes), Ok(manifest));
    }

    #[test]
    fn other_bytes_are_refused_or_another_manifest(
        manifest in any_manifest(),
        at in any::<prop::sample::Index>(),
        change in prop_oneof![
            any::<u8>().prop_map(Change::Byte),
            any::<u64>().prop_map(Change::Number),
            Just(Change::Cut),
            prop::collection::vec(any::<u8>(), 1..40).prop_map(Change::Insert),
        ],
    ) {
        let mut bytes = manifest.to_bytes();
        let at = at.index(bytes.len());
        match change {
            Change::Byte(byte) => bytes[at] = byte,
            Change::Number(number) => {
                let number = number.to_le_bytes();
                let end = bytes.len().min(at + number.len());
                bytes[at..end].copy_from_slice(&number[..end - at]);
            }
            Change::Cut => bytes.truncate(at),
            Change::Insert(more) => drop(bytes.splice(at..at, more)),
        }
        // Canonical: what is read is written back to the byte.
        if let Ok(read) = Manifest::parse(&bytes) {
            prop_assert_eq!(read.to_bytes(), bytes);
        }
    }

    #[test]
    fn arbitrary_bytes_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(Manifest::parse(&bytes).is_err());
        let behind_magic = [b"potluck-manifest\x01\0\0\0".as_slice(), &bytes].concat();
        if let Ok(read) = Manifest::parse(&behind_magic) {
            prop_assert_eq!(read.to_bytes(), behind_magic);
        }
    }
}

#[derive(Debug, Clone)]
enum Change {
    Byte(u8),
    Number(u64),
    Cut,
    Insert(Vec<u8>),
}

/// An object's bytes as the module's page gives them, written by hand.
fn object(hash: u8, ranges: &[(u64, u64)]) -> Vec<u8> {
    let mut bytes = (ranges.len() as u32).to_le_bytes().to_vec();
    for (first, end) in ranges {
        bytes.extend(first.to_le_bytes());
        bytes.extend(end.to_le_bytes());
    }
    let length: u64 = ranges.iter().map(|(a, b)| b.saturating_sub(*a)).sum();
    let pieces = length.div_ceil(MAX_PIECE_BYTES) as usize;
    bytes.resize(bytes.len() + 32 * pieces.min(9), hash);
    bytes
}

/// As [`object`], a manifest's.
fn manifest(version: u32, layers: u32, file: u64, objects: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = b"potluck-manifest".to_vec();
    bytes.extend(version.to_le_bytes());
    bytes.extend(layers.to_le_bytes());
    bytes.extend(file.to_le_bytes());
    bytes.extend(objects.concat());
    bytes
}

/// Common with these ranges, ends, and a layer of a file of 400 bytes.
fn objects(common: &[(u64, u64)]) -> [Vec<u8>; 3] {
    let ends = object(2, &[(100, 200)]);
    let layer = object(3, &[(200, 300), (320, 400)]);
    [object(1, common), ends, layer]
}

#[test]
fn the_bytes_are_as_documented_and_ranges_are_checked() {
    let with_common = |ranges| Manifest::parse(&manifest(1, 1, 400, &objects(ranges)));
    let good = with_common(&[(0, 90), (310, 320)]).expect("in order");
    assert_eq!((good.layers(), good.file_bytes()), (1, 400));
    let layer = good.object(Part::Layer(0)).expect("it has one");
    let named = content_of(&[3; 32]);
    assert_eq!((layer.bytes(), layer.content()), (180, named));
    assert_eq!(layer.pieces(), 1);
    for wrong in [
        &[][..],
        &[(5, 5)],
        &[(9, 5)],
        &[(0, 50), (50, 90)],
        &[(0, 50), (40, 90)],
        &[(60, 90), (0, 50)],
        &[(0, 90), (400, 401)],
        &[(0, 1 << 60)],
        &[(9, u64::MAX)],
    ] {
        let ranges = Err(Malformed::Ranges { object: 0 });
        assert_eq!(with_common(wrong), ranges, "{wrong:?}");
    }
    assert_eq!(with_common(&[(0, 101)]), Err(Malformed::Shared { at: 100 }));
}

#[test]
fn each_lie_is_named() {
    let objects = objects(&[(0, 90)]);
    let mut longer = manifest(1, 1, 400, &objects);
    longer.push(0);
    let many_ranges = u32::MAX.to_le_bytes().to_vec();
    let many_pieces = object(1, &[(0, 1 << 50)]);
    let (far, too_long) = ((1 << 50) + 1, MAX_MANIFEST_BYTES as usize + 1);
    for (bytes, expected) in [
        (b"potluck".to_vec(), Malformed::Magic),
        (manifest(2, 1, 400, &objects), Malformed::Version(2)),
        (manifest(1, 0, 400, &objects), Malformed::Layers(0)),
        (manifest(1, 257, 400, &objects), Malformed::Layers(257)),
        (manifest(1, 2, 400, &objects), Malformed::Short),
        (manifest(1, 1, far, &objects), Malformed::FileBytes(far)),
        (longer, Malformed::Trailing(1)),
        (vec![0; too_long], Malformed::TooLong(too_long)),
        (manifest(1, 1, 400, &[many_ranges]), Malformed::Short),
        (manifest(1, 1, 400, &[many_pieces]), Malformed::Short),
    ] {
        assert_eq!(Manifest::parse(&bytes), Err(expected));
    }
}

/// So that a device with the parts and one with the single file can give each other layers.
#[test]
fn a_split_model_is_the_model_of_the_single_file() {
    let spec = SynthSpec::preset("tiny").expect("a preset");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let single = folder.path().join("model.gguf");
    fs::write(&single, spec.to_bytes().expect("valid")).expect("written");
    let whole = manifest_of(&single);
    let parts = spec.to_parts(3).expect("valid");
    let paths: Vec<_> = (1..4).map(|part| part_path(&single, part, 3)).collect();
    for (path, bytes) in paths.iter().zip(&parts) {
        fs::write(path, bytes).expect("written");
    }
    let manifests = ManifestCache::of(&Home::at(folder.path().join("home")));
    let read = |path: &Path| {
        let mut read = 0;
        let manifest = manifests.get(path, &Cancel::new(), &mut |bytes| read = bytes);
        (manifest.expect("a model").expect("not cancelled"), read > 0)
    };
    // Read once, by whichever part, and again when any part changed.
    assert_eq!(read(&paths[1]), (whole.clone(), true));
    assert_eq!(read(&paths[0]), (whole.clone(), false));
    flip(&paths[2], parts[2].len() as u64 - 1);
    let (changed, anew) = read(&paths[0]);
    assert!(anew && changed.content() != whole.content());
}
