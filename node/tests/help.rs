//! The help texts, as people see them. `UPDATE_EXPECT=1 cargo test` rewrites the recorded ones.

use std::process::Command;

use expect_test::{ExpectFile, expect_file};

#[track_caller]
fn check(command: Option<&str>, expected: &ExpectFile) {
    let output = Command::new(env!("CARGO_BIN_EXE_potluck"))
        .args(command)
        .arg("--help")
        .env_remove("POTLUCK_OFFLINE")
        .output()
        .expect("the binary runs");
    assert!(output.status.success());
    assert!(output.stderr.is_empty());
    expected.assert_eq(&String::from_utf8(output.stdout).expect("help is UTF-8"));
}

#[test]
fn help_texts_are_as_recorded() {
    check(None, &expect_file!["help/potluck.txt"]);
    check(Some("run"), &expect_file!["help/run.txt"]);
    check(Some("chat"), &expect_file!["help/chat.txt"]);
    check(Some("pull"), &expect_file!["help/pull.txt"]);
    check(Some("models"), &expect_file!["help/models.txt"]);
    check(Some("inspect"), &expect_file!["help/inspect.txt"]);
    check(Some("score"), &expect_file!["help/score.txt"]);
    check(Some("bench"), &expect_file!["help/bench.txt"]);
    check(Some("synth"), &expect_file!["help/synth.txt"]);
}

#[test]
fn wrong_usage_exits_with_2() {
    for arguments in [
        &["run", "--temperature", "-1", "hi"][..],
        &["run", "--top-p", "1.5", "hi"],
        &["run", "--greedy", "--top-k", "3", "hi"],
        &["run", "--raw", "--system", "x", "hi"],
        &["run", "--threads", "0", "hi"],
        &["score", "--tokens", "1,two"],
        &["dance"],
        &[],
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_potluck"))
            .args(arguments)
            .output()
            .expect("the binary runs");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
}
