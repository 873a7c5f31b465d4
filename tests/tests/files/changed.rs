//! Model files that another program changes while they are in use.
#![cfg(unix)]

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write as _};
use std::path::Path;
use std::process::Child;

use potluck_tests::Device;
use potluck_tests::circle::{Circle, Node};

/// What another program does to the file.
type Change = fn(&Path);

/// Writes another model into it, in place: as long, with the same vocabulary, other weights.
fn overwrite(path: &Path) {
    let other = path.with_file_name("other.gguf");
    let bytes = fs::read(other).expect("written before");
    fs::write(path, bytes).expect("written");
}

fn truncate(path: &Path) {
    let file = File::options().write(true).open(path).expect("there");
    file.set_len(200_000).expect("cut");
}

fn device(shape: &[&str]) -> Device {
    let device = Device::new();
    for (name, seed) in [("model.gguf", "1"), ("other.gguf", "2")] {
        let args = ["synth", name, "--seed", seed];
        let _ = device.potluck(args.iter().chain(shape)).success();
    }
    device
}

/// Reads until a line has these words.
fn await_line(output: &mut impl BufRead, words: &str) -> String {
    let mut all = String::new();
    while !all.contains(words) {
        let read = output.read_line(&mut all).expect("text");
        assert!(read > 0, "it never said {words:?}: {all}");
    }
    all
}

/// How it ends, and what else it writes there.
fn end(mut child: Child, mut output: impl Read) -> (Option<i32>, String) {
    let mut told = String::new();
    output.read_to_string(&mut told).expect("text");
    (child.wait().expect("it ends").code(), told)
}

#[test]
fn a_file_changed_between_two_turns_ends_the_chat_by_name() {
    for (change, words) in [
        (overwrite as Change, "another program wrote into it"),
        (truncate, "cut it from"),
    ] {
        let device = device(&[]);
        let args = ["chat", "-m", "model.gguf", "-n", "8", "--stats"];
        let mut command = device.command(args);
        command.stdin(std::process::Stdio::piped());
        let mut child = command.spawn().expect("the binary runs");
        let mut stdin = child.stdin.take().expect("piped");
        let mut stderr = BufReader::new(child.stderr.take().expect("piped"));
        stdin.write_all(b"Hello\n").expect("it reads");
        await_line(&mut stderr, "tokens/s");
        change(&device.folder().join("model.gguf"));
        // It may end before it has read the second.
        let _ = stdin.write_all(b"Again\nAnd again\n");
        drop(stdin);
        let (code, told) = end(child, stderr);
        assert_eq!(code, Some(1), "{told}");
        assert!(
            told.contains("model.gguf changed while it was in use"),
            "{told}"
        );
        assert!(told.contains(words), "{told}");
    }
}

#[test]
fn a_file_changed_between_two_turns_ends_a_programs_chat_with_one_error() {
    let device = device(&[]);
    let args = ["chat", "--json", "-m", "model.gguf", "-n", "8"];
    let mut command = device.command(args);
    command.stdin(std::process::Stdio::piped());
    let mut child = command.spawn().expect("the binary runs");
    let mut stdin = child.stdin.take().expect("piped");
    let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
    stdin
        .write_all(b"{\"user\": \"Hello\"}\n")
        .expect("it reads");
    await_line(&mut stdout, "token_ids");
    overwrite(&device.folder().join("model.gguf"));
    // It may end before it has read the second.
    let _ = stdin.write_all(b"{\"user\": \"Again\"}\n{\"user\": \"And again\"}\n");
    drop(stdin);
    let (code, told) = end(child, stdout);
    assert_eq!(code, Some(1), "{told}");
    let error: serde_json::Value = serde_json::from_str(&told).expect("one object");
    assert_eq!(error["error"]["code"], "model", "{told}");
}

#[test]
fn a_file_changed_in_the_middle_of_an_answer_ends_it_by_name() {
    for change in [overwrite as Change, truncate] {
        let shape = "--d-model 512 --heads 8 --kv-heads 2 --head-dim 64 --d-ff 1536 --layers 8 --context 8192";
        let device = device(&shape.split(' ').collect::<Vec<_>>());
        let args = [
            "run",
            "--raw",
            "-m",
            "model.gguf",
            "--context",
            "4096",
            "-n",
            "4000",
            "Hi",
        ];
        let mut child = device.command(args).spawn().expect("the binary runs");
        let mut stdout = child.stdout.take().expect("piped");
        let stderr = BufReader::new(child.stderr.take().expect("piped"));
        stdout.read_exact(&mut [0]).expect("an answer has begun");
        change(&device.folder().join("model.gguf"));
        let mut rest = Vec::new();
        stdout.read_to_end(&mut rest).expect("it ends");
        let (code, told) = end(child, stderr);
        assert_eq!(code, Some(1), "{told}");
        assert!(
            told.contains("model.gguf changed while it was in use"),
            "{told}"
        );
    }
}

/// A helper whose file changed does not compute with it: it takes the layers from who asks.
#[test]
fn a_helper_whose_file_changed_gives_no_other_answer() {
    for (name, change) in [("overwritten", overwrite as Change), ("cut", truncate)] {
        let kept = device(&[]);
        let folder = kept.folder();
        let (mine, theirs) = (folder.join("mine.gguf"), folder.join("model.gguf"));
        fs::copy(&theirs, &mine).expect("copied");
        let nodes = [
            Node::new("laptop"),
            Node::new("kitchen").with_model(&theirs),
        ];
        let circle = Circle::start(nodes.into());
        let laptop = circle.node("laptop");
        let ask = |who: &[&str]| {
            let model = mine.to_str().expect("a path of text");
            let question = ["-n", "16", "Tell me.", "--seed", "7", "--model", model];
            laptop.answer(&[&question[..], who].concat()).tokens
        };
        let alone = ask(&["--alone"]);
        let who = ["--placement", "self:0..1,kitchen:1..3"];
        assert_eq!(ask(&who), alone, "{name}");
        change(&theirs);
        assert_eq!(ask(&who), alone, "{name}");
    }
}
