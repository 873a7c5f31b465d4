//! The person at the terminal: lines typed while a command is busy, and confirmations.

use std::io::{self, BufRead as _, IsTerminal as _};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use anyhow::bail;

use super::failure::{self, Code};
use super::output;

/// The longest line that is taken: longer than any invitation.
const MAX_LINE: u64 = 1 << 16;

/// Lines of a terminal, read on a thread so that the command goes on meanwhile.
pub(super) struct Person(Receiver<String>);

impl Person {
    /// A person to ask, if standard input and standard error are a terminal.
    pub(super) fn there() -> Option<Self> {
        if !is_there() {
            return None;
        }
        let (tell, lines) = channel();
        thread::spawn(move || {
            loop {
                let mut line = String::new();
                let mut stdin = io::Read::take(io::stdin().lock(), MAX_LINE);
                match stdin.read_line(&mut line) {
                    Ok(1..) if tell.send(line.trim().to_owned()).is_ok() => {}
                    // End of input, or this was dropped.
                    _ => return,
                }
            }
        });
        Some(Self(lines))
    }

    /// A line, if one was typed.
    pub(super) fn line(&self) -> Option<String> {
        self.0.try_recv().ok()
    }

    /// Drops the lines that were typed so far.
    pub(super) fn forget_lines(&self) {
        while self.line().is_some() {}
    }

    /// Waits for the next line; `None` at the end of input.
    pub(super) fn wait(&self) -> Option<String> {
        self.0.recv().ok()
    }
}

/// Whether a person can be asked.
pub(super) fn is_there() -> bool {
    io::stdin().is_terminal() && output::stderr_is_terminal()
}

/// Whether a line says yes; `None` if it is neither yes nor no.
pub(super) fn agrees(line: &str) -> Option<bool> {
    match line.to_ascii_lowercase().as_str() {
        "y" | "yes" => Some(true),
        "n" | "no" | "" => Some(false),
        _ => None,
    }
}

/// Asks the person to confirm, unless `--yes` was given.
pub(super) fn confirm(question: &str, yes: bool) -> anyhow::Result<()> {
    if yes {
        return Ok(());
    }
    let Some(person) = Person::there() else {
        let words = format!("{question} Nobody can be asked here: confirm with --yes");
        return Err(failure::refusal(Code::Usage, words));
    };
    output::note(&format!("{question} [y/N]"));
    while let Some(line) = person.wait() {
        match agrees(&line) {
            Some(true) => return Ok(()),
            Some(false) => break,
            None => output::note("y or n?"),
        }
    }
    bail!("nothing was changed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_typed_before_a_question_does_not_answer_it() {
        let (typed, lines) = channel();
        let person = Person(lines);
        for line in ["", "n"] {
            typed.send(line.to_owned()).expect("somebody reads");
        }
        person.forget_lines();
        assert_eq!(person.line(), None);
        typed.send("y".to_owned()).expect("somebody reads");
        assert_eq!(person.line().as_deref(), Some("y"));
    }

    #[test]
    fn only_a_clear_yes_agrees() {
        for (line, expected) in [
            ("y", Some(true)),
            ("YES", Some(true)),
            ("n", Some(false)),
            ("", Some(false)),
            ("POTLUCK:AAAA", None),
        ] {
            assert_eq!(agrees(line), expected, "{line}");
        }
    }
}
