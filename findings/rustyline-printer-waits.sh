#!/usr/bin/env bash
# rustyline's ExternalPrinter waits while the line editor is busy, after one message.
#
# Other threads print through it while a person types. Messages go through a channel with room for one, so
# while the editor is in a helper's callback (completion, hints, validation), the second message keeps its
# thread waiting until the callback returns. A callback that waits for that thread never returns. A program
# that prints from a thread that must not wait has to queue lines itself, as Potluck does.
#
# Seen with rustyline 19.0.0 on Linux, with a hint that takes two seconds:
#   message 1: taken at once
#   message 2: waited
set -euo pipefail
[ "$(uname)" = Linux ] || { echo "this is run on Linux"; exit 0; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

cargo init --quiet --vcs none --name printer
cargo add --quiet rustyline@=19.0.0
cat > src/main.rs <<'RUST'
//! A line editor whose hint takes two seconds, during which another thread prints twice.
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use rustyline::completion::Completer;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::DefaultHistory;
use rustyline::validate::Validator;
use rustyline::{Context, Editor, ExternalPrinter as _, Helper};

struct Slow(Sender<()>);

impl Hinter for Slow {
    type Hint = String;
    fn hint(&self, line: &str, _: usize, _: &Context<'_>) -> Option<String> {
        if line == "x" {
            let _ = self.0.send(());
            std::thread::sleep(Duration::from_secs(2));
        }
        None
    }
}
impl Completer for Slow {
    type Candidate = String;
}
impl Highlighter for Slow {}
impl Validator for Slow {}
impl Helper for Slow {}

fn main() {
    let (busy, is_busy) = channel();
    let mut editor: Editor<Slow, DefaultHistory> = Editor::new().expect("a terminal");
    editor.set_helper(Some(Slow(busy)));
    let mut printer = editor.create_external_printer().expect("a printer");
    let prints = std::thread::spawn(move || {
        is_busy.recv().expect("a hint is asked for");
        let took = |number: usize| {
            let begin = Instant::now();
            printer.print(format!("message {number}\n")).expect("printed");
            begin.elapsed() > Duration::from_secs(1)
        };
        [1, 2].map(took)
    });
    editor.readline("> ").expect("a line");
    let waited = prints.join().expect("it prints");
    let told = waited.map(|waited| if waited { "waited" } else { "taken at once" });
    let told = format!("message 1: {}\nmessage 2: {}\n", told[0], told[1]);
    std::fs::write("seen", told).expect("written");
}
RUST
cargo build --quiet
# On a terminal of its own, at which somebody types.
{ sleep 1; printf x; sleep 4; printf '\r'; sleep 1; } |
  script --quiet --return --command ./target/debug/printer /dev/null >/dev/null
cat seen
printf 'message 1: taken at once\nmessage 2: waited\n' | cmp -s - seen || { echo "the behaviour has changed"; exit 1; }
