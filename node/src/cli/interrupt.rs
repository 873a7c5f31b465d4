//! Signals that ask a command to end: Ctrl-C (SIGINT), SIGTERM and SIGHUP.

use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::{process, thread};

use anyhow::Context as _;
use potluck::Cancel;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::terminal;

/// A signal arrived before there was a result.
#[derive(Debug, thiserror::Error)]
#[error("stopped")]
pub(super) struct Stopped;

static LEAVE_AT_ONCE: AtomicBool = AtomicBool::new(false);

/// SIGTERM or SIGHUP, whichever arrived first; 0 if neither. Ctrl-C may only stop an answer; these end the
/// program.
static TERMINATED_BY: AtomicI32 = AtomicI32::new(0);

/// A flag that Ctrl-C, SIGTERM and SIGHUP set. If the same signal arrives again before the first one was
/// handled, the program ends at once; files are written so that this leaves none half written. A process
/// that was started with SIGHUP ignored, as by `nohup`, keeps ignoring it.
pub(super) fn on_ctrl_c() -> anyhow::Result<Cancel> {
    let cancel = Cancel::new();
    let flag = cancel.clone();
    let mut wanted = vec![SIGINT, SIGTERM];
    if !hangup_is_ignored() {
        wanted.push(SIGHUP);
    }
    let mut signals = Signals::new(wanted).context("cannot handle signals")?;
    thread::Builder::new()
        .name("potluck-signals".to_owned())
        .spawn(move || {
            let mut last = None;
            for signal in signals.forever() {
                let again = last.replace(signal) == Some(signal);
                let ends = signal != SIGINT;
                if ends {
                    let _ = TERMINATED_BY.compare_exchange(
                        0,
                        signal,
                        Ordering::SeqCst,
                        Ordering::SeqCst,
                    );
                }
                let unheeded = again && (ends || flag.is_cancelled());
                if unheeded || LEAVE_AT_ONCE.load(Ordering::SeqCst) {
                    terminal::restore();
                    potluck::finish_writing();
                    process::exit(code_of(signal).into());
                }
                flag.cancel();
            }
        })
        .context("cannot handle signals")?;
    Ok(cancel)
}

/// From now on signals end the program, because it has nothing to finish.
pub(super) fn leave_at_once() {
    LEAVE_AT_ONCE.store(true, Ordering::SeqCst);
}

/// Whether SIGTERM or SIGHUP arrived. Unlike Ctrl-C, they end a conversation, not only an answer.
pub(super) fn is_terminated() -> bool {
    TERMINATED_BY.load(Ordering::SeqCst) != 0
}

/// The exit code by which shells report a program ended by a signal.
pub(super) fn exit_code() -> u8 {
    match TERMINATED_BY.load(Ordering::SeqCst) {
        0 => code_of(SIGINT),
        signal => code_of(signal),
    }
}

fn code_of(signal: i32) -> u8 {
    u8::try_from(128 + signal).unwrap_or(u8::MAX)
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

    #[test]
    fn exit_codes_are_those_of_shells() {
        assert_eq!([SIGHUP, SIGINT, SIGTERM].map(code_of), [129, 130, 143]);
    }
}
