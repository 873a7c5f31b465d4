//! Signals that ask a command to end: Ctrl-C (SIGINT), SIGTERM and SIGHUP. On Windows there is Ctrl-C only,
//! which closing the console, too, is taken for.

#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

use std::process;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use anyhow::Context as _;
use potluck::Cancel;

use super::terminal;
#[cfg(unix)]
use unix::{SIGINT, listen};
#[cfg(windows)]
use windows::{SIGINT, listen};

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
    let mut last = None;
    let follow = move |signal| {
        let again = last.replace(signal) == Some(signal);
        let ends = signal != SIGINT;
        if ends {
            let _ = TERMINATED_BY.compare_exchange(0, signal, Ordering::SeqCst, Ordering::SeqCst);
        }
        let unheeded = again && (ends || flag.is_cancelled());
        if unheeded || LEAVE_AT_ONCE.load(Ordering::SeqCst) {
            terminal::restore();
            potluck::finish_writing();
            process::exit(code_of(signal).into());
        }
        flag.cancel();
    };
    listen(follow).context("cannot handle signals")?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(unix)]
    fn exit_codes_are_those_of_shells() {
        use unix::{SIGHUP, SIGTERM};
        assert_eq!([SIGHUP, SIGINT, SIGTERM].map(code_of), [129, 130, 143]);
    }
}
