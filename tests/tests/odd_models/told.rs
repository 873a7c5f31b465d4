//! What commands say of such files.

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
