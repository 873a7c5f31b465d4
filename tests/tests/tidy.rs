//! The house rules that a compiler does not check: which crate knows which, where `unsafe` is
//! allowed, and that files and functions stay small enough to read.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use potluck_tests::workspace;
use serde_json::Value;

/// A file is a sitting.
const FILE_LINES: usize = 500;
/// A function fits a screen.
const FUNCTION_LINES: usize = 70;

/// What each crate may know of the workspace.
const ARROWS: [(&str, &[&str]); 5] = [
    ("potluck-protocol", &[]),
    ("potluck-model", &[]),
    ("potluck", &["potluck-protocol", "potluck-model"]),
    ("potluck-sim", &["potluck-protocol", "potluck-model"]),
    (
        "potluck-tests",
        &[
            "potluck-protocol",
            "potluck-model",
            "potluck",
            "potluck-sim",
        ],
    ),
];

/// What the protocol core must never see: clocks, sockets, threads, tensors.
const NOT_IN_PROTOCOL: [&str; 5] = ["burn", "libp2p", "tokio", "rand", "getrandom"];

/// Names that say nothing.
const VAGUE: [&str; 6] = ["utils", "util", "helpers", "common", "misc", "manager"];

/// A Rust file of the repository, by its path from the root.
struct Source {
    path: PathBuf,
    text: String,
}

impl Source {
    fn all() -> Vec<Self> {
        let mut paths = Vec::new();
        for folder in ["node", "protocol", "model", "simulator", "tests"] {
            collect(&workspace().join(folder), &mut paths);
        }
        paths.sort();
        paths.into_iter().map(Self::read).collect()
    }

    fn read(path: PathBuf) -> Self {
        let text = fs::read_to_string(&path).expect("a source file is text");
        let path = path
            .strip_prefix(workspace())
            .expect("under the root")
            .into();
        Self { path, text }
    }

    /// Functions longer than a screen: the line each starts at, and its lines.
    fn long_functions(&self) -> Vec<(usize, usize)> {
        let lines: Vec<_> = self.text.lines().collect();
        let mut long = Vec::new();
        for (start, line) in lines.iter().enumerate() {
            let item = line.trim_start();
            let indent = line.len() - item.len();
            if !is_function(item) {
                continue;
            }
            // Formatted code ends a function, or one that is only declared, at its own indentation.
            let ends = |line: &str| {
                let rest = line.get(indent..).unwrap_or_default();
                rest == "}" || (rest.starts_with(')') && rest.ends_with(';'))
            };
            let length = lines[start..].iter().position(|line| ends(line));
            let length = length.map_or(0, |last| last + 1);
            if length > FUNCTION_LINES {
                long.push((start + 1, length));
            }
        }
        long
    }
}

fn collect(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("a readable entry").path();
        let name = path.file_name().unwrap_or_default();
        if path.is_dir() && name != "target" {
            collect(&path, into);
        } else if path.extension().is_some_and(|e| e == "rs") {
            into.push(path);
        }
    }
}

/// Whether a line begins a function: a pointer's type, `fn(`, has no name.
fn is_function(item: &str) -> bool {
    // How far it is seen may be in brackets of its own: `pub(super) fn`.
    let seen = item
        .strip_prefix("pub(")
        .and_then(|rest| rest.split_once(") "));
    let item = seen.map_or(item, |(_, rest)| rest);
    let words = item.split('(').next().unwrap_or_default().split(' ');
    let named = words.rev().skip(1).any(|word| word == "fn");
    !item.starts_with("//") && item.ends_with(['{', '(']) && named
}

fn packages() -> Vec<Value> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version=1"])
        .current_dir(workspace())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "cargo metadata failed");
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("it prints JSON");
    metadata["packages"].as_array().expect("a list").clone()
}

#[test]
fn crates_know_only_those_below_them() {
    let packages = packages();
    assert_eq!(packages.len(), ARROWS.len(), "each member has its arrows");
    for package in packages {
        let name = package["name"].as_str().expect("a name");
        let (_, allowed) = ARROWS
            .iter()
            .find(|(of, _)| *of == name)
            .unwrap_or_else(|| panic!("{name} has no arrows"));
        for dependency in package["dependencies"].as_array().expect("a list") {
            let dependency = dependency["name"].as_str().expect("a name");
            let ours = ARROWS.iter().any(|(of, _)| *of == dependency);
            assert!(
                !ours || allowed.contains(&dependency),
                "{name} must not depend on {dependency}"
            );
            assert!(
                name != "potluck-protocol" || !NOT_IN_PROTOCOL.contains(&dependency),
                "the protocol core must not depend on {dependency}"
            );
        }
    }
}

#[test]
fn unsafe_code_is_only_in_the_kernels_and_one_system_call_of_the_tests() {
    let allowing: Vec<_> = Source::all()
        .into_iter()
        .filter(|s| s.text.lines().any(allows_unsafe))
        .map(|s| s.path)
        .collect();
    let modules = [
        ("model/src/lib.rs", "mod kernels;"),
        ("tests/src/wifi/mod.rs", "mod tap;"),
    ];
    assert_eq!(allowing, modules.map(|(file, _)| Path::new(file)));

    for (file, module) in modules {
        let text = Source::read(workspace().join(file)).text;
        let mut lines = text.lines().skip_while(|l| !allows_unsafe(l));
        lines.next();
        assert_eq!(lines.next(), Some(module));
        assert!(!lines.any(allows_unsafe), "{file} lifts it once");
    }
}

/// Whether a line lifts the workspace's `unsafe_code = "deny"`.
fn allows_unsafe(line: &str) -> bool {
    let line = line.trim_start();
    line.starts_with('#') && line.contains("unsafe_code") && !line.contains("forbid")
}

#[test]
fn files_and_functions_are_small_enough_to_read() {
    let mut long = String::new();
    for source in Source::all() {
        let path = source.path.display();
        let lines = source.text.lines().count();
        if lines > FILE_LINES {
            let _ = writeln!(long, "{path} has {lines} lines");
        }
        for (at, lines) in source.long_functions() {
            let _ = writeln!(long, "{path}:{at} is a function of {lines} lines");
        }
    }
    assert!(long.is_empty(), "split these:\n{long}");
}

/// The calls of `tracing`'s macros in a source.
fn log_calls(text: &str) -> impl Iterator<Item = &str> {
    let calls = text.split("tracing::").skip(1).filter(|rest| {
        let name = rest.split('(').next().unwrap_or_default();
        name.ends_with('!')
    });
    calls.map(|rest| rest.split(';').next().unwrap_or_default())
}

#[test]
fn nothing_is_logged_by_its_debug_format() {
    // Whoever adds a field to a struct does not know who logs it.
    let mut calls = 0;
    for source in Source::all() {
        for call in log_calls(&source.text) {
            calls += 1;
            let debug = ["= ?", ", ?", "(?", "\n?", ":?}", ":#?}"];
            let words: String = call
                .lines()
                .map(|line| line.trim_start().to_owned() + "\n")
                .collect();
            let found = debug.iter().find(|sign| words.contains(*sign));
            let path = source.path.display();
            assert!(found.is_none(), "{path} logs by Debug: {call}");
        }
    }
    assert!(calls > 30, "{calls}");
}

#[test]
fn modules_are_named_for_what_is_in_them() {
    for source in Source::all() {
        for part in source.path.with_extension("").iter() {
            assert!(
                !VAGUE.iter().any(|name| part == *name),
                "{} says nothing",
                source.path.display()
            );
        }
    }
}

/// Words of the scripts beside the tests, each with the script it is in.
fn words_of_scripts() -> Vec<(PathBuf, Vec<String>)> {
    let folders = ["aarch64", "avx512", "compare"].map(|name| workspace().join("tests").join(name));
    let files = folders.iter().flat_map(|folder| {
        let entries = fs::read_dir(folder).expect("a folder of scripts");
        entries.map(|entry| entry.expect("a file").path())
    });
    let scripts = files.filter(|path| path.extension().is_some_and(|e| e == "sh" || e == "py"));
    let words = |path: PathBuf| {
        let text = fs::read_to_string(&path).expect("a script is text");
        let words = text.split(|c: char| c.is_whitespace() || c == '"' || c == '`' || c == ',');
        let words = words.filter(|word| !word.is_empty());
        let words = words.map(str::to_owned).collect();
        (path, words)
    };
    scripts.map(words).collect()
}

#[test]
fn examples_that_scripts_build_are_there() {
    let mut built = 0;
    for (script, words) in words_of_scripts() {
        for pair in words.windows(2).filter(|pair| pair[0] == "--example") {
            let source = format!("model/examples/{}.rs", pair[1]);
            assert!(
                workspace().join(&source).is_file(),
                "{source}, for {script:?}"
            );
            built += 1;
        }
    }
    assert!(built > 2, "{built}");
}

#[test]
fn what_counts_instructions_of_inner_loops_passes_its_own_tests() {
    let tests = Command::new("python3")
        .args(["-B", "-m", "unittest", "discover", "tests/kernels"])
        .current_dir(workspace())
        .output();
    let Ok(tests) = tests else {
        return eprintln!("skipped: there is no python3 here");
    };
    let said = String::from_utf8_lossy(&tests.stderr);
    assert!(tests.status.success(), "{said}");
}
