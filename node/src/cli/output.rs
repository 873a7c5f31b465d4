//! Writing to the terminal: answers and reports to stdout, everything else to stderr.

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};

use indicatif::{ProgressBar, ProgressFinish, ProgressStyle};
use serde::Serialize;

/// Writes one line to stderr. A closed stderr is no reason to stop.
pub(super) fn note(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Writes text to stdout at once, without adding a line end.
pub(super) fn write(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

/// Writes a line to stdout.
pub(super) fn line(text: &str) -> io::Result<()> {
    writeln!(io::stdout(), "{text}")
}

/// The number in every JSON object that a command prints. A field that goes, is renamed or means
/// something else raises it; a new field does not, so programs skip fields that they do not know.
pub(super) const SCHEMA: u32 = 1;

static JSON_PRINTED: AtomicBool = AtomicBool::new(false);

/// Writes `value`, which is an object, to stdout as JSON on one line, with `schema` before its
/// fields.
pub(super) fn json(value: &impl Serialize) -> anyhow::Result<()> {
    #[derive(Serialize)]
    struct Numbered<'a, T> {
        schema: u32,
        #[serde(flatten)]
        value: &'a T,
    }
    let schema = SCHEMA;
    line(&serde_json::to_string(&Numbered { schema, value })?)?;
    JSON_PRINTED.store(true, Ordering::Relaxed);
    Ok(())
}

/// Whether this process has printed an object.
pub(super) fn json_printed() -> bool {
    JSON_PRINTED.load(Ordering::Relaxed)
}

/// Whether people are looking at stderr.
pub(super) fn stderr_is_terminal() -> bool {
    io::stderr().is_terminal()
}

/// A bar over `bytes` on stderr, invisible unless that is a terminal and `show` is set.
pub(super) fn byte_bar(bytes: u64, show: bool) -> ProgressBar {
    bar(
        bytes,
        show,
        "{msg} [{bar:32}] {decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec}",
    )
}

/// A bar over counted things on stderr, invisible unless that is a terminal and `show` is set.
pub(super) fn count_bar(total: u64, show: bool) -> ProgressBar {
    bar(total, show, "{msg} [{bar:32}] {pos}/{len}")
}

/// A line on stderr that is written anew whenever it says something else, invisible unless that is a
/// terminal and `show` is set.
pub(super) fn live_line(show: bool) -> ProgressBar {
    bar(0, show, "{msg}").with_finish(ProgressFinish::AndClear)
}

fn bar(length: u64, show: bool, template: &str) -> ProgressBar {
    if !show {
        return ProgressBar::hidden();
    }
    // indicatif itself stays silent when stderr is not a terminal.
    let style = ProgressStyle::with_template(template)
        .expect("the templates above are well-formed")
        .progress_chars("=> ");
    ProgressBar::new(length).with_style(style)
}
