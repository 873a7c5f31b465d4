//! Signals of Unix.

use std::{io, process, thread};

pub(super) use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// Has a thread of its own follow each signal.
pub(super) fn listen(mut follow: impl FnMut(i32) + Send + 'static) -> io::Result<()> {
    let mut wanted = vec![SIGINT, SIGTERM];
    if !hangup_is_ignored() {
        wanted.push(SIGHUP);
    }
    let mut signals = Signals::new(wanted)?;
    thread::Builder::new()
        .name("potluck-signals".to_owned())
        .spawn(move || signals.forever().for_each(&mut follow))
        .map(drop)
}

/// Whether this process was started with SIGHUP ignored, which no safe function tells.
fn hangup_is_ignored() -> bool {
    hangup_is_ignored_by_proc().unwrap_or_else(hangup_is_ignored_by_a_child)
}

/// Reads it from `/proc` on Linux.
fn hangup_is_ignored_by_proc() -> Option<bool> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))?;
    let mask = u64::from_str_radix(mask.trim(), 16).ok()?;
    Some(mask & (1 << (SIGHUP - 1)) != 0)
}

/// Elsewhere: a shell inherits ignored signals, and survives one only if it is ignored.
fn hangup_is_ignored_by_a_child() -> bool {
    let shell = process::Command::new("/bin/sh")
        .args(["-c", "kill -HUP $$"])
        .stdin(process::Stdio::null())
        .status();
    shell.is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn both_ways_to_ask_about_hangups_agree() {
        let told = hangup_is_ignored_by_proc();
        assert_eq!(told, Some(hangup_is_ignored_by_a_child()));
    }
}
