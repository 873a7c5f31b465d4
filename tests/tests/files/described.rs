//! Models that this build cannot run are described, with all reasons.

use potluck_model::TensorType;
use potluck_model::gguf::{Array, Value};
use potluck_tests::Device;
use serde_json::Value as Json;

use super::{rewritten, tiny, with_values, write};

/// What `inspect --json` says of these bytes, and what `run` says of them.
fn inspected(bytes: &[u8]) -> (Json, String) {
    let device = Device::new();
    write(&device.folder().join("odd.gguf"), bytes);
    let json = device.potluck(["inspect", "odd.gguf", "--json"]).success();
    let run = device.potluck(["run", "--raw", "-m", "odd.gguf", "-n", "1", "Hi"]);
    (json.json(), run.stderr)
}

fn reasons(json: &Json) -> Vec<String> {
    let reasons = json["reasons"].as_array().expect("a list").iter();
    reasons
        .map(|reason| reason.as_str().expect("words").to_owned())
        .collect()
}

#[test]
fn a_model_that_runs_says_so() {
    let device = Device::new();
    write(
        &device.folder().join("tiny.gguf"),
        &with_values(&tiny(), &[]),
    );
    let json = device
        .potluck(["inspect", "tiny.gguf", "--json"])
        .success()
        .json();
    assert_eq!(json["runs"], true);
    assert_eq!(json["reasons"], Json::Array(Vec::new()));
    assert!(json["memory"]["total_bytes"].as_u64() > Some(0));
    assert_eq!(json["shape"]["layers"], 3);
    assert_eq!(json.get("settings"), None);
}

#[test]
fn unknown_types_are_counted_and_named() {
    let bytes = rewritten(
        &tiny(),
        |_, _| None,
        |tensor| match &*tensor.name {
            "blk.0.ffn_up.weight" | "blk.1.ffn_up.weight" => 19,
            "blk.2.ffn_up.weight" => 77,
            _ => tensor.tensor_type as u32,
        },
    );
    let (json, run) = inspected(&bytes);
    assert_eq!(json["runs"], false);
    assert_eq!(json["memory"], Json::Null);
    let expected = "2 tensors are stored as IQ1_S and 1 as type number 77";
    assert!(reasons(&json)[0].contains(expected), "{json}");
    assert!(run.contains(expected), "{run}");
    let types = json["types"].as_array().expect("a list");
    let of = |name: &str| {
        let mut types = types.iter();
        types
            .find(|share| share["type"] == name)
            .expect("it is listed")
    };
    assert_eq!(of("IQ1_S")["tensors"], 2);
    assert_eq!(of("IQ1_S")["supported"], false);
    assert_eq!(of("IQ1_S")["block"], serde_json::json!([256, 50]));
    assert_eq!(of("type number 77")["bytes"], Json::Null);
    assert_eq!(of("F32")["supported"], true);
    // All else is told: the sizes and every tensor.
    assert_eq!(json["shape"]["layers"], 3);
    assert_eq!(json["tensor_count"], tiny().tensors().len());
}

#[test]
fn types_without_kernels_of_their_own_run_and_are_told() {
    let device = Device::new();
    let types = "Q3_K,embedding=IQ4_XS,ffn_up=IQ2_XXS,ffn_down=MXFP4";
    let _ = device
        .potluck(["synth", "rare.gguf", "--types", types])
        .success();
    let text = device.potluck(["inspect", "rare.gguf"]).success().stdout;
    let lines: Vec<_> = text.lines().filter(|l| l.contains("slow until")).collect();
    assert!(lines.len() == 1 && lines[0].contains("IQ2_XXS"), "{text}");
    let json = device
        .potluck(["inspect", "rare.gguf", "--json"])
        .success()
        .json();
    assert_eq!(json["runs"], true);
    let types = json["types"].as_array().expect("a list");
    let slow = types
        .iter()
        .filter(|share| share["slow_until_packed"] == true);
    let slow: Vec<_> = slow.map(|share| &share["type"]).collect();
    assert_eq!(slow, ["IQ2_XXS"]);
    let _ = device
        .potluck(["run", "--raw", "-m", "rare.gguf", "-n", "4", "Hi"])
        .success();
}

#[test]
fn all_reasons_are_told_and_what_the_file_says_of_itself() {
    let gguf = tiny();
    let value_of = |key: &str, _: &Value| match key {
        "general.architecture" => Some(Value::string("newarch")),
        "tokenizer.ggml.pre" => Some(Value::string("unheard-of")),
        "tokenizer.chat_template" => Some(Value::string("{% for %}")),
        _ => None,
    };
    let bytes = rewritten(&gguf, value_of, |tensor| match tensor.tensor_type {
        TensorType::Q4_1 => 40,
        other => other as u32,
    });
    let (json, run) = inspected(&bytes);
    let reasons = reasons(&json);
    for words in ["NVFP4", "\"newarch\"", "`unheard-of`"] {
        assert!(
            reasons.iter().any(|reason| reason.contains(words)),
            "{json}"
        );
    }
    assert_eq!(json["architecture"], "newarch");
    assert_eq!(json["pre_tokenizer"], "unheard-of");
    let warnings = json["warnings"].to_string();
    assert!(warnings.contains("chat template cannot be used"), "{json}");
    assert!(run.contains("NVFP4"), "{run}");

    let device = Device::new();
    write(&device.folder().join("odd.gguf"), &bytes);
    let text = device.potluck(["inspect", "odd.gguf"]).success().stdout;
    for words in [
        "runs",
        "cannot be run",
        "NVFP4",
        "blocks of 64 elements in 36 bytes",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
}

#[test]
fn sizes_of_other_architectures_are_told() {
    let mut writer = potluck_model::gguf::GgufWriter::new();
    writer
        .metadata("general.architecture", &Value::string("deepseek2"))
        .metadata("deepseek2.block_count", &Value::U32(61))
        .metadata("deepseek2.embedding_length", &Value::U32(7168))
        .metadata("deepseek2.context_length", &Value::U32(163_840))
        .metadata("deepseek2.expert_count", &Value::U32(256))
        .metadata(
            "deepseek2.some_list",
            &Value::Array(Array::numbers([1_i32, 2])),
        );
    let (json, run) = inspected(&writer.header());
    assert_eq!(json["shape"]["layers"], 61);
    assert_eq!(json["shape"]["d_model"], 7168);
    assert_eq!(json["shape"]["heads"], Json::Null);
    assert_eq!(json["settings"]["deepseek2.expert_count"], "256");
    assert_eq!(json["settings"]["deepseek2.some_list"], "[1, 2]");
    assert!(reasons(&json).len() >= 2, "no tokenizer, either: {json}");
    assert!(run.contains("deepseek2"), "{run}");
}

#[test]
fn odd_values_are_told_as_what_they_are() {
    let cases = [
        ("llama.rope.freq_base", Value::F32(f32::INFINITY), "finite"),
        ("llama.rope.freq_base", Value::F32(f32::NAN), "NaN"),
        (
            "llama.attention.layer_norm_rms_epsilon",
            Value::F64(1e300),
            "inf",
        ),
        ("llama.block_count", Value::I32(-1), "-1"),
        ("llama.block_count", Value::string("three"), "a string"),
    ];
    for (key, value, words) in cases {
        let (json, run) = inspected(&with_values(&tiny(), &[(key, value)]));
        for text in [reasons(&json).join(" "), run] {
            assert!(text.contains(key) && text.contains(words), "{key}: {text}");
            for wrong in ["corrupt", "damaged", "fetch it again"] {
                assert!(!text.contains(wrong), "{key}: {text}");
            }
        }
    }
    // A name in another encoding is no reason not to run.
    let name = Value::string(b"mod\xe8le");
    let (json, run) = inspected(&with_values(&tiny(), &[("general.name", name)]));
    assert_eq!(json["runs"], true);
    assert!(!run.contains("error"), "{run}");
    assert_eq!(json["name"], "mod\u{fffd}le");
}

#[test]
fn a_text_of_two_tokens_is_named_and_not_called_corrupt() {
    let gguf = tiny();
    let tokens = gguf.metadata().require_strings("tokenizer.ggml.tokens");
    let tokens = tokens.expect("it has some");
    let mut tokens: Vec<_> = tokens.iter_bytes().map(<[u8]>::to_vec).collect();
    tokens[40] = tokens[30].clone();
    let tokens = Value::Array(Array::strings(tokens));
    let (json, run) = inspected(&with_values(&gguf, &[("tokenizer.ggml.tokens", tokens)]));
    for text in [reasons(&json).join(" "), run] {
        assert!(
            text.contains("tokens 30 and 40 have the same text"),
            "{text}"
        );
        assert!(!text.contains("corrupt"), "{text}");
    }
}
