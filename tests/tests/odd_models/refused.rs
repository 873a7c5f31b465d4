//! What this build does not do is refused, and the error names it.

use potluck_model::gguf::{Array, Value};
use potluck_model::{Engine, ModelConfig, Shard, ShardRange};
use potluck_tests::ModelFile;

use super::{compute, logits, text};

fn refusal(file: &ModelFile) -> String {
    logits(file)
        .expect_err("it says what is not done")
        .to_string()
}

fn assert_refused(file: &ModelFile, named: &str) {
    let words = refusal(file);
    assert!(words.contains(named), "{named} is not named: {words}");
}

#[test]
fn tensors_that_nothing_uses_are_named() {
    for preset in ["tiny", "tiny-qwen2", "tiny-qwen3", "tiny-gemma3"] {
        let file = ModelFile::small(preset);
        for name in [
            "blk.1.attn_sinks.weight",
            "blk.0.layer_out_scale.weight",
            "blk.2.attn_norm.weight",
            "blk.01.attn_norm.weight",
            "token_embd.bias",
            "token_embd_norm.weight",
            "rope_factors_long.weight",
            "made_up",
        ] {
            assert_refused(&file.clone().with_random(name, 16, 1.0), name);
        }
    }
    for preset in ["tiny", "tiny-qwen2"] {
        let norm = "blk.0.attn_q_norm.weight";
        let file = ModelFile::small(preset).with_random(norm, 16, 1.0);
        assert_refused(&file, norm);
    }
}

#[test]
fn a_shard_answers_for_its_own_layers_and_what_belongs_to_none() {
    let load = |file: &ModelFile, layers| {
        let gguf = file.gguf();
        let config = ModelConfig::from_gguf(&gguf).expect("valid settings");
        let range = ShardRange {
            embedding: false,
            layers,
            head: false,
        };
        Shard::load(&gguf, &config, range, compute()).map(|_| ())
    };
    let layer = ModelFile::small("tiny").with_random("blk.1.made_up.weight", 16, 1.0);
    assert!(load(&layer, 0..1).is_ok());
    assert!(load(&layer, 1..2).is_err());
    let root = ModelFile::small("tiny").with_random("made_up.weight", 16, 1.0);
    assert!(load(&root, 0..1).is_err());
    let ends = ModelFile::small("tiny").with_random("output.bias", 300, 1.0);
    assert!(load(&ends, 0..2).is_ok());
}

#[test]
fn settings_that_can_change_an_answer_are_named() {
    for (key, value) in [
        ("attention.scale", Value::F32(0.5)),
        ("attention.clamp_kqv", Value::F32(8.0)),
        ("attention.causal", Value::Bool(false)),
        ("attention.sliding_window", Value::U32(16)),
        ("attention.value_length", Value::U32(8)),
        ("attention.shared_kv_layers", Value::U32(1)),
        ("attn_logit_softcapping", Value::F32(50.0)),
        ("final_logit_softcapping", Value::F32(30.0)),
        ("logit_scale", Value::F32(8.0)),
        ("residual_scale", Value::F32(0.2)),
        ("embedding_scale", Value::F32(12.0)),
        (
            "rope.dimension_sections",
            Value::Array(Array::numbers([4, 4, 0, 0])),
        ),
        ("rope.scaling.type", text("dynamic")),
        ("rope.scaling.factor", Value::F32(-1.0)),
        ("rope.scaling.attn_factor", Value::F32(f32::INFINITY)),
        ("rope.scaling.yarn_log_multiplier", Value::F32(1.0)),
        ("use_parallel_residual", Value::Bool(true)),
        ("nextn_predict_layers", Value::U32(1)),
        ("ssm.state_size", Value::U32(16)),
        (
            "feed_forward_length",
            Value::Array(Array::numbers([96, 64])),
        ),
        ("feed_forward_length", Value::Array(Array::numbers([96]))),
    ] {
        let key = format!("llama.{key}");
        assert_refused(&ModelFile::small("tiny").with(&key, value), &key);
    }
    let pattern = "gemma3.attention.sliding_window_pattern";
    for value in [
        text("all"),
        Value::Array(Array::numbers([1, 0, 1])),
        Value::I32(-1),
    ] {
        assert_refused(
            &ModelFile::small("tiny-gemma3").with(pattern, value),
            pattern,
        );
    }
}

#[test]
fn settings_that_say_nothing_are_no_obstacle() {
    let mut file = ModelFile::small("tiny");
    for (key, value) in [
        ("attention.causal", Value::Bool(true)),
        ("attention.clamp_kqv", Value::F32(0.0)),
        ("attention.scale", Value::F32(0.25)),
        ("attention.sliding_window", Value::U32(256)),
        ("attention.key_length_swa", Value::U32(16)),
        ("attn_logit_softcapping", Value::F32(0.0)),
        ("expert_count", Value::U32(0)),
        ("expert_weights_scale", Value::F32(1.0)),
        ("logit_scale", Value::F32(1.0)),
        ("rope.scaling.finetuned", Value::Bool(false)),
        ("rope.scaling.yarn_beta_fast", Value::F32(32.0)),
        ("tensor_data_layout", text("Meta AI original pth")),
    ] {
        file = file.with(&format!("llama.{key}"), value);
    }
    let config = ModelConfig::from_gguf(&file.gguf()).expect("valid settings");
    assert_eq!(config.unused_settings, []);
    assert_eq!(super::difference(&file, &ModelFile::small("tiny")), 0.0);
}

#[test]
fn what_need_not_change_an_answer_is_told() {
    let file = ModelFile::small("tiny")
        .with("llama.made_up", Value::U32(7))
        .with("llama.rope.scaling.yarn_beta_fast", Value::F32(16.0));
    let config = ModelConfig::from_gguf(&file.gguf()).expect("valid settings");
    let told: Vec<_> = config.unused_settings.iter().map(|s| &*s.key).collect();
    assert_eq!(told, ["llama.made_up", "llama.rope.scaling.yarn_beta_fast"]);
    let words = config.unused_settings[0].to_string();
    assert!(words.contains("llama.made_up is 7"), "{words}");
}

#[test]
fn a_mixture_of_experts_is_called_one() {
    let counted = ModelFile::small("tiny").with("llama.expert_count", Value::U32(8));
    let router = ModelFile::small("tiny").with_random("blk.0.ffn_gate_inp.weight", 64, 1.0);
    for file in [counted, router] {
        assert_refused(&file, "mixture of experts");
    }
}

#[test]
fn scales_without_a_settled_meaning_are_named() {
    let both = ModelFile::small("tiny")
        .with_tensor("blk.0.ffn_up.scale", &[1], &[0.5])
        .with_random("blk.0.ffn_up.bias", 96, 0.5);
    assert_refused(&both, "ffn_up.scale");
    for preset in ["tiny-qwen2", "tiny-gemma3"] {
        let file = ModelFile::small(preset);
        let file = file.with_tensor("blk.1.ffn_down.scale", &[1], &[0.5]);
        assert_refused(&file, "ffn_down.scale");
    }
}

#[test]
fn llama3_scaling_needs_its_divisors() {
    let file = ModelFile::small("tiny").with("llama.rope.scaling.type", text("llama3"));
    assert_refused(&file, "rope_freqs.weight");
}

#[test]
fn tokens_without_a_row_are_refused() {
    let tokens: Vec<String> = (0..310).map(|i| format!("token{i}")).collect();
    let tokens = Value::Array(Array::strings(tokens));
    let file = ModelFile::small("tiny").with("tokenizer.ggml.tokens", tokens);
    assert_refused(&file, "310 tokens, but token_embd.weight has only 300 rows");
}

#[test]
fn keys_and_values_beyond_16_bits_are_not_called_a_damaged_file() {
    for name in ["attn_k", "attn_v"] {
        let bias = format!("blk.1.{name}.bias");
        let file = ModelFile::small("tiny").with_tensor(&bias, &[32], &[100_000.0; 32]);
        let engine = Engine::from_gguf(&file.gguf(), 64, compute()).expect("it loads");
        let mut session = engine.new_session().expect("memory");
        let error = engine
            .prefill(&mut session, &[5, 6, 7], &mut |_| true, |_| ())
            .expect_err("infinite keys or values");
        let words = error.to_string();
        assert!(
            words.contains("layer 1") && words.contains("16 bits"),
            "{words}"
        );
    }
}

#[test]
fn an_infinite_setting_is_told_as_what_it_is() {
    for (preset, key) in [
        ("tiny", "llama.rope.freq_base"),
        ("tiny", "llama.attention.layer_norm_rms_epsilon"),
        ("tiny-gemma3", "gemma3.rope.freq_base_swa"),
        ("tiny-gemma3", "gemma3.final_logit_softcapping"),
    ] {
        let file = ModelFile::small(preset).with(key, Value::F32(f32::INFINITY));
        assert_refused(&file, &format!("{key} is inf"));
    }
}
