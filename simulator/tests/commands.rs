//! The program as people and schedulers call it: the examples of the README hold, and Ctrl-C stops
//! cleanly.
#![cfg(unix)]

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::Duration;

const PROGRAM: &str = env!("CARGO_BIN_EXE_potluck-sim");
const README: &str = include_str!("../README.md");
/// What the examples' scenario is here.
const TINY: &str = "duration = \"20 s\"\n\
                    device = [{ profile = \"galaxy-s23\", count = 2 }]\n\
                    network = [{ jitter = \"1 ms\" }]\n\
                    request = [{ prompt = 4, tokens = 3, choice = \"self:0..15,galaxy-s23#2:15..30\" }]\n";
/// Seeds of each value here: more runs than the examples have parts.
const SEEDS: u32 = 12;

/// The code block behind these words of the README.
fn block(words: &str) -> &'static str {
    let (_, rest) = README.split_once(words).expect("the README has it");
    let (_, rest) = rest.split_once("```").expect("a block");
    let (_, rest) = rest.split_once('\n').expect("its language");
    rest.split_once("```").expect("its end").0
}

/// The number that follows these words in a text.
fn number_after(text: &str, words: &str) -> u32 {
    let (_, rest) = text.split_once(words).expect("it has them");
    let digits: String = rest
        .trim_start()
        .chars()
        .take_while(char::is_ascii_digit)
        .collect();
    digits.parse().expect("a number")
}

/// What a shell runs of the Slurm example, and how many parts there are.
fn slurm() -> (String, u32) {
    let block = block("A Slurm array:");
    let parts = number_after(block, "--array=0-") + 1;
    let (_, command) = block.split_once("srun ").expect("it runs something");
    (command.to_owned(), parts)
}

/// The same of the Kubernetes example.
fn kubernetes() -> (String, u32) {
    let block = block("A Kubernetes indexed Job");
    let parts = number_after(block, "completions:");
    let (_, rest) = block.split_once(">-\n").expect("folded text");
    let deep = |line: &str| line.len() - line.trim_start().len();
    let depth = rest.lines().next().map(deep).expect("a line");
    let lines = rest.lines().take_while(|line| deep(line) >= depth);
    (lines.map(str::trim).collect::<Vec<_>>().join(" "), parts)
}

/// The same of the one for GNU parallel, which puts two words in.
fn parallel() -> (String, u32) {
    let block = block("GNU parallel");
    let parts = number_after(block, "seq 0 ") + 1;
    let (_, rest) = block.split_once("potluck-sim sweep").expect("it sweeps");
    let (command, _) = rest.split_once(":::").expect("its words follow");
    let command = command.trim().trim_end_matches('\\');
    (
        format!("potluck-sim sweep {command}")
            .replace("{1}", "$PART")
            .replace("{2}", "train.toml"),
        parts,
    )
}

fn shell(folder: &Path, command: &str, part: u32) -> Output {
    let own = Path::new(PROGRAM).parent().expect("it is in a folder");
    let path = format!("{}:/usr/bin:/bin", own.display());
    let part = part.to_string();
    let variables = ["SLURM_ARRAY_TASK_ID", "JOB_COMPLETION_INDEX", "PART"];
    Command::new("sh")
        .args(["-c", command])
        .current_dir(folder)
        .env("PATH", path)
        .env("SLURM_CPUS_PER_TASK", "1")
        .envs(variables.map(|name| (name, &part)))
        .output()
        .expect("there is a shell")
}

fn assert_ran(output: &Output) {
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words}");
}

/// What `merge` makes of all files of a folder whose name begins so.
fn merged(folder: &Path, prefix: &str) -> String {
    let command = format!("potluck-sim merge {prefix}*.jsonl --as csv");
    let output = shell(folder, &command, 0);
    assert_ran(&output);
    String::from_utf8(output.stdout).expect("text")
}

/// Runs an example's sweep in its parts, and in one go.
fn assert_parts_are_the_whole((command, parts): (String, u32)) {
    let folder = tempfile::tempdir().expect("a folder");
    let here = folder.path();
    fs::write(here.join("train.toml"), TINY).expect("written");
    let (before, rest) = command.split_once("--seeds ").expect("it has seeds");
    let (_, after) = rest.split_once(' ').expect("a number");
    let mut command = format!("{before}--seeds {SEEDS} {after}");
    for folder in ["/scenario/", "/results/"] {
        command = command.replace(folder, "./");
    }
    assert!(command.contains(&format!("/{parts}")), "{command}");
    for part in 0..parts {
        assert_ran(&shell(here, &command, part));
    }
    let whole = "potluck-sim sweep train.toml --vary network.delay=1ms,5ms,20ms \
                 --threads 1 --quiet --out whole.jsonl";
    assert!(command.contains("--vary network.delay=1ms,5ms,20ms"));
    assert_ran(&shell(here, &format!("{whole} --seeds {SEEDS}"), 0));
    let one = merged(here, "whole");
    assert_eq!(one.lines().count(), 1 + 3 * SEEDS as usize);
    assert_eq!(merged(here, "part-"), one);
}

#[test]
fn the_slurm_example_gives_what_one_machine_does() {
    assert_parts_are_the_whole(slurm());
}

#[test]
fn the_kubernetes_example_gives_what_one_machine_does() {
    assert_parts_are_the_whole(kubernetes());
}

#[test]
fn the_gnu_parallel_example_gives_what_one_machine_does() {
    assert_parts_are_the_whole(parallel());
}

#[test]
fn ctrl_c_stops_a_run_with_what_there_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("long.toml");
    let long = "duration = \"8000 h\"\nseries_every = \"100 h\"\n\
                device = [{ profile = \"galaxy-s23\", count = 8 }]\n\
                request = [{ who = \"each\", every = \"10 s\", tokens = 20 }]\n";
    fs::write(&path, long).expect("written");
    let mut run = Command::new(PROGRAM);
    run.arg("run").arg(&path).args(["--json", "--progress"]);
    let run = run.stdout(Stdio::piped()).stderr(Stdio::piped());
    let run = run.spawn().expect("it runs");
    // Time for it to begin; all of it would take two minutes.
    thread::sleep(Duration::from_millis(1_500));
    // Of the shell, as not every system has a program for that.
    let kill = format!("kill -INT {}", run.id());
    let stopped = Command::new("sh").args(["-c", &kill]).status();
    assert!(stopped.expect("there is kill").success());
    let output = run.wait_with_output().expect("it ends");
    let words = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{words}");
    assert!(words.contains("stopped after"), "{words}");
    let figures: serde_json::Value = serde_json::from_slice(&output.stdout).expect("figures");
    assert_eq!(figures["violations"].as_array().map(Vec::len), Some(0));
}
