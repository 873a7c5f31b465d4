//! Packed weights on disk: the same bits, and nothing else is taken for them.

use std::fs::File;
use std::io::Write as _;

use burn::tensor::Tensor;

use super::packed::PackedError;
use super::{SequenceStep, Shard, ShardRange};
use crate::gguf::Gguf;
use crate::gguf::synth::{SynthSpec, TypeMix};
use crate::packed_part::PackedPart;
use crate::{Compute, KvCache, ModelConfig, ModelError, TensorType};

const KEY: [u8; 32] = [7; 32];

fn shard() -> (Shard, ModelConfig) {
    shard_of(&SynthSpec::preset("tiny").expect("a preset"))
}

fn shard_of(spec: &SynthSpec) -> (Shard, ModelConfig) {
    let gguf = Gguf::parse(spec.to_bytes().expect("valid")).expect("valid");
    let config = ModelConfig::from_gguf(&gguf).expect("valid");
    let compute = Compute::new(None).expect("an instruction set");
    let range = ShardRange::whole(&config);
    let shard = Shard::load(&gguf, &config, range, compute).expect("loadable");
    (shard, config)
}

/// The bits of the logits after some tokens.
fn logits(shard: &Shard, config: &ModelConfig, ids: &[u32]) -> Vec<u32> {
    let mut cache = KvCache::new(config, 0..config.layers, 64, shard.compute()).expect("room");
    let hidden: Tensor<2> = shard.embed(ids).expect("known tokens");
    let mut steps = [SequenceStep {
        cache: &mut cache,
        start: 0,
        count: ids.len(),
    }];
    let hidden = shard.forward(hidden, &mut steps).expect("room");
    let bits = |logits: &[f32]| logits.iter().map(|l| l.to_bits()).collect();
    shard.logits(hidden, bits).expect("a head")
}

fn packed(shard: &Shard, part: PackedPart) -> Vec<u8> {
    let mut bytes = Vec::new();
    let written = shard.write_packed(part, &KEY, &mut bytes, &|| true);
    written.expect("to memory");
    bytes
}

fn file(bytes: &[u8]) -> File {
    let mut file = tempfile();
    file.write_all(bytes).expect("room on the disk");
    file
}

/// A file that is gone with its last handle.
fn tempfile() -> File {
    static NEXT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let name = format!("potluck-packed-{}-{number}", std::process::id());
    let path = std::env::temp_dir().join(name);
    let mut options = File::options();
    let file = options.read(true).write(true).create_new(true).open(&path);
    let file = file.expect("a temporary file");
    std::fs::remove_file(&path).expect("just made");
    file
}

#[test]
fn every_quantised_type_has_the_same_bits_when_it_is_packed() {
    for tensor_type in TensorType::ALL.into_iter().filter(|t| !t.is_float()) {
        let mut spec = SynthSpec::preset("tiny").expect("a preset");
        spec.types = TypeMix::uniform(tensor_type);
        spec.layers = 1;
        let (shard, config) = shard_of(&spec);
        let inputs: [&[u32]; 3] = [&[5], &[1, 2, 3], &[9; 12]];
        let stored = inputs.map(|ids| logits(&shard, &config, ids));
        for (part, len) in shard.packed_parts() {
            let bytes = packed(&shard, part);
            assert_eq!(bytes.len() as u64, len, "{tensor_type}");
            let used = shard.use_packed(part, &KEY, &file(&bytes));
            used.expect("what was written");
        }
        let packed = inputs.map(|ids| logits(&shard, &config, ids));
        assert!(stored == packed, "{tensor_type}");
        assert!(stored[0].iter().any(|bits| *bits != stored[0][0]));
    }
}

#[test]
fn logits_keep_their_bits_with_any_parts_packed() {
    let (shard, config) = shard();
    let parts = shard.packed_parts();
    assert_eq!(parts.len(), config.layers + 1);
    let inputs: [&[u32]; 3] = [&[5], &[1, 2, 3, 4, 5], &[9; 40]];
    let expected = inputs.map(|ids| logits(&shard, &config, ids));
    for (part, len) in parts {
        let bytes = packed(&shard, part);
        assert_eq!(bytes.len() as u64, len, "{part}");
        assert!(!shard.is_packed(part));
        shard
            .use_packed(part, &KEY, &file(&bytes))
            .expect("its own");
        assert!(shard.is_packed(part));
        assert_eq!(
            inputs.map(|ids| logits(&shard, &config, ids)),
            expected,
            "{part}"
        );
    }
}

#[test]
fn other_and_damaged_files_are_refused_and_nothing_changes() {
    let (shard, config) = shard();
    let part = PackedPart::Layer(1);
    let bytes = packed(&shard, part);
    let refused = |bytes: &[u8]| {
        shard
            .use_packed(part, &KEY, &file(bytes))
            .expect_err("refused")
    };
    let expected = logits(&shard, &config, &[3]);
    for (at, what) in [
        (0, "the magic"),
        (8, "the version"),
        (20, "the key"),
        (48, "a type"),
    ] {
        let mut other = bytes.clone();
        other[at] ^= 1;
        assert!(matches!(refused(&other), PackedError::Other), "{what}");
    }
    for at in [bytes.len() / 2, bytes.len() - 1] {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x40;
        assert!(
            matches!(refused(&damaged), PackedError::Damaged),
            "byte {at}"
        );
    }
    assert!(matches!(
        refused(&bytes[..bytes.len() - 1]),
        PackedError::Other
    ));
    assert!(matches!(refused(&[]), PackedError::Other));
    let foreign = packed(&shard, PackedPart::Layer(0));
    // Layers of one shape differ in their weights alone, so a file is known by its name.
    shard
        .use_packed(part, &KEY, &file(&bytes))
        .expect("its own");
    assert_ne!(foreign, bytes);
    assert_eq!(logits(&shard, &config, &[3]), expected);
}

#[test]
fn packing_stops_when_it_is_told_to() {
    let (shard, _) = shard();
    let mut bytes = Vec::new();
    let stopped = shard.write_packed(PackedPart::Head, &KEY, &mut bytes, &|| false);
    assert!(matches!(stopped, Err(PackedError::Stopped)));
    let missing = shard.write_packed(PackedPart::Layer(99), &KEY, &mut bytes, &|| true);
    assert!(matches!(missing, Err(PackedError::Nothing(_))));
}

#[cfg(target_os = "linux")]
#[test]
fn a_file_that_is_cut_short_fails_one_step_and_the_stored_weights_take_over() {
    let (shard, config) = shard();
    let part = PackedPart::Layer(0);
    let file = file(&packed(&shard, part));
    let expected = logits(&shard, &config, &[3]);
    shard.use_packed(part, &KEY, &file).expect("its own");
    file.set_len(64).expect("ours");
    let mut cache = KvCache::new(&config, 0..config.layers, 64, shard.compute()).expect("room");
    let hidden = shard.embed(&[3]).expect("known");
    let mut steps = [SequenceStep {
        cache: &mut cache,
        start: 0,
        count: 1,
    }];
    let lost = shard
        .forward(hidden, &mut steps)
        .expect_err("weights are gone");
    assert!(
        matches!(lost, ModelError::PackedLost(PackedPart::Layer(0))),
        "{lost}"
    );
    assert!(!shard.is_packed(part));
    assert_eq!(logits(&shard, &config, &[3]), expected);
}

#[test]
fn what_is_packed_in_memory_gives_the_same_bits() {
    let ids = [1, 5, 9, 2];
    let (shard, config) = shard();
    let before = logits(&shard, &config, &ids);
    let parts = shard.packed_parts();
    assert!(!parts.is_empty());
    shard.pack_in_memory().expect("packed");
    assert!(parts.iter().all(|(part, _)| shard.is_packed(*part)));
    assert_eq!(logits(&shard, &config, &ids), before);
}
