//! Reading lines from a terminal or a pipe.

use std::io::{self, BufRead as _, ErrorKind, IsTerminal as _};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustyline::error::ReadlineError;
use rustyline::history::MemHistory;
use rustyline::{Behavior, Config, Editor};

use super::{input, interrupt, output, terminal};

/// Longer lines are refused instead of filling the memory.
const MAX_LINE: u64 = 16 << 20;
/// How often waiting checks for a signal.
const PATIENCE: Duration = Duration::from_millis(50);
/// How long the reading thread may take from the request for a line to raw mode.
const BEGINNING: Duration = Duration::from_millis(500);

/// One step of input.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    Text(String),
    /// A line that cannot be used, and what to tell the user; the next one may be fine.
    Unusable(String),
    /// Ctrl-C at the prompt.
    Interrupted,
    /// Ctrl-D, or the end of the pipe.
    End,
    /// SIGTERM or SIGHUP while waiting.
    Terminated,
}

/// The source of lines. On a terminal they can be edited and recalled; the history stays in memory, so
/// that nothing people type is written to disk.
///
/// A thread reads one line at a time and only on request, because no signal interrupts a blocking read.
pub(super) struct Lines {
    is_terminal: bool,
    asks: Sender<String>,
    lines: Receiver<anyhow::Result<Line>>,
    /// A line that was read and not taken yet.
    come: Option<anyhow::Result<Line>>,
}

impl Lines {
    /// Lines of stdin; `edit` lets a person at a terminal edit them.
    pub(super) fn open(edit: bool) -> anyhow::Result<Self> {
        let is_terminal = edit && io::stdin().is_terminal();
        if is_terminal {
            terminal::remember();
        }
        let (asks, asked) = mpsc::channel::<String>();
        let (tell, lines) = mpsc::channel();
        thread::Builder::new()
            .name("potluck-lines".to_owned())
            .spawn(move || {
                let mut source = match Source::open(is_terminal) {
                    Ok(source) => source,
                    Err(error) => return drop(tell.send(Err(error))),
                };
                for prompt in asked {
                    if tell.send(source.next(&prompt)).is_err() {
                        return;
                    }
                }
            })
            .context("cannot read lines")?;
        Ok(Self {
            is_terminal,
            asks,
            lines,
            come: None,
        })
    }

    pub(super) fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    /// The next line.
    pub(super) fn next(&mut self, prompt: &str) -> anyhow::Result<Line> {
        self.ask(prompt);
        self.take()
    }

    /// Starts to read a line, which must be taken before the next is requested.
    pub(super) fn ask(&mut self, prompt: &str) {
        // Log lines are held back while a line is being typed.
        output::hold_log(self.is_terminal);
        if !interrupt::is_terminated() {
            // If the thread has ended, its last result is among the lines.
            let _ = self.asks.send(prompt.to_owned());
        }
    }

    /// The requested line, if it is there.
    pub(super) fn peek(&mut self) -> Option<&anyhow::Result<Line>> {
        if self.come.is_none() {
            self.come = self.lines.try_recv().ok();
        }
        self.come.as_ref()
    }

    /// Waits for the requested line.
    pub(super) fn take(&mut self) -> anyhow::Result<Line> {
        let line = self.wait();
        output::hold_log(false);
        line
    }

    fn wait(&mut self) -> anyhow::Result<Line> {
        if let Some(line) = self.come.take() {
            return line;
        }
        loop {
            // A request made while the process ends is not answered.
            match self.lines.recv_timeout(PATIENCE) {
                // When a terminal closes, the signal and the end of the read come in any order.
                Ok(Err(_)) if interrupt::is_terminated() => return Ok(Line::Terminated),
                Ok(line) => return line,
                Err(RecvTimeoutError::Timeout) if interrupt::is_terminated() => {
                    self.leave_terminal();
                    return Ok(Line::Terminated);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => bail!("cannot read lines"),
            }
        }
    }

    /// Restores the terminal's mode while a line is being edited.
    fn leave_terminal(&self) {
        if !self.is_terminal {
            return;
        }
        // The thread may be about to enter raw mode; it must not do so after the mode is restored.
        let until = Instant::now() + BEGINNING;
        while !terminal::is_raw() && self.lines.try_recv().is_err() && Instant::now() < until {
            thread::sleep(Duration::from_millis(5));
        }
        terminal::restore();
    }
}

/// The thread's input.
enum Source {
    Terminal(Box<Editor<(), MemHistory>>),
    Pipe,
}

impl Source {
    fn open(is_terminal: bool) -> anyhow::Result<Self> {
        if !is_terminal {
            return Ok(Self::Pipe);
        }
        // If answers go to a file or a pipe, the prompt is written to the terminal.
        let behavior = match io::stdout().is_terminal() {
            true => Behavior::Stdio,
            false => Behavior::PreferTerm,
        };
        let config = Config::builder()
            .auto_add_history(true)
            .behavior(behavior)
            .build();
        let editor = Editor::with_history(config, MemHistory::new())
            .context("cannot use this terminal for line editing")?;
        Ok(Self::Terminal(Box::new(editor)))
    }

    fn next(&mut self, prompt: &str) -> anyhow::Result<Line> {
        match self {
            Self::Terminal(editor) => match editor.readline(prompt) {
                Ok(line) => Ok(Line::Text(input::plain(&line))),
                Err(ReadlineError::Interrupted) => Ok(Line::Interrupted),
                Err(ReadlineError::Eof) => Ok(Line::End),
                Err(ReadlineError::Io(error)) if error.kind() == ErrorKind::InvalidData => {
                    Ok(Line::Unusable(
                        "what was typed is not valid UTF-8 and was left out: set the terminal to \
                         UTF-8"
                            .to_owned(),
                    ))
                }
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
    if bytes.len() as u64 > MAX_LINE {
        let words = "a line on stdin is longer than 16 MiB".to_owned();
        return Err(input::Unusable(words).into());
    }
    Ok(match input::utf8(bytes, "a line on stdin") {
        Ok(text) => Line::Text(input::plain(&input::without_final_newline(text))),
        Err(error) => Line::Unusable(error.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_is_read_line_by_line() {
        let mut source = &b"\xef\xbb\xbfone\r\n\nt\rwo"[..];
        for expected in ["one", "", "t\nwo"] {
            let line = read_line(&mut source).expect("valid");
            assert_eq!(line, Line::Text(expected.to_owned()));
        }
        assert_eq!(read_line(&mut source).expect("the end"), Line::End);
    }

    #[test]
    fn a_line_that_is_no_text_does_not_end_the_input() {
        let mut source = &b"caf\xe9\ntea\n"[..];
        let line = read_line(&mut source).expect("a line");
        let words = "a line on stdin is not valid UTF-8 at byte 3: convert it to UTF-8 first";
        assert_eq!(line, Line::Unusable(words.to_owned()));
        let line = read_line(&mut source).expect("a line");
        assert_eq!(line, Line::Text("tea".to_owned()));
    }
}
