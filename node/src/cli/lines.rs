//! Lines that the user types, or that come through a pipe.

use std::io::{self, BufRead as _, IsTerminal as _};

use anyhow::Context as _;
use rustyline::error::ReadlineError;
use rustyline::history::MemHistory;
use rustyline::{Config, Editor};

use super::input;

/// Longer lines are refused instead of filling the memory.
const MAX_LINE: u64 = 16 << 20;

/// One step of input.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    Text(String),
    /// Ctrl-C at the prompt.
    Interrupted,
    /// Ctrl-D, or the end of the pipe.
    End,
}

/// Where lines come from. On a terminal they can be edited and recalled; the history is kept in
/// memory only, as what people type is theirs.
pub(super) enum Lines {
    Terminal(Box<Editor<(), MemHistory>>),
    Pipe,
}

impl Lines {
    pub(super) fn open() -> anyhow::Result<Self> {
        if !io::stdin().is_terminal() {
            return Ok(Self::Pipe);
        }
        let config = Config::builder().auto_add_history(true).build();
        let editor = Editor::with_history(config, MemHistory::new())
            .context("cannot use this terminal for line editing")?;
        Ok(Self::Terminal(Box::new(editor)))
    }

    pub(super) fn is_terminal(&self) -> bool {
        matches!(self, Self::Terminal(_))
    }

    pub(super) fn next(&mut self, prompt: &str) -> anyhow::Result<Line> {
        match self {
            Self::Terminal(editor) => match editor.readline(prompt) {
                Ok(line) => Ok(Line::Text(line)),
                Err(ReadlineError::Interrupted) => Ok(Line::Interrupted),
                Err(ReadlineError::Eof) => Ok(Line::End),
                Err(error) => Err(error).context("cannot read from the terminal"),
            },
            Self::Pipe => read_line(&mut io::stdin().lock()),
        }
    }
}

fn read_line(source: &mut dyn io::BufRead) -> anyhow::Result<Line> {
    let mut bytes = Vec::new();
    io::Read::take(source, MAX_LINE + 1)
        .read_until(b'\n', &mut bytes)
        .context("cannot read from stdin")?;
    if bytes.is_empty() {
        return Ok(Line::End);
    }
    anyhow::ensure!(
        bytes.len() as u64 <= MAX_LINE,
        "a line on stdin is longer than 16 MiB"
    );
    let text = input::utf8(bytes, "a line on stdin")?;
    Ok(Line::Text(input::without_final_newline(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_is_read_line_by_line() {
        let mut source = &b"one\r\n\ntwo"[..];
        for expected in ["one", "", "two"] {
            let line = read_line(&mut source).expect("valid");
            assert_eq!(line, Line::Text(expected.to_owned()));
        }
        assert_eq!(read_line(&mut source).expect("the end"), Line::End);
        assert!(read_line(&mut &b"\xff\n"[..]).is_err());
    }
}
