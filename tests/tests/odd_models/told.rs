//! What commands say of such files.

use potluck::shape::model_shape;
use potluck_model::ModelConfig;
use potluck_model::gguf::Value;
use potluck_tests::{Device, ModelFile};

#[test]
fn commands_name_settings_that_are_passed_over() {
    let device = Device::new();
    let path = device.folder().join("odd.gguf");
    let file = ModelFile::small("tiny").with("llama.made_up", Value::U32(7));
    std::fs::write(&path, file.bytes()).expect("a writable home");
    let model = path.to_str().expect("a path in UTF-8");
    let warning = "llama.made_up is 7, which this build does not use";
    let run = device
        .potluck(["run", "--raw", "-n", "1", "--model", model, "the"])
        .success();
    assert!(run.stderr.contains(warning), "{}", run.stderr);
    let score = device
        .potluck(["score", "--json", "--model", model, "the of and"])
        .success();
    assert!(score.stderr.contains(warning), "{}", score.stderr);
    let inspect = device.potluck(["inspect", model]).success();
    assert!(inspect.stdout.contains(warning), "{}", inspect.stdout);
}

#[test]
fn inspect_says_that_a_tensor_keeps_a_model_from_running() {
    let device = Device::new();
    let path = device.folder().join("odd.gguf");
    let file = ModelFile::small("tiny").with_random("blk.0.made_up.weight", 16, 1.0);
    std::fs::write(&path, file.bytes()).expect("a writable home");
    let model = path.to_str().expect("a path in UTF-8");
    let inspect = device.potluck(["inspect", model]).success();
    assert!(
        inspect.stdout.contains("cannot be run"),
        "{}",
        inspect.stdout
    );
    assert!(
        inspect.stdout.contains("blk.0.made_up.weight"),
        "{}",
        inspect.stdout
    );
}

#[test]
fn what_a_layer_needs_is_in_its_bytes() {
    let mut file = ModelFile::small("tiny").with_random("output.bias", 300, 0.5);
    for name in ["attn_output.bias", "ffn_up.bias", "attn_k.scale"] {
        let width = match name {
            "ffn_up.bias" => 96,
            "attn_k.scale" => 1,
            _ => 64,
        };
        file = file.with_random(&format!("blk.1.{name}"), width, 0.5);
    }
    let gguf = file.gguf();
    let config = ModelConfig::from_gguf(&gguf).expect("valid settings");
    let shape = model_shape(&gguf, &config).expect("it can be placed");
    let bytes: u64 = gguf.tensors().iter().map(|t| t.bytes as u64).sum();
    assert_eq!(shape.bytes_with_context(0), bytes);
    let kv = config.kv_bytes(0..config.layers, 128);
    assert_eq!(shape.bytes_with_context(128), bytes + kv);
}
