//! The local endpoint of a home's node, and the check of the process at its other end, per system.

#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

#[cfg(unix)]
pub use unix::Stream;
#[cfg(unix)]
pub(super) use unix::{Listener, bind, check_other_end, connect, remove};
#[cfg(windows)]
pub use windows::Stream;
#[cfg(windows)]
pub(super) use windows::{Listener, bind, check_other_end, connect, remove};
