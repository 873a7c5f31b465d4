#![allow(
    clippy::unwrap_used,
    reason = "a test that unwraps fails with the error"
)]

use std::collections::HashSet;

use proptest::prelude::*;

use super::super::Gguf;
use super::*;
use crate::TensorType;
use crate::kernels::dequantise::dequantise_row;

fn parsed(spec: &SynthSpec) -> Gguf {
    Gguf::parse(spec.to_bytes().unwrap()).unwrap()
}

fn tiny() -> SynthSpec {
    SynthSpec::preset("tiny").unwrap()
}

/// FNV-1a, to pin bytes down.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// The published parameter counts of the models that presets are named after.
#[test]
fn presets_have_the_published_sizes() {
    let published = [
        ("smollm2-135m", 134_515_008),
        ("smollm2-360m", 361_821_120),
        // With the 32 or 64 rotary divisors that a file has as a tensor.
        ("llama-3.2-1b", 1_235_814_400 + 32),
        ("llama-3.2-3b", 3_212_749_824 + 64),
        ("llama-3.1-8b", 8_030_261_248 + 64),
        ("qwen2.5-0.5b", 494_032_768),
        ("qwen3-0.6b", 596_049_920),
        ("gemma-3-270m", 268_098_176),
        ("gemma-3-1b", 999_885_952),
    ];
    for (name, parameters) in published {
        let summary = SynthSpec::preset(name).unwrap().summary().unwrap();
        assert_eq!(summary.parameters, parameters, "{name}");
    }
}

#[test]
fn every_preset_named_is_there_and_consistent() {
    for name in PRESETS {
        SynthSpec::preset(name).unwrap().summary().unwrap();
    }
    assert!(SynthSpec::preset("gpt-5").is_none());
}

/// A changed hash is a changed file: what was measured before is of another model.
#[test]
fn files_are_the_same_on_every_machine() {
    let hashes = [
        ("tiny", 0x4b3c_b440_30ec_af20),
        ("tiny-qwen2", 0xc5a7_220b_712e_521b),
        ("tiny-qwen3", 0x8ac7_9d0b_99df_5102),
        ("tiny-gemma3", 0x3f0c_e234_b4a8_8d36),
    ];
    for (name, expected) in hashes {
        let file = SynthSpec::preset(name).unwrap().to_bytes().unwrap();
        assert_eq!(hash(&file), expected, "{name}");
    }
}

#[test]
fn a_tensor_depends_on_seed_and_name_alone() {
    let spec = tiny();
    let deeper = SynthSpec {
        layers: 5,
        context: 77,
        ..spec.clone()
    };
    let reseeded = SynthSpec {
        seed: 1,
        ..spec.clone()
    };
    let data = |spec: &SynthSpec, name: &str| {
        let gguf = parsed(spec);
        gguf.tensor_bytes(gguf.require_tensor(name).unwrap())
    };
    let name = "blk.1.ffn_up.weight";
    assert_eq!(data(&spec, name), data(&deeper, name));
    assert_ne!(data(&spec, name), data(&reseeded, name));
    assert_ne!(data(&spec, name), data(&spec, "blk.1.ffn_gate.weight"));
}

#[test]
fn each_architecture_has_its_own_tensors_and_keys() {
    let names = |preset: &str| -> HashSet<String> {
        let gguf = parsed(&SynthSpec::preset(preset).unwrap());
        let architecture = gguf.metadata().require_str("general.architecture").unwrap();
        let key = format!("{architecture}.attention.head_count_kv");
        assert_eq!(gguf.metadata().require_u32(&key).unwrap(), 4);
        gguf.tensors().iter().map(|t| t.name.clone()).collect()
    };
    let only_in = |preset: &str| -> Vec<String> {
        let shared = names("tiny");
        let mut own: Vec<String> = names(preset)
            .into_iter()
            .filter(|name| !shared.contains(name) && name.starts_with("blk.0."))
            .collect();
        own.sort();
        own
    };
    assert_eq!(
        only_in("tiny-qwen2"),
        [
            "blk.0.attn_k.bias",
            "blk.0.attn_q.bias",
            "blk.0.attn_v.bias"
        ]
    );
    assert_eq!(
        only_in("tiny-qwen3"),
        ["blk.0.attn_k_norm.weight", "blk.0.attn_q_norm.weight"]
    );
    assert_eq!(
        only_in("tiny-gemma3"),
        [
            "blk.0.attn_k_norm.weight",
            "blk.0.attn_q_norm.weight",
            "blk.0.post_attention_norm.weight",
            "blk.0.post_ffw_norm.weight"
        ]
    );
    let untied = SynthSpec {
        tied: false,
        ..tiny()
    };
    assert!(parsed(&tiny()).tensor("output.weight").is_none());
    assert!(parsed(&untied).tensor("output.weight").is_some());
}

#[test]
fn rope_scaling_is_written_as_real_files_have_it() {
    let linear = SynthSpec {
        rope_scaling: RopeScaling::Linear { factor: 4.0 },
        ..tiny()
    };
    let gguf = parsed(&linear);
    let metadata = gguf.metadata();
    assert_eq!(
        metadata.require_str("llama.rope.scaling.type").unwrap(),
        "linear"
    );
    assert_eq!(
        metadata.require_f32("llama.rope.scaling.factor").unwrap(),
        4.0
    );

    let llama3 = SynthSpec {
        head_dim: 64,
        rope_base: 500_000.0,
        rope_scaling: RopeScaling::Llama3 {
            factor: 32.0,
            low_frequency: 1.0,
            high_frequency: 4.0,
            original_context: 8192,
        },
        ..tiny()
    };
    let gguf = parsed(&llama3);
    let tensor = gguf.require_tensor("rope_freqs.weight").unwrap();
    let divisors = floats(&gguf.tensor_bytes(tensor));
    assert_eq!(divisors.len(), 32);
    // A turn lasts 2π · 500000^(pair / 32) positions: 8192 positions hold 4 of pair 14's turns,
    // 1 of pair 17's and a fraction of the last ones'.
    assert!(divisors[..14].iter().all(|&divisor| divisor == 1.0));
    assert!(divisors[15] > 1.0 && divisors[16] > divisors[15] && divisors[16] < 32.0);
    assert!(divisors[18..].iter().all(|&divisor| divisor == 32.0));
}

#[test]
fn numbers_of_every_type_have_the_spread_asked_for() {
    for tensor_type in TensorType::ALL {
        let spec = SynthSpec {
            types: TypeMix::uniform(tensor_type),
            ..tiny()
        };
        let gguf = parsed(&spec);
        let spread = |name: &str| {
            let tensor = gguf.require_tensor(name).unwrap();
            let numbers = decode(tensor_type, &gguf.tensor_bytes(tensor));
            assert_eq!(numbers.len(), tensor.elements());
            assert!(numbers.iter().all(|number| number.is_finite()));
            let count = numbers.len() as f64;
            let mean = numbers.iter().map(|&x| f64::from(x)).sum::<f64>() / count;
            let square = numbers.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / count;
            let unit = f64::sqrt(tensor.columns() as f64);
            (mean * unit, square.sqrt() * unit)
        };
        let (mean, deviation) = spread("blk.0.ffn_down.weight");
        assert!(mean.abs() < 0.02, "{tensor_type}: mean {mean}");
        assert!(
            (0.95..1.05).contains(&deviation),
            "{tensor_type}: {deviation}"
        );
        let (_, deviation) = spread("token_embd.weight");
        assert!(
            (1.9..2.1).contains(&deviation),
            "{tensor_type}: {deviation}"
        );
    }
}

#[test]
fn norms_are_near_1() {
    let gguf = parsed(&tiny());
    let tensor = gguf.require_tensor("blk.0.attn_norm.weight").unwrap();
    let numbers = floats(&gguf.tensor_bytes(tensor));
    assert!(numbers.iter().all(|&number| (0.6..1.4).contains(&number)));
    assert!(numbers.iter().any(|&number| number != numbers[0]));
}

#[test]
fn tokenizers_are_complete() {
    for (preset, space) in [("tiny", 'Ġ'), ("tiny-gemma3", '▁')] {
        let spec = SynthSpec::preset(preset).unwrap();
        for vocabulary in [spec.minimum_vocabulary(), 300, 512, 3000] {
            let gguf = parsed(&SynthSpec {
                vocabulary,
                ..spec.clone()
            });
            let metadata = gguf.metadata();
            let texts = metadata.require_strings("tokenizer.ggml.tokens").unwrap();
            let tokens: HashSet<&str> = texts.iter().map(Result::unwrap).collect();
            assert_eq!(tokens.len(), vocabulary as usize, "no token twice");
            assert!(tokens.contains(&*space.to_string()));
            let types = metadata.i32s("tokenizer.ggml.token_type").unwrap().unwrap();
            assert_eq!(types.len(), vocabulary as usize);
            for key in ["bos", "eos", "padding"] {
                let key = format!("tokenizer.ggml.{key}_token_id");
                assert!(metadata.require_u32(&key).unwrap() < vocabulary);
            }
            assert!(metadata.str("tokenizer.chat_template").unwrap().is_some());
            if let Some(merges) = metadata.strings("tokenizer.ggml.merges").unwrap() {
                for merge in merges.iter().map(Result::unwrap) {
                    let (left, right) = merge.split_once(' ').unwrap();
                    assert!(tokens.contains(left) && tokens.contains(right));
                    assert!(tokens.contains(&*format!("{left}{right}")));
                }
            }
        }
    }
}

#[test]
fn byte_symbols_are_those_of_the_gpt2_alphabet() {
    let gguf = parsed(&tiny());
    let texts = gguf.metadata().require_strings("tokenizer.ggml.tokens");
    let texts = texts.unwrap();
    let symbols: Vec<&str> = texts.iter().map(Result::unwrap).skip(3).take(256).collect();
    let known = [
        (0_u8, "Ā"),
        (b'\n', "Ċ"),
        (b' ', "Ġ"),
        (b'A', "A"),
        (0x7f, "ġ"),
        (0xa0, "ł"),
        (0xad, "Ń"),
        (0xff, "ÿ"),
    ];
    for (byte, symbol) in known {
        assert_eq!(symbols[usize::from(byte)], symbol, "{byte:#x}");
    }
}

#[test]
fn type_mixes_are_read_from_text() {
    let mix: TypeMix = "Q4_K, embedding=q8_0,ffn_down=Q6_K".parse().unwrap();
    assert_eq!(mix.of(Matrix::AttnQ), TensorType::Q4_K);
    assert_eq!(mix.of(Matrix::Embedding), TensorType::Q8_0);
    assert_eq!(mix.of(Matrix::FfnDown), TensorType::Q6_K);
    assert_eq!(mix.to_string(), "Q4_K,embedding=Q8_0,ffn_down=Q6_K");
    for wrong in ["", "Q9", "Q4_K,Q6_K", "Q4_K,norm=F32", "Q4_K,ffn_up=Q9"] {
        assert!(wrong.parse::<TypeMix>().is_err(), "{wrong}");
    }
}

#[test]
fn contradictions_are_refused_by_field() {
    let refused = |change: fn(&mut SynthSpec)| {
        let mut spec = tiny();
        change(&mut spec);
        spec.summary().unwrap_err().to_string()
    };
    assert_eq!(
        refused(|spec| spec.kv_heads = 3),
        "kv_heads is 3: it must be a divisor of the 8 heads"
    );
    assert_eq!(
        refused(|spec| spec.vocabulary = 100),
        "vocabulary is 100: it must be from 259 to 16777216"
    );
    assert_eq!(
        refused(|spec| spec.sliding_window = Some(4)),
        "sliding_window is 4: it must be left out for the llama architecture"
    );
    assert!(refused(|spec| spec.layers = 0).starts_with("layers is 0"));
    assert!(refused(|spec| spec.head_dim = 33).contains("even"));
    assert!(refused(|spec| spec.rope_base = f32::NAN).contains("finite"));
    assert!(refused(|spec| spec.rope_scaling = RopeScaling::Linear { factor: 0.0 }).contains("1"));
    assert_eq!(
        refused(|spec| {
            spec.d_ff = 100;
            spec.types = TypeMix::uniform(TensorType::Q4_0);
        }),
        "tensor `blk.0.ffn_down.weight`: rows of 100 elements are not a whole number of Q4_0 \
         blocks of 32: choose another type for it, or another shape"
    );
}

/// Output that fails after some bytes, as a full disk does.
struct FullDisk(usize);

impl Write for FullDisk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self
            .0
            .checked_sub(bytes.len())
            .ok_or(io::ErrorKind::StorageFull)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_full_disk_is_an_error() {
    let error = tiny().write(FullDisk(200_000)).unwrap_err();
    assert!(matches!(error, SynthError::Write(e) if e.kind() == io::ErrorKind::StorageFull));
}

fn any_spec() -> impl Strategy<Value = SynthSpec> {
    let shape = (1_u32..4, 1_u32..3, 1_u32..4, 1_u32..3, 1_u32..3);
    let types = prop::collection::vec(prop::sample::select(&TensorType::ALL[..]), 3);
    let architecture = prop::sample::select(&Architecture::ALL[..]);
    (
        architecture,
        shape,
        types,
        0_u32..400,
        any::<bool>(),
        any::<u64>(),
    )
        .prop_map(
            |(architecture, (layers, width, kv_heads, groups, d_ff), types, tokens, tied, seed)| {
                let gemma = architecture == Architecture::Gemma3;
                SynthSpec {
                    architecture,
                    layers,
                    d_model: 256 * width,
                    heads: kv_heads * groups,
                    kv_heads,
                    head_dim: 256,
                    d_ff: 256 * d_ff,
                    vocabulary: 300 + tokens,
                    types: TypeMix::uniform(types[0])
                        .with(Matrix::Embedding, types[1])
                        .with(Matrix::FfnDown, types[2]),
                    tied,
                    seed,
                    sliding_window: gemma.then_some(8),
                    ..tiny()
                }
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 24, failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn any_shape_and_type_is_read_back(spec in any_spec()) {
        let summary = spec.summary().unwrap();
        let file = spec.to_bytes().unwrap();
        prop_assert_eq!(file.len() as u64, summary.bytes);
        let gguf = Gguf::parse(file).unwrap();
        prop_assert_eq!(gguf.tensors().len(), summary.tensors);
        let elements: usize = gguf.tensors().iter().map(|t| t.elements()).sum();
        prop_assert_eq!(elements as u64, summary.parameters);
        let key = format!("{}.block_count", spec.architecture.name());
        prop_assert_eq!(gguf.metadata().require_u32(&key).unwrap(), spec.layers);
        let embedding = gguf.require_tensor("token_embd.weight").unwrap();
        prop_assert_eq!(embedding.tensor_type, spec.types.of(Matrix::Embedding));
        prop_assert_eq!(embedding.rows(), spec.vocabulary as usize);
    }
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    decode(TensorType::F32, bytes)
}

fn decode(tensor_type: TensorType, bytes: &[u8]) -> Vec<f32> {
    let blocks = bytes.len() / tensor_type.block_bytes();
    let mut numbers = vec![0.0; blocks * tensor_type.block_elements()];
    dequantise_row(tensor_type, bytes, &mut numbers);
    numbers
}
