//! Output to the terminal.

use std::io::{self, Write as _};

/// A line of the answer. Output stops when the reader closes the pipe.
pub(super) fn line(text: &str) {
    let _ = writeln!(io::stdout(), "{text}");
}

/// A line for the person, beside the answer.
pub(super) fn note(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// One JSON object.
pub(super) fn json(of: &impl serde::Serialize) -> anyhow::Result<()> {
    line(&serde_json::to_string(of)?);
    Ok(())
}

/// Text of the answer, as it is.
pub(super) fn write(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}
