//! Where commands of a home meet its node, and who may be at the other end: on each system in its own way.

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
