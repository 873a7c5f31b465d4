//! `run`, `score`, `bench` and `inspect` with real processes and a real model.

use potluck_tests::Device;
use serde_json::Value;

const MODEL: &str = "smollm2:135m";

fn numbers(value: &Value) -> Vec<f64> {
    let list = value
        .as_array()
        .unwrap_or_else(|| panic!("{value} is no list"));
    list.iter()
        .map(|number| number.as_f64().expect("a number"))
        .collect()
}

#[test]
fn an_answer_comes_as_text_and_as_json() {
    let device = Device::with_model(MODEL);
    let arguments = [
        "run",
        "--greedy",
        "--max-tokens",
        "12",
        "What is the capital of France?",
    ];
    let text = device.potluck(arguments).success();
    assert!(text.stdout.contains("Paris"), "{}", text.stdout);
    assert_eq!(text.stderr, "", "nobody is looking at a terminal");

    let json = device
        .potluck(arguments.into_iter().chain(["--json"]))
        .success()
        .json();
    assert_eq!(
        json["text"].as_str().map(|text| format!("{text}\n")),
        Some(text.stdout)
    );
    let ids = numbers(&json["token_ids"]);
    assert!((1..=12).contains(&ids.len()), "{ids:?}");
    assert!(!numbers(&json["prompt_token_ids"]).is_empty());
    assert!(json["prefill_tokens_per_s"].as_f64() > Some(0.0), "{json}");
    assert!(json["decode_tokens_per_s"].as_f64() > Some(0.0), "{json}");
    let reason = json["stop_reason"].as_str().expect("a string");
    assert!(["end_of_turn", "max_tokens"].contains(&reason), "{reason}");
}

#[test]
fn the_same_seed_gives_the_same_answer_for_any_number_of_threads() {
    let device = Device::with_model(MODEL);
    let ask = |threads: &str, seed: &str| {
        let arguments = [
            "run",
            "--json",
            "-n",
            "24",
            "--seed",
            seed,
            "--threads",
            threads,
        ];
        let json = device
            .potluck(arguments.into_iter().chain(["Tell me a story."]))
            .success()
            .json();
        assert_eq!(
            json["seed"]
                .as_u64()
                .map(|seed| seed.to_string())
                .as_deref(),
            Some(seed)
        );
        json["token_ids"].clone()
    };
    let first = ask("1", "7");
    assert_eq!(first, ask("2", "7"));
    assert_eq!(first, ask("3", "7"));
    assert_ne!(first, ask("2", "8"));
}

#[test]
fn a_prompt_may_come_from_stdin() {
    let device = Device::with_model(MODEL);
    let prompt_ids = |stdin: &[u8], more: &[&str]| {
        let arguments = ["run", "--json", "--greedy", "-n", "1"];
        let output = device.potluck_reading(stdin, arguments.iter().chain(more));
        output.success().json()["prompt_token_ids"].clone()
    };
    let argument = prompt_ids(b"", &["Where are we?"]);
    assert_eq!(prompt_ids(b"Where are we?\n", &[]), argument);
    assert_eq!(prompt_ids(b"Where are we?", &["-"]), argument);
    let raw = prompt_ids(b"", &["--raw", "Where are we?"]);
    assert!(
        numbers(&raw).len() < numbers(&argument).len(),
        "no template around it"
    );
    let system = prompt_ids(b"", &["--system", "Answer in French.", "Where are we?"]);
    assert_ne!(system, argument);
}

#[test]
fn unusable_prompts_are_refused_in_words() {
    let device = Device::with_model(MODEL);
    device
        .potluck_reading(b"caf\xe9", ["run"])
        .failure(1, &["not valid UTF-8", "byte 3"]);
    for empty in [&b""[..], b"\n", b" \t\n"] {
        device
            .potluck_reading(empty, ["run"])
            .failure(1, &["the prompt is empty"]);
    }
    let long = "word ".repeat(20_000);
    device
        .potluck_reading(long.as_bytes(), ["run"])
        .failure(1, &["tokens long", "2048", "8192 positions at most"]);
    let fits_in_more = "word ".repeat(3_000);
    device
        .potluck_reading(fits_in_more.as_bytes(), ["run"])
        .failure(1, &["use --context"]);
    device
        .potluck(["run", "--context", "9000", "Hello"])
        .failure(1, &["9000", "8192"]);
}

#[test]
fn unusable_files_are_refused_in_words() {
    let device = Device::new();
    std::fs::write(device.folder().join("text.gguf"), "not a model").expect("written");
    device
        .potluck(["run", "-m", "text.gguf", "Hi"])
        .failure(1, &["text.gguf", "not a GGUF file"]);
    device
        .potluck(["run", "-m", "none.gguf", "Hi"])
        .failure(1, &["none.gguf", "No such file"]);
    device
        .potluck(["run", "-m", "nothing:1b", "Hi"])
        .failure(2, &["smollm2:135m"]);
    device
        .potluck(["run", "--offline", "Hi"])
        .failure(1, &["potluck pull smollm2:135m"]);
}

#[test]
#[cfg(unix)]
fn with_the_file_in_the_cache_nothing_else_is_asked() {
    use potluck_tests::{FakePython, run};

    let device = Device::with_model(MODEL);
    let python = FakePython::new(device.folder(), "echo 'no network here' >&2; exit 1");
    let mut command = device.command(["run", "--greedy", "-n", "4", "--quiet", "Hello"]);
    command.env("PATH", python.path());
    let output = run(command, b"").success();
    assert_eq!((python.calls(), output.stderr.as_str()), (0, ""));

    // And without the file, both sources are asked and both failures named.
    let device = Device::new();
    let mut command = device.command(["run", "Hello"]);
    command.env("PATH", python.path());
    run(command, b"").failure(1, &["cannot be reached", "no network here"]);
    assert_eq!(python.calls(), 1);
}

#[test]
fn score_reports_every_token() {
    let device = Device::with_model(MODEL);
    let json = device
        .potluck([
            "score",
            "--json",
            "--top",
            "3",
            "The capital of France is Paris.",
        ])
        .success()
        .json();
    let (ids, logprobs) = (numbers(&json["token_ids"]), numbers(&json["logprobs"]));
    assert_eq!(ids.len(), logprobs.len() + 1);
    assert!(logprobs.iter().all(|&logprob| logprob <= 0.0));
    let mean = -logprobs.iter().sum::<f64>() / logprobs.len() as f64;
    assert!((json["mean_nll"].as_f64().expect("a number") - mean).abs() < 1e-6);
    let top = json["top"].as_array().expect("a list");
    for (position, candidates) in top.iter().enumerate() {
        let candidates = candidates.as_array().expect("a list");
        assert_eq!(candidates.len(), 3);
        let logprob = |index: usize| candidates[index][1].as_f64().expect("a number");
        assert!(logprob(0) >= logprob(1) && logprob(1) >= logprob(2));
        // A token among the candidates has the same log-probability in both lists.
        let Some(&next) = ids.get(position + 1) else {
            continue;
        };
        for candidate in candidates
            .iter()
            .filter(|pair| pair[0].as_f64() == Some(next))
        {
            assert_eq!(candidate[1].as_f64(), Some(logprobs[position]));
        }
    }

    let list: Vec<_> = ids.iter().map(|id| format!("{id}")).collect();
    let by_ids = device
        .potluck(["score", "--json", "--tokens", &list.join(",")])
        .success()
        .json();
    assert_eq!(by_ids["logprobs"], json["logprobs"]);
    assert!(by_ids.get("top").is_none());

    device
        .potluck(["score", "--tokens", "5"])
        .failure(1, &["two or more"]);
    device
        .potluck(["score", "--tokens", "5,49152"])
        .failure(1, &["49152", "0 to 49151"]);
    device
        .potluck_reading(b"\xff\xfe", ["score"])
        .failure(1, &["not valid UTF-8"]);
}

#[test]
fn bench_reports_rates_and_memory() {
    let device = Device::with_model(MODEL);
    let arguments = [
        "bench",
        "--json",
        "--prefill",
        "32",
        "--decode",
        "8",
        "--repetitions",
        "3",
    ];
    let json = device.potluck(arguments).success().json();
    for key in [
        "prefill_tokens_per_s",
        "decode_tokens_per_s",
        "bytes_per_token",
        "read_bandwidth_bytes_per_s",
        "threads",
    ] {
        assert!(json[key].as_f64() > Some(0.0), "{key}: {json}");
    }
    assert_eq!(json["repetitions"], 3);
    let positions: Vec<_> = json["decode_at"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|at| (at["position"].as_u64(), at["tokens"].as_u64()))
        .collect();
    let expected = [0, 1000, 4000].map(|position| (Some(position), Some(8)));
    assert_eq!(positions, expected, "{json}");
    assert_eq!(
        json["decode_at"][0]["tokens_per_s"],
        json["decode_tokens_per_s"]
    );
    assert!(json["decode_at"][2]["tokens_per_s"].as_f64() > Some(0.0));
    assert!(json["isa"].is_string());
    if cfg!(target_os = "linux") {
        assert!(json["peak_rss_bytes"].as_u64() > Some(0));
    }
}

#[test]
fn inspect_states_what_the_file_holds() {
    let device = Device::with_model(MODEL);
    let json = device
        .potluck(["inspect", "--json", "--context", "2048"])
        .success()
        .json();
    assert_eq!(json["architecture"], "llama");
    assert_eq!(json["shape"]["layers"], 30);
    // 30 layers of 2048 positions of 3 heads of 64 keys and 64 values of two bytes.
    assert_eq!(json["memory"]["kv_bytes"], 30 * 2048 * 3 * 64 * 2 * 2);
    assert_eq!(json["types"][0]["type"], "Q4_1");
}

#[test]
fn a_synthetic_model_is_written_once_and_runs() {
    let device = Device::new();
    let json = device
        .potluck(["synth", "tiny.gguf", "--json"])
        .success()
        .json();
    let written = std::fs::metadata(device.folder().join("tiny.gguf"))
        .expect("written")
        .len();
    assert_eq!(json["bytes"].as_u64(), Some(written));
    device
        .potluck(["synth", "tiny.gguf"])
        .failure(1, &["exists", "--force"]);
    let _ = device
        .potluck(["synth", "tiny.gguf", "--force", "--seed", "2"])
        .success();
    device
        .potluck(["synth", "bad.gguf", "--kv-heads", "3"])
        .failure(1, &["kv_heads"]);
    assert!(!device.folder().join("bad.gguf").exists());
    let _ = device
        .potluck(["run", "-m", "tiny.gguf", "-n", "5", "Hello"])
        .success();
}

/// A prompt that a model continues for as long as it may.
#[cfg(unix)]
const ENDLESS: [&str; 9] = [
    "run",
    "--raw",
    "--greedy",
    "--context",
    "4096",
    "-n",
    "4000",
    "--quiet",
    "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20,",
];

#[test]
#[cfg(unix)]
fn ctrl_c_ends_an_answer_and_keeps_what_is_there() {
    use std::io::Read as _;
    use std::process::Command;

    let device = Device::with_model(MODEL);
    let mut child = device.command(ENDLESS).spawn().expect("the binary runs");
    let mut stdout = child.stdout.take().expect("piped");
    stdout.read_exact(&mut [0]).expect("an answer has begun");
    let pid = child.id().to_string();
    let kill = Command::new("kill").args(["-INT", &pid]).status();
    assert!(kill.expect("kill runs").success());
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).expect("text");
    assert!(rest.ends_with('\n'), "{rest}");
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(130));
    assert!(
        output.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
#[cfg(unix)]
fn a_reader_that_leaves_ends_the_answer_without_a_complaint() {
    use std::io::Read as _;

    let device = Device::with_model(MODEL);
    let mut child = device.command(ENDLESS).spawn().expect("the binary runs");
    let mut stdout = child.stdout.take().expect("piped");
    stdout.read_exact(&mut [0]).expect("an answer has begun");
    drop(stdout);
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(141));
    assert!(
        output.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
