//! A smaller model that guesses, with real processes: it changes no token, and what cannot guess is
//! refused by name.
#![cfg(unix)]

use std::fs;
use std::path::PathBuf;

use potluck_tests::{Device, Output, Served, model_path};
use serde_json::json;

/// A device with a model and drafters for it.
struct Models {
    device: Device,
    model: String,
    drafter: String,
}

impl Models {
    fn new() -> Self {
        let device = Device::new();
        let mut models = Self {
            model: String::new(),
            drafter: String::new(),
            device,
        };
        models.model = models.synth("model", &["--layers", "12", "--d-ff", "2048"]);
        models.drafter = models.synth("small", &["--layers", "1"]);
        models
    }

    fn path(&self, name: &str) -> PathBuf {
        self.device.folder().join(format!("{name}.gguf"))
    }

    fn synth(&self, name: &str, shape: &[&str]) -> String {
        let path = self.path(name).display().to_string();
        let arguments = ["synth", &path, "--quiet"];
        let _ = self.device.potluck(arguments.iter().chain(shape)).success();
        path
    }

    fn run(&self, more: &[&str]) -> Output {
        let arguments = [
            "run",
            "--raw",
            "-n",
            "60",
            "--model",
            &self.model,
            "Tell me",
        ];
        self.device.potluck(arguments.iter().chain(more))
    }
}

#[test]
fn answers_with_a_drafter_have_the_tokens_of_those_without() {
    let models = Models::new();
    for how in [&["--greedy"][..], &["--seed", "7"]] {
        let ask = |more: &[&str]| {
            let more = [how, more, &["--json"]].concat();
            models.run(&more).success().json()
        };
        let with = ask(&["--drafter", &models.drafter]);
        let without = ask(&["--no-drafts"]);
        assert_eq!(with["token_ids"], without["token_ids"], "{how:?}");
        assert_eq!(with["stop_reason"], without["stop_reason"]);
        println!("{how:?}: {}", with["drafts"]);
        let own = ask(&["--drafter", &models.model]);
        assert_eq!(own["token_ids"], without["token_ids"]);
    }
    let lines = "{\"user\": \"Hello\"}\n{\"user\": \"More\"}\n";
    let chat = |more: &[&str]| {
        let arguments = [
            "chat",
            "--json",
            "--greedy",
            "-n",
            "20",
            "--model",
            &models.model,
        ];
        let all: Vec<_> = arguments.iter().chain(more).collect();
        models
            .device
            .potluck_reading(lines.as_bytes(), all)
            .success()
    };
    let tokens = |text: &str| -> Vec<_> {
        let lines = text.lines().map(serde_json::from_str);
        let lines = lines.map(|line: Result<serde_json::Value, _>| line.expect("JSON"));
        lines.map(|line| line["token_ids"].clone()).collect()
    };
    let with = chat(&["--drafter", &models.drafter]);
    assert_eq!(tokens(&with.stdout), tokens(&chat(&[]).stdout));
}

#[test]
fn what_cannot_guess_is_refused_by_name() {
    let models = Models::new();
    let refused = |drafter: &str, words: &[&str]| {
        let output = models.run(&["--drafter", drafter]);
        assert!(output.code != Some(0) && output.stdout.is_empty());
        for word in words {
            assert!(output.stderr.contains(word), "{word}: {}", output.stderr);
        }
    };
    let other = models.synth("other", &["--vocabulary", "400"]);
    refused(&other, &["other.gguf", "model"]);
    let smollm = model_path("smollm2:135m").display().to_string();
    refused(&smollm, &["SmolLM2-135M", "token", "same family"]);
    refused("gone.gguf", &["gone.gguf"]);
    let text = models.path("text").display().to_string();
    fs::write(&text, "no model").expect("written");
    refused(&text, &["drafter", "text.gguf"]);
    refused("small:900b", &["small:900b", "catalogue"]);
    let both = models.run(&["--no-drafts", "--drafter", &models.drafter]);
    assert!(
        both.failure(2, &["--no-drafts", "--drafter"])
            .stdout
            .is_empty()
    );
}

#[test]
fn a_drafter_counts_in_the_memory_and_a_larger_one_is_warned_of() {
    let models = Models::new();
    let bytes = |name: &str| models.path(name).metadata().expect("there").len();
    // The model and its context of 64 positions fit, the drafter does not.
    let memory = format!("{}k", bytes("model") / 1000 + 1000);
    let options = ["--memory", &memory, "--context", "100"];
    let _ = models.run(&options).success();
    let large = models.synth("large", &["--layers", "20", "--d-ff", "2048"]);
    let with = [&options[..], &["--drafter", &large]].concat();
    let refused = models.run(&with);
    assert!(
        refused.code != Some(0) && refused.stderr.contains("for the drafter"),
        "{}",
        refused.stderr
    );
    let told = models.run(&["--greedy", "--drafter", &large]).success();
    let words = ["warning", "large.gguf", "larger than the model"];
    assert!(
        words.iter().all(|word| told.stderr.contains(word)),
        "{}",
        told.stderr
    );
    assert_eq!(told.stdout, models.run(&["--greedy"]).success().stdout);
}

#[test]
fn bench_says_what_guesses_give() {
    let models = Models::new();
    let bench = |more: &[&str]| {
        let arguments = ["bench", "--json", "--model", &models.model];
        let small = ["--prefill", "16", "--decode", "16", "--repetitions", "2"];
        let all = arguments.iter().chain(&small).chain(more);
        models.device.potluck(all)
    };
    let report = bench(&["--drafter", &models.drafter]).success().json();
    let number = |key: &str| report["drafter"][key].as_f64().expect("a number");
    assert!(number("tokens") > 0.0 && number("right") <= number("guesses"));
    assert!(number("tokens_per_s") > 0.0 && number("plain_tokens_per_s") > 0.0);
    assert!((0.0..1.0).contains(&number("weight_share")));
    assert!(bench(&[]).success().json()["drafter"].is_null());
    let both = ["bench", "--profile", "--drafter", &models.drafter];
    let both = models.device.potluck(both);
    let _ = both.failure(2, &["--profile", "--drafter"]);
}

#[test]
fn what_is_served_with_a_drafter_is_the_same_and_another_is_refused_at_the_start() {
    let models = Models::new();
    let other = models.synth("other", &["--vocabulary", "400"]);
    let Models {
        device,
        model,
        drafter,
    } = models;
    let body = json!({"prompt": "Tell me", "max_tokens": 40, "seed": 5, "temperature": 0.7});
    let ask = |served: &Served| {
        let answer = served.post("/v1/completions", &body).json();
        answer["choices"][0]["text"].clone()
    };
    let served = Served::start(
        device,
        &["--open", "--model", &model, "--drafter", &drafter],
    );
    let with = ask(&served);
    assert!(with.is_string());
    assert_eq!(ask(&served), with);
    let end = |served: Served| {
        served.signal("TERM");
        served.end_and_keep().1
    };
    let plain = Served::start(end(served), &["--open", "--no-drafts", "--model", &model]);
    assert_eq!(ask(&plain), with);
    let device = end(plain);
    let wrong = [
        "serve",
        "--http",
        "127.0.0.1:0",
        "--no-mdns",
        "--model",
        &model,
    ];
    let refused = |more: &[&str], words: &str| {
        let output = device.potluck(wrong.iter().chain(more));
        assert!(output.code != Some(0), "{more:?}");
        assert!(output.stderr.contains(words), "{words}: {}", output.stderr);
    };
    refused(&["--drafter", &other], "other.gguf");
    refused(&["--placement", "self:0..6,kitchen"], "kitchen");
    refused(&["--placement", "self:0..6,kitchen:6..30"], "12");
}
