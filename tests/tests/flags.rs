//! Odd values of options: done as they are, or refused by name before anything is computed.

use std::fs;

use potluck_tests::{Device, run};

#[test]
fn numbers_that_no_command_takes_are_refused_before_a_model_is_looked_for() {
    let device = Device::new();
    let most = "18446744073709551616";
    let cases: [(&[&str], &str); 23] = [
        (&["run", "--threads", "4000000000", "Hi"], "1 to 1024"),
        (&["run", "--threads", "0", "Hi"], "1 to 1024"),
        (&["bench", "--threads", "1025"], "1 to 1024"),
        (&["score", "--threads", most, "Hi"], "1 to 1024"),
        (&["up", "--threads", "65537"], "1 to 1024"),
        (&["run", "--context", "0", "Hi"], "--context"),
        (&["run", "--context", most, "Hi"], "--context"),
        (&["run", "--max-tokens", most, "Hi"], "--max-tokens"),
        (&["run", "--top-k", "-1", "Hi"], "--top-k"),
        (&["run", "--top-p", "0", "Hi"], "above 0 and at most 1"),
        (&["run", "--min-p", "1.1", "Hi"], "from 0 to 1"),
        (&["run", "--temperature", "1001", "Hi"], "from 0 to 1000"),
        (&["chat", "--top-p", "0"], "above 0 and at most 1"),
        (&["chat", "--repetition-penalty", "101"], "from 0.01 to 100"),
        (&["chat", "--seed", "9007199254740993"], "9007199254740992"),
        (&["up", "--memory", "NaN"], "not a size"),
        (&["up", "--store", "1e300G"], "not a size"),
        (&["up", "--min-battery", "101"], "0..=100"),
        (&["pair", "--minutes", "1441"], "1..=1440"),
        (&["plan", "--objective", "luck"], "latency"),
        (&["bench", "--prefill", "0"], "give a number from 1"),
        (&["bench", "--decode", "0"], "give a number from 1"),
        (&["bench", "--repetitions", "0"], "give a number from 1"),
    ];
    for (arguments, words) in cases {
        let _ = device.potluck(arguments).failure(2, &[words]);
    }
}

#[test]
fn what_would_have_no_effect_is_refused_with_what_to_do() {
    let device = Device::new();
    let here = "/ip4/127.0.0.1/tcp/0";
    let cases: [(&[&str], &str); 19] = [
        (&["run", "--alone", "--listen", here, "Hi"], "--listen"),
        (&["run", "--alone", "--peer", here, "Hi"], "--peer"),
        (&["chat", "--alone", "--objective", "energy"], "--objective"),
        (&["run", "--listen", here, "Hi"], "add --with-peers"),
        (&["chat", "--peer", here], "add --with-peers"),
        (&["serve", "--objective", "energy"], "add --with-peers"),
        (
            &["serve", "--alone", "--placement", "self:0..2"],
            "--placement",
        ),
        (&["run", "--objective", "energy", "Hi"], "add --with-peers"),
        (
            &["plan", "--objective", "energy", "--placement", "self:0..2"],
            "--placement",
        ),
        (&["pair", "-", "--join", "--minutes", "5"], "--minutes"),
        (
            &["run", "--repetition-window", "9", "Hi"],
            "--repetition-penalty",
        ),
        (&["run", "-n", "0", "Hi"], "give a number from 1"),
        (&["chat", "-n", "0"], "give a number from 1"),
        (&["run", "-c", "0", "Hi"], "give a number from 1"),
        (&["plan", "-c", "0"], "give a number from 1"),
        (&["inspect", "-c", "0"], "give a number from 1"),
        (&["score", "--tokens", "a,b"], "a token id is a number"),
        (&["up", "--listen", "foo"], "write an address like"),
        (&["plan", "--peer", "foo"], "write an address like"),
    ];
    for (arguments, words) in cases {
        let _ = device.potluck(arguments).failure(2, &[words]);
    }
}

#[test]
fn what_another_flag_or_the_command_makes_vain_is_refused_by_name() {
    let device = Device::new();
    let cases: [(&[&str], &str); 10] = [
        (
            &[
                "run",
                "--repetition-penalty",
                "1",
                "--repetition-window",
                "9",
                "Hi",
            ],
            "--repetition-window has no effect",
        ),
        (&["run", "--greedy", "--seed", "7", "Hi"], "--seed"),
        (
            &["run", "--temperature", "0", "--seed", "7", "Hi"],
            "--seed has no effect",
        ),
        (
            &["run", "--temperature", "0", "--top-k", "9", "Hi"],
            "--top-k has no effect",
        ),
        (
            &["chat", "--temperature", "0", "--top-p", "0.9"],
            "--top-p has no effect",
        ),
        (
            &["chat", "--temperature", "-0", "--min-p", "0.1"],
            "--min-p has no effect",
        ),
        (
            &["forget", "tablet", "--memory", "1G"],
            "--memory has no effect",
        ),
        (
            &["forget", "self", "--yes", "--memory", "1G"],
            "--memory has no effect",
        ),
        (
            &["pair", "--admit", "--memory", "1G", "--no-mdns"],
            "--memory has no effect",
        ),
        (
            &["pair", "--admit", "--memory", "1G", "--json"],
            "--memory has no effect",
        ),
    ];
    for (arguments, words) in cases {
        let _ = device.potluck(arguments).failure(2, &[words]);
    }
}

#[test]
fn the_largest_numbers_do_what_they_say() {
    let device = Device::with_tiny_model();
    let most = usize::MAX.to_string();
    let arguments = [
        "run",
        "-m",
        "tiny.gguf",
        "--context",
        "64",
        "--max-tokens",
        &most,
        "--top-k",
        &most,
        "--repetition-window",
        &most,
        "--repetition-penalty",
        "1.1",
        "--threads",
        "8",
        "--json",
        "Hi",
    ];
    let json = device.potluck(arguments).success().json();
    let reason = json["stop_reason"].as_str().expect("text");
    assert!(["context_full", "end_of_turn"].contains(&reason), "{json}");

    let score = [
        "score",
        "-m",
        "tiny.gguf",
        "--top",
        &most,
        "--json",
        "Hi you",
    ];
    let json = device.potluck(score).success().json();
    let top = json["top"][0].as_array().expect("a list");
    assert!(top.len() > 100, "the whole vocabulary: {}", top.len());
}

#[test]
fn lengths_beyond_a_models_own_are_refused_by_name() {
    let device = Device::with_tiny_model();
    for arguments in [
        &["run", "-m", "tiny.gguf", "-c", "4000000000", "Hi"][..],
        &["chat", "-m", "tiny.gguf", "-c", "4000000000"],
        &["inspect", "tiny.gguf", "-c", "4000000000"],
        &["plan", "tiny.gguf", "-c", "4000000000"],
        &["score", "-m", "tiny.gguf", "-c", "4000000000", "Hi you"],
        &["bench", "-m", "tiny.gguf", "-c", "4000000000"],
    ] {
        let words = ["4000000000", "made for at most"];
        let _ = device.potluck(arguments).failure(1, &words);
    }
    let most = usize::MAX.to_string();
    for flag in ["--prefill", "--decode"] {
        let bench = ["bench", "-m", "tiny.gguf", flag, &most];
        let _ = device.potluck(bench).failure(1, &["tokens long"]);
    }
}

#[test]
fn a_model_that_no_disk_holds_is_not_begun() {
    let device = Device::new();
    let huge = "16777216";
    let shape = ["synth", "huge.gguf", "--d-model", huge, "--d-ff", huge];
    let whole = [
        "--layers",
        "1024",
        "--heads",
        "65536",
        "--kv-heads",
        "65536",
    ];
    let arguments = shape.iter().chain(&whole).chain(&["--head-dim", "65536"]);
    let _ = device.potluck(arguments).failure(1, &["parameters"]);
    // 35 TB.
    let few = ["--layers", "1", "--d-ff", "150000", "--types", "F32"];
    let arguments = ["synth", "huge.gguf", "--d-model", huge].into_iter();
    let _ = device.potluck(arguments.chain(few)).failure(1, &["free"]);
    assert!(!device.folder().join("huge.gguf").exists());
    assert!(!device.folder().join("huge.gguf.partial").exists());
}

#[test]
fn a_data_folder_that_cannot_be_written_is_told_with_the_way_out() {
    let device = Device::with_tiny_model();
    let file = device.folder().join("file");
    fs::write(&file, "").expect("writable");
    for home in [file.clone(), file.join("below")] {
        for arguments in [
            &["id"][..],
            &["guests", "add", "anna"],
            &["serve", "--http", "0", "--offline"],
            &["up", "--json"],
        ] {
            let mut command = device.command(arguments);
            command.env("POTLUCK_HOME", &home);
            let _ = run(command, b"").failure(1, &["set POTLUCK_HOME to another folder"]);
        }
    }
    // Other failures say nothing of it.
    let none = device
        .potluck(["inspect", "none.gguf"])
        .failure(1, &["none.gguf"]);
    assert!(!none.stderr.contains("POTLUCK_HOME"), "{none:?}");
}

#[test]
fn a_node_names_the_file_that_is_no_model() {
    let device = Device::with_tiny_model();
    fs::write(device.folder().join("text.gguf"), "not a model").expect("writable");
    for command in [&["serve", "--http", "0"][..], &["up"]] {
        let file = ["--no-mdns", "--json", "--model", "text.gguf"];
        let failed = device.potluck([command, &file].concat());
        let failed = failed.failure(1, &["cannot use text.gguf: not a GGUF file"]);
        assert_eq!(failed.json()["error"]["code"], "model");
    }
}
