//! The terminal's mode: line editing changes it, and however a command ends it is put back.

#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

#[cfg(unix)]
pub(super) use unix::{is_raw, remember, restore};
#[cfg(windows)]
pub(super) use windows::{is_raw, remember, restore};
