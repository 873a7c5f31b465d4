//! The configuration file, with the real command.

use std::fs;
use std::process::Command;

use potluck_tests::{Device, Output, run};
use serde_json::Value;

/// A device with this configuration file.
fn device(text: &str) -> Device {
    let device = Device::with_tiny_model();
    fs::write(device.folder().join("config.toml"), text).expect("writable");
    device
}

/// A command that reads the file.
fn command(device: &Device, arguments: &[&str]) -> Command {
    let mut command = device.command(arguments);
    command.env("POTLUCK_CONFIG", device.folder().join("config.toml"));
    command
}

fn potluck(device: &Device, arguments: &[&str]) -> Output {
    run(command(device, arguments), b"")
}

#[test]
fn settings_are_used_and_flags_and_variables_win() {
    let device = device(
        "model = \"tiny.gguf\"\nlog-format = \"json\"\n[run]\nmax-tokens = 3\nthreads = 1\nseed = 7\n",
    );
    let tokens = |arguments: &[&str]| {
        let json = potluck(&device, arguments).success().json();
        json["token_ids"].as_array().expect("a list").len()
    };
    let few = tokens(&["run", "--raw", "--json", "Hi"]);
    assert!(few <= 3, "{few}");
    let more = tokens(&["run", "--raw", "--json", "-n", "1", "Hi"]);
    assert_eq!(more, 1);
    // The file's text does not stand against the environment's.
    let mut asked = command(&device, &["id", "-v"]);
    asked.env("POTLUCK_LOG_FORMAT", "text");
    let _ = run(asked, b"").success();
}

#[test]
fn a_wrong_file_is_told_with_its_place_and_no_command_goes_on() {
    let device = device("model = \"tiny.gguf\"\n\n[run]\nthread = 4\n");
    let words = ["config.toml:4: thread is not a setting of `run`; did you mean threads?"];
    for arguments in [&["run", "Hi"][..], &["peers"], &["config"]] {
        let _ = potluck(&device, arguments).failure(2, &words);
    }
    let json = potluck(&device, &["run", "--json", "Hi"])
        .failure(2, &words)
        .json();
    assert_eq!(json["error"]["code"], "usage");
    // What helps to mend it goes on.
    let help = potluck(&device, &["run", "--help"]).success();
    assert!(help.stderr.contains("config.toml:4"), "{}", help.stderr);
    let path = potluck(&device, &["config", "path"]).success();
    assert!(
        path.stdout.trim_end().ends_with("config.toml"),
        "{}",
        path.stdout
    );
    let _ = potluck(&device, &["completions", "bash"]).success();

    let mut missing = device.command(["peers"]);
    missing.env("POTLUCK_CONFIG", device.folder().join("none.toml"));
    let _ = run(missing, b"").failure(2, &["none.toml: cannot read it"]);
}

#[test]
fn settings_without_effect_give_way_where_flags_are_refused() {
    let device = device(
        "model = \"tiny.gguf\"\nobjective = \"energy\"\nno-drafts = true\nmemory = \"2G\"\n\
         top-k = 5\npeer = [\"/ip4/127.0.0.1/tcp/1\"]\nwith-peers = true\n",
    );
    for arguments in [
        &["run", "--alone", "-n", "1", "Hi"][..],
        &["run", "--alone", "--temperature", "0", "-n", "1", "Hi"],
        &["run", "--alone", "--greedy", "-n", "1", "Hi"],
    ] {
        let _ = potluck(&device, arguments).success();
    }
    let flags = ["run", "--alone", "--objective", "energy", "-n", "1", "Hi"];
    let _ = potluck(&device, &flags).failure(2, &["--objective"]);
    // Against the file's `with-peers`, the variable says what it always says.
    let mut alone = command(&device, &["run", "-n", "1", "--json", "Hi"]);
    alone.env("POTLUCK_WITH_PEERS", "0");
    let json = run(alone, b"").success().json();
    assert_eq!(json["placement"], Value::Null);
}

#[test]
fn config_tells_each_setting_and_where_it_is_from() {
    let device = device("threads = 3\nmodel = \"gemma3:270m\"\n\n[serve]\nthreads = 2\n");
    let mut asked = command(&device, &["config", "--json"]);
    asked.env("POTLUCK_OFFLINE", "1");
    let json = run(asked, b"").success().json();
    assert_eq!(
        json["file"],
        device.folder().join("config.toml").to_str().expect("text")
    );
    let all = json["settings"].as_array().expect("a list");
    let find = |key: &str, command: &str| {
        let is_it = |one: &&Value| {
            let commands = one["commands"].as_array().expect("a list");
            one["key"] == key && commands.iter().any(|name| name == command)
        };
        all.iter()
            .find(is_it)
            .unwrap_or_else(|| panic!("{key} of {command}"))
    };
    let run = find("threads", "run");
    assert_eq!(
        (run["value"].as_str(), run["line"].as_u64()),
        (Some("3"), Some(1))
    );
    let serve = find("threads", "serve");
    assert_eq!(
        (serve["value"].as_str(), serve["line"].as_u64()),
        (Some("2"), Some(5))
    );
    let offline = find("offline", "run");
    assert_eq!(offline["origin"], "environment");
    assert_eq!(offline["variable"], "POTLUCK_OFFLINE");
    let tokens = find("max-tokens", "run");
    assert_eq!(
        (tokens["origin"].as_str(), tokens["value"].as_str()),
        (Some("default"), Some("512"))
    );

    let text = potluck(&device, &["config"]).success().stdout;
    assert!(text.contains("config.toml:5  for serve"), "{text}");
    assert!(
        text.lines()
            .any(|line| line.starts_with("model") && line.contains("gemma3:270m")),
        "{text}"
    );
    assert!(!text.contains("max-tokens"), "{text}");
    let all = potluck(&device, &["config", "--all"]).success().stdout;
    assert!(all.contains("max-tokens"), "{all}");
}

#[test]
#[cfg(unix)]
fn settings_of_a_node_give_way_while_another_command_runs_it() {
    let device = device("memory = \"3G\"\nno-mdns = true\nthreads = 2\n");
    // Without the file.
    let options = ["--open", "--model", "tiny.gguf", "--threads", "1"];
    let served = potluck_tests::Served::start(device, &options);
    let plan = ["plan", "tiny.gguf"];
    let _ = potluck(served.device(), &plan).success();
    let given = ["plan", "tiny.gguf", "--memory", "3G"];
    let refused = potluck(served.device(), &given);
    let _ = refused.failure(2, &["--memory does not change it"]);
}
