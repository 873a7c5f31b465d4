//! The next line, read by a thread of its own while the model computes.

use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread;

use anyhow::Context as _;

use super::super::lines::{Line, Lines};

/// Lines that are asked for one by one.
pub(super) struct Ahead {
    wanted: Sender<&'static str>,
    lines: Receiver<anyhow::Result<Line>>,
    /// A line that has come and was not taken yet.
    next: Option<anyhow::Result<Line>>,
}

impl Ahead {
    pub(super) fn of(mut lines: Lines) -> anyhow::Result<Self> {
        let (wanted, asked) = channel();
        let (sender, receiver) = channel();
        let read = move || {
            while let Ok(prompt) = asked.recv() {
                if sender.send(lines.next(prompt)).is_err() {
                    return;
                }
            }
        };
        thread::Builder::new()
            .name("potluck-lines".to_owned())
            .spawn(read)
            .context("cannot start a thread that reads lines")?;
        Ok(Self {
            wanted,
            lines: receiver,
            next: None,
        })
    }

    /// Begins to read a line. It must be taken before the next is asked for.
    pub(super) fn ask(&mut self, prompt: &'static str) {
        // If the thread has ended, taking the line fails.
        let _ = self.wanted.send(prompt);
    }

    /// The line that was asked for, if it is there.
    pub(super) fn peek(&mut self) -> Option<&anyhow::Result<Line>> {
        if self.next.is_none() {
            self.next = match self.lines.try_recv() {
                Ok(line) => Some(line),
                Err(TryRecvError::Empty) => None,
                Err(TryRecvError::Disconnected) => Some(Err(ended())),
            };
        }
        self.next.as_ref()
    }

    /// Waits for the line that was asked for.
    pub(super) fn take(&mut self) -> anyhow::Result<Line> {
        match self.next.take() {
            Some(line) => line,
            None => self.lines.recv().unwrap_or_else(|_| Err(ended())),
        }
    }
}

fn ended() -> anyhow::Error {
    anyhow::anyhow!("the thread that reads lines has ended")
}
