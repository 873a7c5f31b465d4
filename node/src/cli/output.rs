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

/// The last progress bar.
static BAR: Mutex<Option<WeakProgressBar>> = Mutex::new(None);

/// Writes to stderr, and redraws a progress bar below the text.
fn above_bar(write: impl FnOnce()) {
    let bar = BAR.lock().unwrap_or_else(PoisonError::into_inner);
    let shown = bar.as_ref().and_then(WeakProgressBar::upgrade);
    match shown.filter(|bar| !bar.is_finished()) {
        Some(bar) => bar.suspend(write),
        None => write(),
    }
}

/// Log lines held back while a person types a line.
static HELD: Mutex<Held> = Mutex::new(Held {
    holds: false,
    lines: VecDeque::new(),
    lost: 0,
});

struct Held {
    holds: bool,
    lines: VecDeque<String>,
    /// How many were dropped.
    lost: usize,
}

/// The most lines held back.
const MOST_HELD: usize = 1000;

fn held() -> MutexGuard<'static, Held> {
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes a log line to stderr, or holds it back while a person types.
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

/// A person starts or has finished typing a line.
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

/// The `schema` number of every JSON object that a command prints. It is raised when a field is removed,
/// renamed or changes its meaning. New fields do not raise it, so programs ignore fields they do not know.
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

/// A status line on stderr that is redrawn when it changes; invisible unless stderr is a terminal and
/// `show` is set.
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
