//! What is printed.

use std::io::{self, Write as _};

/// A line of the answer. Whoever does not read on is not told more.
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
