//! Draft heads of small random models: arithmetic, files, refusals.

use std::num::NonZeroUsize;

use half::f16;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::gguf::Gguf;
use crate::gguf::synth::SynthSpec;
use crate::{Compute, Isa, ModelConfig, Shard, ShardRange};

const SHA256: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

/// Pseudorandom numbers from −1 to 1.
fn numbers(seed: u32, count: usize) -> impl Iterator<Item = f32> {
    (0..count as u32).map(move |at| {
        let mixed = (at + 1)
            .wrapping_mul(2_654_435_761)
            .wrapping_add(seed * 40_503);
        ((mixed >> 8) % 2001) as f32 / 1000.0 - 1.0
    })
}

fn q8_0(seed: u32, rows: usize, columns: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    let scale = f16::from_f32(0.1 / 127.0);
    let numbers: Vec<_> = numbers(seed, rows * columns).collect();
    for block in numbers.chunks(32) {
        bytes.extend_from_slice(&scale.to_le_bytes());
        bytes.extend(block.iter().map(|x| (x * 127.0) as i8 as u8));
    }
    bytes
}

/// A tensor of a file: name, type, shape, bytes.
pub(crate) type Stored = (String, &'static str, Vec<usize>, Vec<u8>);

/// A random head for a model of this configuration, before it becomes a file.
pub(crate) struct Parts {
    pub(crate) metadata: serde_json::Map<String, serde_json::Value>,
    pub(crate) tensors: Vec<Stored>,
}

impl Parts {
    pub(crate) fn of(config: &ModelConfig) -> Self {
        let (d, ff) = (config.d_model, config.d_ff);
        let (q, kv) = (
            config.heads * config.head_dim,
            config.kv_heads * config.head_dim,
        );
        let mut tensors = Vec::new();
        for (seed, name) in (1..).zip(head_file::NORMS) {
            let factors = numbers(seed, d).map(|x| 1.0 + x / 4.0);
            let bytes = factors.flat_map(f32::to_le_bytes).collect();
            tensors.push((name.to_owned(), "F32", vec![d], bytes));
        }
        for (seed, (name, rows, columns)) in (10..).zip([
            ("join", d, 2 * d),
            ("attn_q", q, d),
            ("attn_k", kv, d),
            ("attn_v", kv, d),
            ("attn_output", d, q),
            ("ffn_gate", ff, d),
            ("ffn_up", ff, d),
            ("ffn_down", d, ff),
        ]) {
            let shape = vec![rows, columns / 32 * 34];
            tensors.push((name.to_owned(), "U8", shape, q8_0(seed, rows, columns)));
        }
        let tokens = (0..config.vocabulary as u32).filter(|id| id % 3 != 1);
        let bytes: Vec<u8> = tokens.flat_map(u32::to_le_bytes).collect();
        tensors.push(("tokens".to_owned(), "U32", vec![bytes.len() / 4], bytes));
        let metadata = json!({
            "format": "potluck-draft-head", "version": "1", "window": "64",
            "base": "tiny.gguf", "base_bytes": "1000", "base_sha256": SHA256,
            "architecture": config.architecture.name(),
            "d_model": d.to_string(), "d_ff": ff.to_string(),
            "heads": config.heads.to_string(), "kv_heads": config.kv_heads.to_string(),
            "head_dim": config.head_dim.to_string(),
            "vocabulary": config.vocabulary.to_string(),
        });
        let serde_json::Value::Object(metadata) = metadata else {
            unreachable!("it is an object");
        };
        Self { metadata, tensors }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut header = serde_json::Map::new();
        header.insert("__metadata__".to_owned(), self.metadata.clone().into());
        let mut data = Vec::new();
        for (name, dtype, shape, bytes) in &self.tensors {
            let offsets = [data.len(), data.len() + bytes.len()];
            let info = json!({"dtype": dtype, "shape": shape, "data_offsets": offsets});
            header.insert(name.clone(), info);
            data.extend_from_slice(bytes);
        }
        let header = serde_json::Value::Object(header).to_string();
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend_from_slice(header.as_bytes());
        file.extend_from_slice(&data);
        file
    }

    fn tensor(&mut self, name: &str) -> &mut Stored {
        let mut tensors = self.tensors.iter_mut();
        tensors
            .find(|tensor| tensor.0 == name)
            .expect("it is there")
    }
}

fn tiny() -> Gguf {
    let spec = SynthSpec::preset("tiny").expect("a preset");
    Gguf::parse(spec.to_bytes().expect("valid")).expect("valid")
}

/// The ends of the tiny model, and its configuration.
fn ends(isa: Isa, threads: usize) -> (Shard, ModelConfig) {
    let gguf = tiny();
    let config = ModelConfig::from_gguf(&gguf).expect("valid");
    let range = ShardRange {
        embedding: true,
        layers: 0..0,
        head: true,
    };
    let compute = Compute::with_isa(isa, NonZeroUsize::new(threads));
    let shard = Shard::load(&gguf, &config, range, compute).expect("it loads");
    (shard, config)
}

fn head(isa: Isa, threads: usize) -> DraftHead {
    let (shard, config) = ends(isa, threads);
    let file = HeadFile::parse(Parts::of(&config).bytes()).expect("a head");
    shard.draft_head(&file).expect("of this model")
}

fn bits(numbers: &[f32]) -> Vec<u32> {
    numbers.iter().map(|x| x.to_bits()).collect()
}

#[test]
fn every_instruction_set_and_number_of_threads_gives_the_same_bits() {
    let scalar = head(Isa::SCALAR, 1);
    let hidden: Vec<f32> = numbers(77, 20 * scalar.d_model()).collect();
    let tokens: Vec<TokenId> = (0..20).map(|at| at * 23 % 512).collect();
    let expected = scalar.evaluate(&hidden, &tokens).expect("memory");
    for isa in Isa::available() {
        for threads in [1, 2] {
            let found = head(isa, threads)
                .evaluate(&hidden, &tokens)
                .expect("memory");
            assert!(
                bits(&found.states) == bits(&expected.states),
                "{isa}, {threads}"
            );
            assert!(found.logits == expected.logits, "{isa}, {threads}");
        }
    }
}

#[test]
fn rows_one_by_one_give_the_bits_of_rows_at_once() {
    let head = head(Isa::SCALAR, 1);
    let d = head.d_model();
    let hidden: Vec<f32> = numbers(78, 9 * d).collect();
    let tokens: Vec<TokenId> = (0..9).map(|at| at * 31 % 512).collect();
    let expected = head.evaluate(&hidden, &tokens).expect("memory").states;
    let mut cache = head.cache(9).expect("memory");
    for (at, hidden) in hidden.chunks(d).enumerate() {
        let state = head.forward(hidden.to_vec(), &tokens[at..=at], at, &mut cache);
        assert!(bits(&state) == bits(&expected[at * d..][..d]), "row {at}");
    }
}

/// Feeds a text to rows, in the given parts, and returns their guess after it.
fn guess_after(
    rows: &mut HeadRows,
    text: &[TokenId],
    guesses: &[TokenId],
) -> Option<(TokenId, f32)> {
    let all = [text, guesses].concat();
    rows.guess(&all, text.len())
}

#[test]
fn guesses_do_not_depend_on_what_was_guessed_or_cut_before() {
    let head = Arc::new(head(Isa::SCALAR, 1));
    let d = head.d_model();
    let text: Vec<TokenId> = (0..40).map(|at| at * 29 % 512).collect();
    let states: Vec<Vec<f32>> = (0..40).map(|at| numbers(100 + at, d).collect()).collect();
    let fresh = |known: usize, guesses: &[TokenId]| {
        let mut rows = HeadRows::new(Arc::clone(&head));
        (0..known - 1).for_each(|at| rows.hear(at, &states[at]));
        guess_after(&mut rows, &text[..known], guesses)
    };
    let mut rows = HeadRows::new(Arc::clone(&head));
    assert_eq!(rows.guess(&text[..1], 1), None, "it has heard nothing");
    (0..9).for_each(|at| rows.hear(at, &states[at]));
    assert_eq!(guess_after(&mut rows, &text[..10], &[]), fresh(10, &[]));
    assert_eq!(guess_after(&mut rows, &text[..10], &[5]), fresh(10, &[5]));
    assert_eq!(
        guess_after(&mut rows, &text[..10], &[5, 6]),
        fresh(10, &[5, 6])
    );
    // Another chain.
    assert_eq!(guess_after(&mut rows, &text[..10], &[7]), fresh(10, &[7]));
    rows.hear(9, &states[9]);
    assert_eq!(guess_after(&mut rows, &text[..11], &[]), fresh(11, &[]));
    // A state is missing.
    assert_eq!(guess_after(&mut rows, &text[..12], &[]), None);
    (10..30).for_each(|at| rows.hear(at, &states[at]));
    assert_eq!(
        guess_after(&mut rows, &text[..31], &[1, 2]),
        fresh(31, &[1, 2])
    );
    rows.truncate(15);
    (15..20).for_each(|at| rows.hear(at, &states[at]));
    assert_eq!(guess_after(&mut rows, &text[..21], &[]), fresh(21, &[]));
}

#[test]
fn a_long_text_keeps_the_rows_bounded() {
    let head = Arc::new(head(Isa::SCALAR, 1));
    let d = head.d_model();
    let mut rows = HeadRows::new(Arc::clone(&head));
    let mut text: Vec<TokenId> = vec![1];
    for at in 0..1500 {
        let state: Vec<f32> = numbers(at % 7, d).collect();
        rows.hear(at as usize, &state);
        text.push(at % 512);
        if at % 50 == 0 || at % 128 > 120 {
            assert!(rows.guess(&text, text.len()).is_some(), "{at}");
            let chain = [&text[..], &[1, 2, 3, 4, 5, 6]].concat();
            assert!(rows.guess(&chain, text.len()).is_some(), "{at}");
        }
    }
}

#[test]
fn a_guess_is_chosen_as_the_sampler_chooses() {
    let head = Arc::new(head(Isa::SCALAR, 1));
    let state: Vec<f32> = numbers(5, head.d_model()).collect();
    let text: Vec<TokenId> = vec![3, 8];
    let greedy = SamplerSettings::greedy();
    let HeadOutput { logits, .. } = head.evaluate(&state, &text[1..]).expect("memory");
    let mut all = vec![f32::NEG_INFINITY; 512];
    for &(token, logit) in &logits {
        all[token as usize] = logit;
    }
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..30 {
        let sampled = SamplerSettings {
            seed,
            temperature: 1.5,
            presence_penalty: 0.5,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            ..SamplerSettings::default()
        };
        for settings in [&sampled, &greedy] {
            let mut rows = HeadRows::new(Arc::clone(&head));
            rows.hear(0, &state);
            rows.chosen_with(settings, 1);
            let (token, probability) = rows.guess(&text, 2).expect("a guess");
            let history = crate::sampler::History {
                tokens: &text,
                generated: &[(8, 1)],
            };
            let expected = crate::sampler::sample(settings, 2, history, &all);
            assert_eq!(Ok(token), expected);
            assert!(token % 3 != 1 && (0.0..=1.0).contains(&probability));
            seen.insert(token);
        }
    }
    assert!(seen.len() > 10, "the noise matters: {seen:?}");
}

#[test]
fn a_head_for_another_model_is_refused_by_name() {
    let (shard, config) = ends(Isa::SCALAR, 1);
    let file = HeadFile::parse(Parts::of(&config).bytes()).expect("a head");
    assert!(file.check_base(SHA256).is_ok());
    let error = file.check_base(&"f".repeat(64)).expect_err("another");
    assert!(error.to_string().contains("tiny.gguf"), "{error}");
    let mut other = config.clone();
    other.d_ff *= 2;
    let file = HeadFile::parse(Parts::of(&other).bytes()).expect("a head");
    let error = shard
        .draft_head(&file)
        .expect_err("other sizes")
        .to_string();
    assert!(
        error.contains("d_ff is 1024") && error.contains("512"),
        "{error}"
    );
    let mut parts = Parts::of(&config);
    parts
        .metadata
        .insert("architecture".into(), "gemma3".into());
    let file = HeadFile::parse(parts.bytes()).expect("a head");
    let error = shard.draft_head(&file).expect_err("another architecture");
    assert!(error.to_string().contains("architecture"), "{error}");
}

#[test]
fn what_is_wrong_in_a_file_is_named() {
    let (_shard, config) = ends(Isa::SCALAR, 1);
    let refused = |change: &dyn Fn(&mut Parts), words: &str| {
        let mut parts = Parts::of(&config);
        change(&mut parts);
        let error = HeadFile::parse(parts.bytes()).expect_err(words).to_string();
        assert!(error.contains(words), "{words}: {error}");
    };
    refused(
        &|p| p.tensors.retain(|t| t.0 != "attn_k"),
        "attn_k is missing",
    );
    refused(
        &|p| p.tensor("ffn_up").0 = "ffn_upper".into(),
        "ffn_up is missing",
    );
    refused(&|p| p.tensor("hidden_norm").1 = "I32", "hidden_norm is I32");
    refused(
        &|p| p.tensor("tokens").3[..4].fill(0xff),
        "tokens: they must",
    );
    refused(
        &|p| p.tensor("join").3[..2].copy_from_slice(&[0, 0x7c]),
        "join: its numbers",
    );
    refused(
        &|p| p.tensor("ffn_norm").3[..4].copy_from_slice(&f32::NAN.to_le_bytes()),
        "ffn_norm: its numbers",
    );
    for (key, value, words) in [
        ("format", "other", "format is \"other\""),
        ("version", "2", "version is \"2\""),
        ("d_model", "0", "d_model is \"0\""),
        (
            "d_model",
            "33",
            "hidden_norm is F32 [256], expected F32 [33]",
        ),
        ("heads", "99999999999999999999", "heads is"),
        ("base_sha256", "12", "base_sha256 is \"12\""),
        ("window", "", "window is \"\""),
    ] {
        refused(
            &|p| drop(p.metadata.insert(key.into(), value.into())),
            words,
        );
    }
    refused(
        &|p| drop(p.metadata.remove("base")),
        "base is \"\": it must be given",
    );
    let whole = Parts::of(&config).bytes();
    for length in [0, 7, 8, 100, whole.len() - 1] {
        assert!(
            HeadFile::parse(whole[..length].to_vec()).is_err(),
            "{length}"
        );
    }
}

proptest! {
    #[test]
    fn changed_files_are_refused_or_whole(
        changes in proptest::collection::vec((any::<u16>(), any::<u8>()), 1..12),
        cut in proptest::option::of(any::<u16>()),
    ) {
        let config = ModelConfig::from_gguf(&tiny()).expect("valid");
        let mut bytes = Parts::of(&config).bytes();
        for (at, byte) in changes {
            // Most of it is in the header.
            let at = at as usize % 4096;
            bytes[at] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut as usize);
        }
        if let Ok(file) = HeadFile::parse(bytes) {
            let (shard, _config) = ends(Isa::SCALAR, 1);
            let _ = shard.draft_head(&file);
        }
    }
}
