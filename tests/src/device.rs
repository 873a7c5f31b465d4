//! A device of a test: a data folder of its own, and the command run on it.

use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use potluck::catalogue::{self, Entry};
use serde_json::Value;
use tempfile::TempDir;

use crate::binary::profile_folder;
use crate::{NO_HUB, potluck_binary};

/// The file of a catalogue model, fetched by the product's own `pull` into a folder that all
/// tests of this target directory share. Several tests may ask at once: the product locks.
///
/// # Panics
/// When there is no such model, or it can be had neither from that folder nor from the network.
pub fn model_path(name: &str) -> PathBuf {
    let home = profile_folder().join("test-home");
    let mut pull = Command::new(potluck_binary());
    pull.args(["pull", "--quiet", name])
        .env("POTLUCK_HOME", &home)
        .env("POTLUCK_CONFIG", NO_CONFIG)
        .env("HF_ENDPOINT", NO_HUB);
    let output = pull.output().expect("the binary runs");
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "tests need {name}, which cannot be fetched: {message}"
    );
    home.join("models").join(entry(name).file)
}

fn entry(name: &str) -> &'static Entry {
    catalogue::find(name).expect("tests name models of the catalogue")
}

/// A configuration file without settings.
const NO_CONFIG: &str = if cfg!(windows) { "NUL" } else { "/dev/null" };

/// A device.
pub struct Device {
    folder: TempDir,
}

/// What a command printed and how it ended.
#[derive(Debug)]
pub struct Output {
    /// The exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// What it wrote to stdout.
    pub stdout: String,
    /// What it wrote to stderr.
    pub stderr: String,
}

impl Output {
    /// This output if the command succeeded.
    ///
    /// # Panics
    /// If it did not.
    #[must_use]
    pub fn success(self) -> Self {
        assert_eq!(self.code, Some(0), "the command failed: {}", self.stderr);
        self
    }

    /// This output if the command failed with `code` and an error that has all of `words`.
    ///
    /// # Panics
    /// If it did not.
    #[track_caller]
    pub fn failure(self, code: i32, words: &[&str]) -> Self {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert!(self.stderr.contains("error: "), "{self:?}");
        assert!(!self.stderr.contains("panicked"), "{self:?}");
        for word in words {
            assert!(
                self.stderr.contains(word),
                "\"{word}\" is missing from: {}",
                self.stderr
            );
        }
        self
    }

    /// The one JSON object on stdout.
    ///
    /// # Panics
    /// If there is anything else.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error} in stdout: {}", self.stdout))
    }

    /// The JSON object on the last line of stdout.
    ///
    /// # Panics
    /// If there is none.
    pub fn last_json(&self) -> Value {
        let last = self.stdout.lines().next_back().unwrap_or_default();
        serde_json::from_str(last)
            .unwrap_or_else(|error| panic!("{error} in stdout: {}", self.stdout))
    }
}

impl Default for Device {
    fn default() -> Self {
        Self::new()
    }
}

impl Device {
    /// Where a home remembers how fast the device is.
    #[cfg(unix)]
    pub(crate) const MEASUREMENTS: &str = "measurements.json";

    /// A device without models.
    ///
    /// # Panics
    /// When there is no room for a temporary folder.
    pub fn new() -> Self {
        // Beside the shared models, so that those can be linked instead of copied.
        let folder = tempfile::tempdir_in(profile_folder()).expect("a temporary folder");
        Self { folder }
    }

    /// A device with a small random model, `tiny.gguf`, on which everything is fast and no word means
    /// anything.
    pub fn with_tiny_model() -> Self {
        let device = Self::new();
        let _ = device.potluck(["synth", "tiny.gguf"]).success();
        device
    }

    /// A device that has this model of the catalogue.
    ///
    /// # Panics
    /// As [`model_path`].
    pub fn with_model(name: &str) -> Self {
        let device = Self::new();
        let source = model_path(name);
        fs::create_dir_all(device.models()).expect("created");
        for suffix in ["", ".verified"] {
            let file = format!("{}{suffix}", entry(name).file);
            let from = source.with_file_name(&file);
            fs::hard_link(from, device.models().join(file)).expect("one file system");
        }
        device
    }

    /// A folder for the test's own files.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The data folder.
    pub(crate) fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    /// The models folder.
    pub fn models(&self) -> PathBuf {
        self.home().join("models")
    }

    /// Where this model's file is or would be.
    pub fn model(&self, name: &str) -> PathBuf {
        self.models().join(entry(name).file)
    }

    /// The command with these arguments on this device, for tests that change more about it. Its
    /// model hub cannot be reached.
    pub fn command<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Command {
        self.on_this(Command::new(potluck_binary()), args)
    }

    /// A command of the program that runs on this device, with these arguments.
    pub(crate) fn on_this<A: AsRef<OsStr>>(
        &self,
        mut command: Command,
        args: impl IntoIterator<Item = A>,
    ) -> Command {
        command
            .args(args)
            .current_dir(self.folder.path())
            .env("POTLUCK_HOME", self.home())
            .env("HF_ENDPOINT", NO_HUB)
            // Not what the person who runs the tests has set.
            .env("POTLUCK_CONFIG", NO_CONFIG)
            .env_remove("POTLUCK_OFFLINE")
            .env_remove("POTLUCK_WITH_PEERS")
            .env_remove("POTLUCK_LOG")
            .env_remove("POTLUCK_LOG_FORMAT")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Gives it what another device of this machine measured, so that it need not measure itself.
    #[cfg(unix)]
    pub(crate) fn remember_measurements(&self, measured: &[u8]) {
        fs::create_dir_all(self.home()).expect("created");
        fs::write(self.home().join(Self::MEASUREMENTS), measured).expect("written");
    }

    /// Runs the command with nothing on stdin.
    pub fn potluck<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Output {
        run(self.command(args), b"")
    }

    /// Runs the command with these bytes on stdin.
    pub fn potluck_reading<A: AsRef<OsStr>>(
        &self,
        stdin: &[u8],
        args: impl IntoIterator<Item = A>,
    ) -> Output {
        run(self.command(args), stdin)
    }
}

/// Runs a command to its end.
///
/// # Panics
/// When it cannot be started.
pub fn run(mut command: Command, stdin: &[u8]) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    // A command that fails early does not read everything; that is its right.
    let _ = child.stdin.take().expect("piped").write_all(stdin);
    let output = child.wait_with_output().expect("it ends");
    Output {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).expect("output is UTF-8"),
        stderr: String::from_utf8(output.stderr).expect("output is UTF-8"),
    }
}
