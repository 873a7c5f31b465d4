//! Where an emulated Wi-Fi can run, and how a test gets the right to it or is skipped.

use std::env;
use std::error::Error;
use std::fmt;
use std::io::{self, Write as _};
use std::process::{Command, Stdio};

use super::network::NoNetwork;
use super::{Profile, Wifi};

/// Set for a test that has been started again in a user namespace.
const STARTED_AGAIN: &str = "POTLUCK_TEST_IN_USER_NAMESPACE";

/// With the value `required`, a test that finds no emulated Wi-Fi fails instead of being skipped:
/// where tests must not be left out unseen, as in CI.
const WIFI: &str = "POTLUCK_TEST_WIFI";

/// Why there is no emulated Wi-Fi here.
#[derive(Debug)]
pub struct Unavailable {
    words: String,
    /// Whether a user namespace might give what is missing.
    permission: bool,
}

impl Unavailable {
    pub(super) fn new(words: String) -> Self {
        Self {
            words,
            permission: false,
        }
    }
}

impl From<NoNetwork> for Unavailable {
    fn from(reason: NoNetwork) -> Self {
        match reason {
            NoNetwork::Other(words) => Self::new(words),
            NoNetwork::NotPermitted => Self {
                words: "this user may not make network namespaces".into(),
                permission: true,
            },
        }
    }
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

impl Error for Unavailable {}

/// Whether the commands that the stations need are there; `ip` is seen when it is used.
pub(super) fn check() -> Result<(), Unavailable> {
    if succeeds(Command::new("nsenter").arg("--version")) {
        return Ok(());
    }
    Err(Unavailable::new(
        "there is no command nsenter (util-linux)".into(),
    ))
}

fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Runs the test of this name on an emulated Wi-Fi; call it with everything that the test does.
/// Without the right to make network namespaces, the test is started again as a process of its own
/// in a user namespace, where it has it. (A test cannot enter one by itself: that is for processes
/// of one thread.) Where that is refused, too, the test is skipped, and stderr says why; with
/// `POTLUCK_TEST_WIFI=required`, it fails.
///
/// # Panics
/// When the test fails, here or there, this name is not its own, or a Wi-Fi is required and missing.
#[track_caller]
pub fn on_wifi(test: &str, seed: u64, stations: usize, profile: Profile, body: impl FnOnce(&Wifi)) {
    let unavailable = match Wifi::new(seed, stations, profile) {
        Ok(wifi) => return body(&wifi),
        Err(unavailable) => unavailable,
    };
    let again = unavailable.permission && env::var_os(STARTED_AGAIN).is_none();
    if again && succeeds(unshare().arg("true")) {
        return start_again(test);
    }
    let required = env::var_os(WIFI).is_some_and(|value| value == "required");
    assert!(!required, "{test} needs an emulated Wi-Fi: {unavailable}");
    // Not by a macro, whose words the test harness would keep.
    let _ = writeln!(io::stderr(), "skipped {test}: {unavailable}");
}

fn unshare() -> Command {
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--"]);
    command
}

#[track_caller]
fn start_again(test: &str) {
    let output = unshare()
        .arg(env::current_exe().expect("a test knows its own path"))
        .args([test, "--exact", "--include-ignored", "--nocapture"])
        .env(STARTED_AGAIN, "1")
        .output()
        .expect("it has just run");
    let stdout = String::from_utf8_lossy(&output.stdout);
    let _ = io::stderr().write_all(&output.stderr);
    assert!(
        output.status.success() && stdout.contains("1 passed"),
        "{test} failed in a user namespace: {stdout}"
    );
}
