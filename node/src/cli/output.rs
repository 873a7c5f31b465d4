//! Writing to the terminal: answers and reports to stdout, everything else to stderr.

use std::collections::VecDeque;
use std::io::{self, IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use indicatif::{ProgressBar, ProgressFinish, ProgressStyle, WeakProgressBar};
use serde::Serialize;

/// Writes one line to stderr. A closed stderr is no reason to stop.
pub(super) fn note(line: &str) {
    above_bar(|| {
        let _ = writeln!(io::stderr(), "{line}");
    });
}

/// The bar that was begun last.
static BAR: Mutex<Option<WeakProgressBar>> = Mutex::new(None);

/// Writes to stderr. A bar that is there is drawn again below what was written.
fn above_bar(write: impl FnOnce()) {
    let bar = BAR.lock().unwrap_or_else(PoisonError::into_inner);
    let shown = bar.as_ref().and_then(WeakProgressBar::upgrade);
    match shown.filter(|bar| !bar.is_finished()) {
        Some(bar) => bar.suspend(write),
        None => write(),
    }
}

/// Lines of the log that wait for a person to end the line that is being typed.
static HELD: Mutex<Held> = Mutex::new(Held {
    holds: false,
    lines: VecDeque::new(),
    lost: 0,
});

struct Held {
    holds: bool,
    lines: VecDeque<String>,
    /// How many were too many.
    lost: usize,
}

/// Lines that wait at most.
const MOST_HELD: usize = 1000;

fn held() -> MutexGuard<'static, Held> {
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes a line of the log to stderr, once no line is being typed there.
pub(super) fn log_line(line: String) {
    let mut held = held();
    if !held.holds || !stderr_is_terminal() {
        return note(&line);
    }
    if held.lines.len() >= MOST_HELD {
        held.lines.pop_front();
        held.lost += 1;
    }
    held.lines.push_back(line);
}

/// A person begins to type a line, or has ended it.
pub(super) fn hold_log(holds: bool) {
    let mut held = held();
    held.holds = holds;
    if !holds {
        if held.lost > 0 {
            note(&format!("… {} lines of the log before", held.lost));
            held.lost = 0;
        }
        for line in std::mem::take(&mut held.lines) {
            note(&line);
        }
    }
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
    line(&object(value)?)?;
    JSON_PRINTED.store(true, Ordering::Relaxed);
    Ok(())
}

/// `value`, which is an object, as JSON on one line, with `schema` before its fields.
pub(super) fn object(value: &impl Serialize) -> serde_json::Result<String> {
    #[derive(Serialize)]
    struct Numbered<'a, T> {
        schema: u32,
        #[serde(flatten)]
        value: &'a T,
    }
    let schema = SCHEMA;
    serde_json::to_string(&Numbered { schema, value })
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
    let bar = ProgressBar::new(length).with_style(style);
    *BAR.lock().unwrap_or_else(PoisonError::into_inner) = Some(bar.downgrade());
    bar
}
