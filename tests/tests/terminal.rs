//! `chat` at a terminal: what a person types, all at once or a key at a time.
#![cfg(target_os = "linux")]

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, ChildStderr, Command};

use potluck_tests::{Device, Terminal, signals};

/// A chat at a terminal, with its first prompt shown.
fn chat(device: &Device, terminal: &Terminal) -> Child {
    let arguments = [
        "chat",
        "-m",
        "tiny.gguf",
        "-n",
        "4",
        "--seed",
        "1",
        "--alone",
        "--stats",
    ];
    let mut command = device.command(arguments);
    terminal.attach(&mut command);
    let child = command.spawn().expect("it runs");
    terminal.wait_for("> ", 1);
    child
}

fn answers(stderr: &[u8]) -> usize {
    let stderr = String::from_utf8_lossy(stderr);
    stderr.matches("first token after").count()
}

/// Waits until the chat has told this, and returns what it tells from then on.
fn told(child: &mut Child, words: &str) -> BufReader<ChildStderr> {
    let mut stderr = BufReader::new(child.stderr.take().expect("piped"));
    let mut line = String::new();
    while !line.contains(words) {
        line.clear();
        let read = stderr.read_line(&mut line).expect("text");
        assert!(read > 0, "{words} was never told");
    }
    stderr
}

/// Asks one thing more, and checks that it is answered.
fn goes_on(mut child: Child, terminal: &mut Terminal, mut stderr: BufReader<ChildStderr>) {
    terminal.enter(b"Hello\r/exit\r");
    let mut rest = Vec::new();
    stderr.read_to_end(&mut rest).expect("the end");
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
    assert_eq!(answers(&rest), 1, "{}", terminal.shown());
    assert!(terminal.is_as_before());
}

#[test]
fn lines_typed_ahead_are_answered_in_turn() {
    let device = Device::with_tiny_model();
    let mut terminal = Terminal::new();
    let child = chat(&device, &terminal);
    terminal.enter(b"One\rTwo\rThree\r");
    terminal.wait_for("Three", 1);
    terminal.enter(b"/exit\r");
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(answers(&output.stderr), 3, "{}", terminal.shown());
    assert!(terminal.is_as_before());
}

#[test]
fn a_byte_that_is_no_text_does_not_end_the_chat() {
    let device = Device::with_tiny_model();
    let mut terminal = Terminal::new();
    let mut child = chat(&device, &terminal);
    terminal.enter(b"caf\xe9 noir\r");
    let stderr = told(&mut child, "not valid UTF-8");
    goes_on(child, &mut terminal, stderr);
}

#[test]
fn a_signal_at_the_prompt_leaves_the_terminal_as_it_was() {
    let device = Device::with_tiny_model();
    for (name, code) in signals::heard([("TERM", 143), ("HUP", 129)]) {
        let mut terminal = Terminal::new();
        let child = chat(&device, &terminal);
        terminal.enter(b"Unf");
        terminal.wait_for("Unf", 1);
        assert!(!terminal.is_as_before());
        let id = child.id().to_string();
        let kill = Command::new("kill").args(["-s", name, &id]).status();
        assert!(kill.expect("kill runs").success());
        let output = child.wait_with_output().expect("it ends");
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        assert!(terminal.is_as_before());
    }
}

#[test]
fn ctrl_c_at_the_prompt_keeps_the_chat() {
    let device = Device::with_tiny_model();
    let mut terminal = Terminal::new();
    let mut child = chat(&device, &terminal);
    terminal.enter(b"\x03");
    let stderr = told(&mut child, "Ctrl-D or /exit leaves");
    goes_on(child, &mut terminal, stderr);
}
