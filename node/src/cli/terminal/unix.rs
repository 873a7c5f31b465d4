//! A Unix terminal's mode, by termios.

use std::io::{self, IsTerminal as _};
use std::sync::{Mutex, PoisonError};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

/// The mode before the first line was edited.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// What line editing asks of a terminal: to mark what is pasted.
const NO_BRACKETED_PASTE: &str = "\x1b[?2004l";

/// Keeps the mode of stdin's terminal, to be restored.
pub(in crate::cli) fn remember() {
    let mut before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner);
    if before.is_none() {
        *before = tcgetattr(io::stdin()).ok();
    }
}

/// Whether a line is being edited.
pub(in crate::cli) fn is_raw() -> bool {
    tcgetattr(io::stdin()).is_ok_and(|mode| !mode.local_modes.contains(LocalModes::ICANON))
}

/// Puts back the mode that was remembered, if a line is being edited.
pub(in crate::cli) fn restore() {
    let before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(mode) = before.as_ref().filter(|_| is_raw()) else {
        return;
    };
    let _ = tcsetattr(io::stdin(), OptionalActions::Now, mode);
    if io::stdout().is_terminal() {
        // Not through `io::stdout`, which another thread may hold.
        let _ = rustix::io::write(io::stdout(), NO_BRACKETED_PASTE.as_bytes());
        let _ = rustix::io::write(io::stdout(), b"\n");
    }
}
