//! A device and its node.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde_json::Value;

use super::{Answer, Program, wait_until};
use crate::{Device, Output, potluck_binary, run};

/// Where a node's programs run: makes the command of a program.
pub type Place<'w> = Box<dyn Fn(&Path) -> Command + 'w>;

/// A device, and its `potluck up` while that runs. Its node computes with one thread.
pub struct Node<'w> {
    name: String,
    device: Device,
    place: Place<'w>,
    options: Vec<String>,
    up: Option<Up>,
}

struct Up {
    program: Program,
    peer_id: String,
    addresses: Vec<String>,
}

/// A `potluck pair` that shows an invitation.
pub struct Invited {
    /// The invitation.
    pub text: String,
    /// The command, which waits for the other device.
    pub program: Program,
}

impl Node<'static> {
    /// A device on this machine's loopback, at any free port.
    pub fn new(name: &str) -> Self {
        let place = Box::new(|binary: &Path| Command::new(binary));
        Self::at(name, place).with(&["--no-mdns", "--listen", "/ip4/127.0.0.1/tcp/0"])
    }
}

impl<'w> Node<'w> {
    /// A device somewhere else.
    pub fn at(name: &str, place: Place<'w>) -> Self {
        Self::knowing(name, place, measurements())
    }

    /// A device somewhere else, which shall know this of its own speed.
    pub fn knowing(name: &str, place: Place<'w>, measurements: &[u8]) -> Self {
        let device = Device::new();
        device.remember_measurements(measurements);
        Self {
            name: name.to_owned(),
            device,
            place,
            options: vec!["--threads".to_owned(), "1".to_owned()],
            up: None,
        }
    }

    /// More options of its `potluck up`.
    #[must_use]
    pub fn with(mut self, options: &[&str]) -> Self {
        self.options.extend(options.iter().map(ToString::to_string));
        self
    }

    /// A model that it has.
    ///
    /// # Panics
    /// When the path is no text.
    #[must_use]
    pub fn with_model(self, path: &Path) -> Self {
        let path = path.to_str().expect("a path in this test's folder");
        self.with(&["--model", path])
    }

    /// Where it keeps its data.
    pub fn home(&self) -> PathBuf {
        self.device.home()
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A command on it.
    pub fn command<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Command {
        let command = (self.place)(potluck_binary());
        self.device.on_this(command, args)
    }

    /// Runs a command on it to its end.
    pub fn potluck(&self, args: &[&str]) -> Output {
        self.start(args).end()
    }

    /// Starts a command on it.
    pub fn start(&self, args: &[&str]) -> Program {
        let what = format!("{} of {}", args.first().unwrap_or(&""), self.name);
        Program::start(what, self.command(args))
    }

    /// Asks it: `run --json` with these arguments.
    pub fn ask(&self, args: &[&str]) -> Program {
        self.start(&[&["run", "--json", "--threads", "1"], args].concat())
    }

    /// Asks it and waits for the answer.
    ///
    /// # Panics
    /// When it does not answer.
    pub fn answer(&self, args: &[&str]) -> Answer {
        Answer::of(self.ask(args).end())
    }

    /// Starts its node and waits until that listens.
    ///
    /// # Panics
    /// When it does not.
    pub fn up(&mut self) {
        let mut args = vec!["up", "--json"];
        args.extend(self.options.iter().map(String::as_str));
        let mut program = self.start(&args);
        let ready = program.json();
        let listening = ready["listening"].as_array().expect("a list").iter();
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        self.up = Some(Up {
            program,
            peer_id: text(&ready["peer_id"]),
            addresses: listening.map(text).collect(),
        });
    }

    /// Whether its node was started and not ended by the test.
    pub fn is_up(&self) -> bool {
        self.up.is_some()
    }

    /// The process of its node.
    ///
    /// # Panics
    /// When it does not run.
    pub fn program(&self) -> &Program {
        &self.running().program
    }

    /// As [`Self::program`], to read what it tells.
    ///
    /// # Panics
    /// When it does not run.
    pub fn program_mut(&mut self) -> &mut Program {
        &mut self.up.as_mut().expect("its node runs").program
    }

    /// Its id.
    ///
    /// # Panics
    /// When its node does not run.
    pub fn peer_id(&self) -> &str {
        &self.running().peer_id
    }

    /// Where its node listens, with its id.
    ///
    /// # Panics
    /// When its node does not run.
    pub fn addresses(&self) -> &[String] {
        &self.running().addresses
    }

    fn running(&self) -> &Up {
        self.up.as_ref().expect("its node runs")
    }

    /// Kills its node, which says nothing to anyone.
    ///
    /// # Panics
    /// When it does not run.
    pub fn kill(&mut self) {
        self.up.take().expect("its node runs").program.kill();
    }

    /// Sends its node a signal, such as `INT` for Ctrl-C, and waits for its end.
    ///
    /// # Panics
    /// When it does not run or does not end.
    pub fn end_by(&mut self, signal: &str) -> Output {
        let program = self.up.take().expect("its node runs").program;
        program.signal(signal);
        program.end()
    }

    /// The circle's members as it knows them.
    ///
    /// # Panics
    /// When it cannot say.
    pub fn members(&self) -> Value {
        let output = self.potluck(&["peers", "--json"]);
        output.success().json()["members"].take()
    }

    /// Waits until what it knows of the members is so.
    ///
    /// # Panics
    /// When that does not come.
    #[track_caller]
    pub fn await_members(&self, what: &str, so: impl Fn(&Value) -> bool) {
        wait_until(&format!("{what}, seen from {}", self.name), || {
            let members = self.members();
            if so(&members) { Ok(()) } else { Err(members) }
        });
    }

    /// Shows an invitation into its own circle.
    ///
    /// # Panics
    /// When it does not.
    pub fn invite(&self) -> Invited {
        self.invite_to("--admit")
    }

    /// Shows an invitation to pair this way, `--admit` or `--join`.
    ///
    /// # Panics
    /// When it does not.
    pub fn invite_to(&self, way: &str) -> Invited {
        let mut program = self.start(&["pair", "--json", way, "--name", &self.name]);
        let text = program.json()["invitation"].clone();
        Invited {
            text: text.as_str().expect("text").to_owned(),
            program,
        }
    }

    /// Uses an invitation into another's circle.
    pub fn join(&self, invitation: &str) -> Output {
        self.use_invitation(invitation, "--join")
    }

    /// Uses an invitation, to pair this way, `--admit` or `--join`.
    pub fn use_invitation(&self, invitation: &str, way: &str) -> Output {
        let args = ["pair", "-", "--json", way, "--name", &self.name];
        run(self.command(args), invitation.as_bytes())
    }

    /// Pairs another device with this one.
    ///
    /// # Panics
    /// When that fails.
    pub fn pair_with(&self, other: &Self) {
        let invitation = self.invite();
        let paired = |output: Output| output.last_json()["paired"]["name"].clone();
        assert_eq!(paired(other.join(&invitation.text).success()), self.name);
        let output = invitation.program.end().success();
        let told = output.stdout.lines().next_back().unwrap_or_default();
        assert!(told.contains(&other.name), "paired with whom? {told}");
    }
}

/// What this machine measured of itself with one thread, once for all nodes of a test's process: it
/// takes seconds.
pub(crate) fn measurements() -> &'static [u8] {
    static MEASURED: OnceLock<Vec<u8>> = OnceLock::new();
    MEASURED.get_or_init(|| {
        let device = Device::new();
        let args = ["bench", "--profile", "--json", "--threads", "1"];
        let _ = device.potluck(args).success();
        fs::read(device.home().join(Device::MEASUREMENTS)).expect("it was measured")
    })
}
