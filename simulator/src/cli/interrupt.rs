//! Ctrl-C.

use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;

/// As shells report a program that SIGINT ended.
pub(super) const EXIT_INTERRUPTED: u8 = 130;

/// A flag that Ctrl-C sets. Pressed again, it ends the program at once: results are written line by
/// line, each at once and whole, so that this leaves nothing half done.
pub(super) fn on_ctrl_c() -> anyhow::Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    let set = Arc::clone(&flag);
    ctrlc::set_handler(move || {
        if set.swap(true, Ordering::SeqCst) {
            process::exit(EXIT_INTERRUPTED.into());
        }
    })
    .context("cannot handle Ctrl-C")?;
    Ok(flag)
}
