//! Two ways to say the same give the same bits.

use potluck_model::gguf::{Array, Value};
use potluck_tests::ModelFile;

use super::{TOKENS, difference, logits, text};

fn assert_same(a: &ModelFile, b: &ModelFile) {
    assert_eq!(difference(a, b), 0.0);
}

fn llama() -> ModelFile {
    ModelFile::small("tiny")
}

#[test]
fn linear_scaling_has_four_spellings() {
    let (factor, kind) = ("llama.rope.scaling.factor", "llama.rope.scaling.type");
    let (old, three) = ("llama.rope.scale_linear", Value::F32(3.0));
    let linear = llama()
        .with(factor, three.clone())
        .with(kind, text("linear"));
    assert!(difference(&linear, &llama()) > 0.1);
    assert_same(&linear, &llama().with(factor, three.clone()));
    assert_same(&linear, &llama().with(old, three.clone()));
    let both = llama().with(old, three.clone()).with(kind, text("linear"));
    assert_same(&linear, &both);
    let none = llama().with(factor, three).with(kind, text("none"));
    assert_same(&llama(), &none);
    assert_same(&llama(), &llama().with(kind, text("linear")));
    assert_same(&llama(), &llama().with(factor, Value::F32(0.0)));
}

#[test]
fn one_matrix_for_queries_keys_and_values_is_as_good_as_three() {
    let mut apart = llama();
    let mut fused = llama();
    let mut fused_weights = llama();
    for layer in 0..2 {
        let (mut weights, mut biases) = (Vec::new(), Vec::new());
        for (part, width) in [("q", 64), ("k", 32), ("v", 32)] {
            let weight = format!("blk.{layer}.attn_{part}.weight");
            let bias = format!("blk.{layer}.attn_{part}.bias");
            apart = apart.with_random(&bias, width, 0.4);
            weights.extend(apart.floats(&weight).expect("there"));
            biases.extend(apart.floats(&bias).expect("there"));
            fused = fused.without(&weight);
            fused_weights = fused_weights
                .without(&weight)
                .with_random(&bias, width, 0.4);
        }
        let name = |kind| format!("blk.{layer}.attn_qkv.{kind}");
        fused = fused
            .with_tensor(&name("weight"), &[64, 128], &weights)
            .with_tensor(&name("bias"), &[128], &biases);
        fused_weights = fused_weights.with_tensor(&name("weight"), &[64, 128], &weights);
    }
    assert_same(&apart, &fused);
    assert_same(&apart, &fused_weights);
    assert!(difference(&apart, &llama()) > 0.1);
}

#[test]
fn a_list_of_equal_numbers_is_that_number() {
    for key in [
        "feed_forward_length",
        "attention.head_count",
        "attention.head_count_kv",
    ] {
        let key = format!("llama.{key}");
        let number = match key.as_str() {
            "llama.feed_forward_length" => 96,
            "llama.attention.head_count" => 4,
            _ => 2,
        };
        let list = Value::Array(Array::numbers([number; 2]));
        assert_same(&llama(), &llama().with(&key, list));
    }
}

#[test]
fn gemmas_pattern_is_a_number_or_a_list() {
    let pattern = "gemma3.attention.sliding_window_pattern";
    let gemma =
        ModelFile::small("tiny-gemma3").with("gemma3.attention.sliding_window", Value::U32(3));
    let list = |windows: [u32; 2]| {
        gemma
            .clone()
            .with(pattern, Value::Array(Array::numbers(windows)))
    };
    let number = |period| gemma.clone().with(pattern, Value::U32(period));
    assert_same(&number(2), &list([1, 0]));
    assert_same(&number(1), &list([0, 0]));
    assert_same(&number(0), &list([1, 1]));
    assert!(difference(&number(2), &list([0, 1])) > 0.1);
}

#[test]
fn qwen2_runs_without_biases() {
    let mut file = ModelFile::small("tiny-qwen2");
    for layer in 0..2 {
        for part in ["q", "k", "v"] {
            file = file.without(&format!("blk.{layer}.attn_{part}.bias"));
        }
    }
    assert!(difference(&file, &ModelFile::small("tiny-qwen2")) > 0.1);
}

#[test]
fn rows_beyond_the_vocabulary_are_no_tokens() {
    let tokens: Vec<String> = (0..280).map(|i| format!("token{i}")).collect();
    let fewer = llama().with(
        "tokenizer.ggml.tokens",
        Value::Array(Array::strings(tokens)),
    );
    let (all, some) = (logits(&llama()), logits(&fewer));
    let (all, some) = (all.expect("it runs"), some.expect("it runs"));
    assert_eq!(some.len(), TOKENS.len() * 280);
    for (all, some) in all.chunks_exact(300).zip(some.chunks_exact(280)) {
        assert_eq!(all[..280], *some);
    }
}
