//! Signals that end commands: SIGTERM and SIGHUP do what Ctrl-C does.
#![cfg(unix)]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use potluck_tests::{Device, FakePython, signals};

fn signal(child: &Child, name: &str) {
    let id = child.id().to_string();
    let kill = Command::new("kill").args(["-s", name, &id]).status();
    assert!(kill.expect("kill runs").success());
}

/// An answer that goes on for as long as it may.
const ENDLESS: [&str; 10] = [
    "run",
    "--raw",
    "--greedy",
    "--alone",
    "--context",
    "4096",
    "-n",
    "4000",
    "--quiet",
    "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20,",
];

#[test]
fn each_signal_ends_an_answer_with_its_exit_code() {
    let device = Device::with_model("smollm2:135m");
    for (name, code) in signals::heard([("TERM", 143), ("HUP", 129), ("INT", 130)]) {
        let mut child = device.command(ENDLESS).spawn().expect("it runs");
        let mut stdout = child.stdout.take().expect("piped");
        stdout.read_exact(&mut [0]).expect("an answer has begun");
        signal(&child, name);
        let mut rest = Vec::new();
        stdout.read_to_end(&mut rest).expect("the answer's end");
        assert_eq!(rest.last(), Some(&b'\n'), "{name}");
        let output = child.wait_with_output().expect("it ends");
        assert_eq!(output.status.code(), Some(code), "{name}: {output:?}");
    }
}

#[test]
fn a_chat_that_waits_for_a_line_ends() {
    let device = Device::with_tiny_model();
    for (name, code) in signals::heard([("TERM", 143), ("HUP", 129)]) {
        let arguments = ["chat", "-m", "tiny.gguf", "-n", "4", "--alone", "--quiet"];
        let mut command = device.command(arguments);
        let mut child = command.stdin(Stdio::piped()).spawn().expect("it runs");
        let mut stdin = child.stdin.take().expect("piped");
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        writeln!(stdin, "Hello").expect("it listens");
        stdout
            .read_until(b'\n', &mut Vec::new())
            .expect("an answer");
        signal(&child, name);
        let output = child.wait_with_output().expect("it ends");
        assert_eq!(output.status.code(), Some(code), "{name}: {output:?}");
        // Open until now: it was not the end of the input that ended it.
        drop(stdin);
    }
}

#[test]
fn a_process_that_ignores_hangups_goes_on_ignoring_them() {
    let device = Device::with_tiny_model();
    let mut command = Command::new("sh");
    let chat = device.command(["chat", "-m", "tiny.gguf", "-n", "4", "--alone", "--quiet"]);
    command
        .args(["-c", "trap '' HUP; exec \"$0\" \"$@\""])
        .arg(chat.get_program())
        .args(chat.get_args())
        .current_dir(device.folder())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    for (name, value) in chat.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let mut child = command.spawn().expect("it runs");
    let mut stdin = child.stdin.take().expect("piped");
    let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
    let mut ask = || {
        writeln!(stdin, "Hello").expect("it listens");
        let mut answer = Vec::new();
        stdout.read_until(b'\n', &mut answer).expect("an answer");
        assert!(!answer.is_empty());
    };
    ask();
    signal(&child, "HUP");
    ask();
    // Seen by now if ever: signals are looked for all the time.
    thread::sleep(Duration::from_millis(200));
    ask();
    drop(stdin);
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
}

#[test]
fn commands_that_wait_for_others_end_with_the_signal() {
    let device = Device::with_tiny_model();
    let python = FakePython::new(device.folder(), "exec sleep 60");
    let node = ["--no-mdns", "--listen", "/ip4/127.0.0.1/tcp/0"];
    let pair = [
        &["pair", "--admit", "--json", "--name", "kitchen"][..],
        &node,
    ]
    .concat();
    let up = [&["up", "--json"][..], &node].concat();
    // Each prints a line, on stdout or stderr, when it waits.
    for (arguments, name, code) in [
        (&pair[..], "TERM", 143),
        (&up, "TERM", 143),
        (&up, "HUP", 129),
        (&["pull"], "TERM", 143),
    ] {
        if signals::heard([(name, code)]).next().is_none() {
            continue;
        }
        let mut command = device.command(arguments);
        command.env("PATH", python.path()).stderr(Stdio::piped());
        if arguments == ["pull"] {
            // Its lines come on stderr.
            command.args(["--json"]);
        }
        let mut child = command.spawn().expect("it runs");
        if arguments == ["pull"] {
            let mut lines = BufReader::new(child.stderr.as_mut().expect("piped")).lines();
            assert!(lines.any(|line| line.is_ok_and(|line| line.contains("pip"))));
        } else {
            let mut stdout = BufReader::new(child.stdout.as_mut().expect("piped"));
            stdout
                .read_until(b'\n', &mut Vec::new())
                .expect("it is there");
        }
        signal(&child, name);
        let output = child.wait_with_output().expect("it ends");
        assert_eq!(
            output.status.code(),
            Some(code),
            "{arguments:?}: {output:?}"
        );
    }
}
