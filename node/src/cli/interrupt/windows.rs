//! Windows has one event for all: Ctrl-C, Ctrl-Break, a console that is closed, and the end of a session.

use std::io;

/// The number of Ctrl-C on other systems, of which our exit code is made.
pub(super) const SIGINT: i32 = 2;

/// Has a thread of its own follow each event.
pub(super) fn listen(mut follow: impl FnMut(i32) + Send + 'static) -> io::Result<()> {
    ctrlc::set_handler(move || follow(SIGINT)).map_err(io::Error::other)
}
