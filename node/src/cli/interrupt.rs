//! Ctrl-C.

use std::process;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;
use potluck::Cancel;

use super::EXIT_INTERRUPTED;

static LEAVE_AT_ONCE: AtomicBool = AtomicBool::new(false);

/// A flag that Ctrl-C sets. Pressed again before anyone took notice, it ends the program at once:
/// everything on disk is written so that this leaves nothing half done.
pub(super) fn on_ctrl_c() -> anyhow::Result<Cancel> {
    let cancel = Cancel::new();
    let flag = cancel.clone();
    ctrlc::set_handler(move || {
        if flag.is_cancelled() || LEAVE_AT_ONCE.load(Ordering::SeqCst) {
            process::exit(EXIT_INTERRUPTED.into());
        }
        flag.cancel();
    })
    .context("cannot handle Ctrl-C")?;
    Ok(cancel)
}

/// From now on Ctrl-C ends the program: for what has nothing to keep and nobody to tell.
pub(super) fn leave_at_once() {
    LEAVE_AT_ONCE.store(true, Ordering::SeqCst);
}
