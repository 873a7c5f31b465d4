//! A terminal of a test's: what a person types into it, and what it shows.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::pty::openpty;
use nix::sys::termios::{LocalFlags, tcgetattr};

/// How long something may take to appear.
const PATIENCE: Duration = Duration::from_secs(60);

/// A pseudo-terminal.
pub struct Terminal {
    keyboard: File,
    line: OwnedFd,
    shown: Arc<Mutex<Vec<u8>>>,
}

impl Default for Terminal {
    fn default() -> Self {
        Self::new()
    }
}

impl Terminal {
    /// A terminal that shows nothing yet.
    ///
    /// # Panics
    /// When the system has no more of them.
    pub fn new() -> Self {
        let pair = openpty(None, None).expect("a pseudo-terminal");
        let keyboard = File::from(pair.master);
        let mut screen = keyboard.try_clone().expect("a copy");
        let shown = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&shown);
        // Read as it comes, so that the program never waits for the test.
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            // It fails when the last program has closed the terminal, and so has the test.
            while let Ok(count) = screen.read(&mut bytes) {
                let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                seen.extend_from_slice(&bytes[..count]);
            }
        });
        Self {
            keyboard,
            line: pair.slave,
            shown,
        }
    }

    /// Has the command read from this terminal and write its answers there.
    ///
    /// # Panics
    /// When the system has no more descriptors.
    pub fn attach(&self, command: &mut Command) {
        let line = || Stdio::from(self.line.try_clone().expect("a copy"));
        command.stdin(line()).stdout(line()).env("TERM", "xterm");
    }

    /// As [`attach`](Self::attach), and has it write there what it says to people, too.
    ///
    /// # Panics
    /// When the system has no more descriptors.
    pub fn attach_all(&self, command: &mut Command) {
        self.attach(command);
        command.stderr(Stdio::from(self.line.try_clone().expect("a copy")));
    }

    /// Types this, all at once.
    ///
    /// # Panics
    /// When nothing is there to take it.
    pub fn enter(&mut self, keys: &[u8]) {
        self.keyboard.write_all(keys).expect("it takes keys");
    }

    /// Waits until it has shown this text so many times.
    ///
    /// # Panics
    /// When that does not come.
    #[track_caller]
    pub fn wait_for(&self, text: &str, times: usize) {
        let until = Instant::now() + PATIENCE;
        while self.shown().matches(text).count() < times {
            assert!(Instant::now() < until, "{text:?} not in {}", self.shown());
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// What it has shown.
    pub fn shown(&self) -> String {
        let shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&shown).into_owned()
    }

    /// Whether it takes whole lines and shows what is typed, as a shell wants to find it.
    ///
    /// # Panics
    /// When it is gone.
    pub fn is_as_before(&self) -> bool {
        let mode = tcgetattr(&self.line).expect("it is open").local_flags;
        mode.contains(LocalFlags::ICANON | LocalFlags::ECHO | LocalFlags::ISIG)
    }
}
