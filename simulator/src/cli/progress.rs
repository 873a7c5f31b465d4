//! Progress of a command.

use std::io::{self, IsTerminal as _};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::output;

/// Time between two lines about a sweep, where stderr is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(30);
/// Time between two lines about a run.
const RUN_LINE_EVERY: Duration = Duration::from_secs(5);

/// Progress on stderr: a bar on a terminal, a line now and then in a log.
pub(super) enum Progress {
    Silent,
    Bar(ProgressBar),
    Lines {
        all: usize,
        of: &'static str,
        every: Duration,
        begin: Instant,
        told: Instant,
    },
}

impl Progress {
    /// For so many runs.
    pub(super) fn of_runs(all: usize, quiet: bool) -> Self {
        if quiet || all < 2 {
            return Self::Silent;
        }
        if io::stderr().is_terminal() {
            return Self::bar(all, "runs");
        }
        Self::lines(all, "runs", LINE_EVERY)
    }

    /// For one run of so many seconds of virtual time: on a terminal, or where it was asked for.
    pub(super) fn of_seconds(all: usize, wanted: bool) -> Self {
        if io::stderr().is_terminal() {
            return Self::bar(all, "seconds");
        }
        match wanted {
            true => Self::lines(all, "seconds", RUN_LINE_EVERY),
            false => Self::Silent,
        }
    }

    fn lines(all: usize, of: &'static str, every: Duration) -> Self {
        let begin = Instant::now();
        let told = begin;
        Self::Lines {
            all,
            of,
            every,
            begin,
            told,
        }
    }

    fn bar(all: usize, of: &'static str) -> Self {
        let style = "{msg} [{bar:32}] {pos}/{len}, {eta} left";
        let style = ProgressStyle::with_template(style).expect("the template is well-formed");
        let bar = ProgressBar::new(all as u64).with_message(of);
        Self::Bar(bar.with_style(style.progress_chars("=> ")))
    }

    /// So many are done.
    pub(super) fn done(&mut self, done: usize) {
        match self {
            Self::Silent => {}
            Self::Bar(bar) => bar.set_position(done as u64),
            Self::Lines {
                all,
                of,
                every,
                begin,
                told,
            } => {
                if told.elapsed() < *every {
                    return;
                }
                *told = Instant::now();
                let each = begin.elapsed().as_secs_f64() / done.max(1) as f64;
                let left = each * all.saturating_sub(done) as f64;
                output::note(&format!("{done} of {all} {of}, about {left:.0} s left"));
            }
        }
    }

    /// It is over.
    pub(super) fn end(self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}
