//! A process of the test's.

use std::io::{BufRead as _, BufReader, Read};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::PATIENCE;
use crate::Output;

/// A process whose lines are read as they come, so that it never waits for the test. It is killed
/// when this is dropped; if the test has failed, what it wrote to stderr is printed.
pub struct Program {
    what: String,
    child: Child,
    stdout: Lines,
    stderr: Lines,
}

impl Program {
    /// Starts it. `what` names it where a test fails.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(what: impl Into<String>, mut command: Command) -> Self {
        command.stdin(Stdio::null());
        Self::spawn(what, command)
    }

    /// Starts it, to be spoken to.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn talking(what: impl Into<String>, mut command: Command) -> (Self, ChildStdin) {
        command.stdin(Stdio::piped());
        let mut program = Self::spawn(what, command);
        let stdin = program.child.stdin.take().expect("piped");
        (program, stdin)
    }

    fn spawn(what: impl Into<String>, mut command: Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        Self {
            what: what.into(),
            stdout: Lines::of(child.stdout.take().expect("piped")),
            stderr: Lines::of(child.stderr.take().expect("piped")),
            child,
        }
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The next line of stdout.
    ///
    /// # Panics
    /// When none comes.
    pub fn line(&mut self) -> String {
        match self.stdout.next(PATIENCE) {
            Some(line) => line,
            None => self.fail("it said no more"),
        }
    }

    /// The next line of stdout, which is JSON.
    ///
    /// # Panics
    /// When none comes or it is something else.
    pub fn json(&mut self) -> Value {
        let line = self.line();
        match serde_json::from_str(&line) {
            Ok(value) => value,
            Err(error) => self.fail(&format!("{error} in {line:?}")),
        }
    }

    /// The next line of stderr that has these words.
    ///
    /// # Panics
    /// When none comes.
    pub fn told(&mut self, words: &str) -> String {
        while let Some(line) = self.stderr.next(PATIENCE) {
            if line.contains(words) {
                return line;
            }
        }
        self.fail(&format!("it never said {words:?}"))
    }

    /// Whether it has not ended.
    pub fn runs(&mut self) -> bool {
        self.child.try_wait().expect("it is ours").is_none()
    }

    /// Sends a signal, such as `INT`.
    ///
    /// # Panics
    /// When it has ended and been waited for.
    pub fn signal(&self, name: &str) {
        // The process is ours and not yet waited for, so that its id is no other's.
        let id = self.child.id().to_string();
        let kill = Command::new("kill").args(["-s", name, &id]).status();
        assert!(kill.expect("kill runs").success(), "{} is gone", self.what);
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When that does not come.
    pub fn end(mut self) -> Output {
        let until = Instant::now() + PATIENCE;
        while self.runs() {
            if Instant::now() > until {
                self.fail("it did not end");
            }
            thread::sleep(Duration::from_millis(5));
        }
        let status = self.child.wait().expect("it has ended");
        Output {
            code: status.code(),
            stdout: self.stdout.all(),
            stderr: self.stderr.all(),
        }
    }

    /// Kills it, whatever state it is in.
    pub fn kill(mut self) {
        self.kill_now();
    }

    fn kill_now(&mut self) {
        // Both fail if it has ended, which is well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    fn fail(&mut self, why: &str) -> ! {
        self.kill_now();
        panic!(
            "{}: {why}\nstdout: {}\nstderr: {}",
            self.what,
            self.stdout.all(),
            self.stderr.all()
        );
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill_now();
        let told = self.stderr.all();
        if thread::panicking() && !told.is_empty() {
            eprintln!("-- {} --\n{told}", self.what);
        }
    }
}

/// Lines that a thread reads.
struct Lines {
    coming: Receiver<String>,
    came: String,
}

impl Lines {
    fn of(from: impl Read + Send + 'static) -> Self {
        let (sender, coming) = channel();
        thread::spawn(move || {
            for line in BufReader::new(from).lines() {
                let Ok(line) = line else { return };
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self {
            coming,
            came: String::new(),
        }
    }

    /// The next line; none if it does not come in time or there are no more.
    fn next(&mut self, patience: Duration) -> Option<String> {
        let line = match self.coming.recv_timeout(patience) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return None,
        };
        self.came.push_str(&line);
        self.came.push('\n');
        Some(line)
    }

    /// All lines of a process that has ended.
    fn all(&mut self) -> String {
        // A process that it started itself and left behind might hold the other end.
        while self.next(Duration::from_secs(1)).is_some() {}
        self.came.clone()
    }
}
