//! The help texts, as people see them. `UPDATE_EXPECT=1 cargo test` rewrites the recorded ones.

use std::process::Command;

use expect_test::{ExpectFile, expect_file};

/// A configuration file without settings.
const NO_CONFIG: &str = if cfg!(windows) { "NUL" } else { "/dev/null" };

fn help(command: &[String]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_potluck"))
        .args(command)
        .arg("--help")
        .env_remove("POTLUCK_OFFLINE")
        .env("POTLUCK_CONFIG", NO_CONFIG)
        .output()
        .expect("the binary runs");
    assert!(output.status.success());
    assert!(output.stderr.is_empty());
    String::from_utf8(output.stdout).expect("help is UTF-8")
}

/// The help texts of a command and of all below it, by the words that call it.
fn all_help(command: &[String]) -> Vec<(Vec<String>, String)> {
    let text = help(command);
    let listed = text.split("Commands:\n").nth(1).unwrap_or_default();
    let lines = listed.lines().take_while(|line| !line.is_empty());
    let names = lines.filter_map(|line| line.split_whitespace().next());
    let below: Vec<_> = names
        .filter(|name| *name != "help")
        .map(|name| [command, &[name.to_owned()]].concat())
        .collect();
    let mut all = vec![(command.to_vec(), text)];
    all.extend(below.iter().flat_map(|command| all_help(command)));
    all
}

#[test]
fn help_texts_are_as_recorded() {
    let all = all_help(&[]);
    assert!(all.len() > 14, "{}", all.len());
    for (command, text) in all {
        let name = match command.is_empty() {
            true => "potluck".to_owned(),
            false => command.join("-"),
        };
        let recorded: ExpectFile = expect_file![format!("help/{name}.txt")];
        recorded.assert_eq(&text);
    }
}

#[test]
fn no_help_text_shows_how_its_source_is_written() {
    for (command, text) in all_help(&[]) {
        // `printf` takes one on purpose.
        let shown = text.replace("Hello!\\nWhat did I just say?\\n", "");
        for sign in ["\\", "`[", "](", "&quot;"] {
            assert!(!shown.contains(sign), "{sign} in {command:?}: {shown}");
        }
    }
}

#[test]
fn every_command_offers_json() {
    for (command, text) in all_help(&[]).into_iter().skip(1) {
        let leads_on = text.contains("\nCommands:\n");
        assert!(leads_on || text.contains("--json"), "{command:?}");
    }
}

#[test]
fn wrong_usage_exits_with_2() {
    for arguments in [
        &["run", "--temperature", "-1", "hi"][..],
        &["run", "--top-p", "1.5", "hi"],
        &["run", "--greedy", "--top-k", "3", "hi"],
        &["run", "--raw", "--system", "x", "hi"],
        &["run", "--threads", "0", "hi"],
        &["run", "--threads", "4000000000", "hi"],
        &["run", "--top-p", "0", "hi"],
        &["run", "--repetition-penalty", "101", "hi"],
        &["run", "--temperature", "NaN", "hi"],
        &["run", "--seed", "9007199254740993", "hi"],
        &["chat", "--top-p", "0"],
        &["chat", "--repetition-penalty", "101"],
        &["up", "--threads", "4000000000"],
        &["score", "--tokens", "1,two"],
        &["dance"],
        &[],
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_potluck"))
            .args(arguments)
            .env("POTLUCK_CONFIG", NO_CONFIG)
            .output()
            .expect("the binary runs");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
}
