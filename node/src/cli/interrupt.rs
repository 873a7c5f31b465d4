//! Ctrl-C.

use std::process;

use anyhow::Context as _;
use potluck::Cancel;

use super::EXIT_INTERRUPTED;

/// A flag that Ctrl-C sets. Pressed again before anyone took notice, it ends the program at once:
/// everything on disk is written so that this leaves nothing half done.
pub(super) fn on_ctrl_c() -> anyhow::Result<Cancel> {
    let cancel = Cancel::new();
    let flag = cancel.clone();
    ctrlc::set_handler(move || {
        if flag.is_cancelled() {
            process::exit(EXIT_INTERRUPTED.into());
        }
        flag.cancel();
    })
    .context("cannot handle Ctrl-C")?;
    Ok(cancel)
}
