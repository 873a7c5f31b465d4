//! Runs the scenarios of a sweep, for all commands that need it.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use anyhow::Context as _;
use potluck_sim::sweep::{Axis, Line, Seeds, Sweep, start};

use super::progress::Progress;

/// How often Ctrl-C is looked for.
const PATIENCE: Duration = Duration::from_millis(50);

/// Options of commands that run many scenarios.
#[derive(Debug, clap::Args)]
pub(super) struct RunningArgs {
    /// Parallel runs; 0 means one for each core
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(super) threads: usize,
    /// Print nothing but results and errors
    #[arg(long, short)]
    pub(super) quiet: bool,
}

/// A sweep of the scenario in this file.
pub(super) fn open(path: &Path, axes: Vec<Axis>, seeds: Option<&Seeds>) -> anyhow::Result<Sweep> {
    let named = || path.display().to_string();
    let text = fs::read_to_string(path).with_context(named)?;
    Sweep::new(&text, axes, seeds).with_context(named)
}

/// Runs these runs, and passes each result to `each` when it is done. Returns whether all were run: not
/// after Ctrl-C, which does not wait for runs under way.
pub(super) fn run(
    sweep: &Arc<Sweep>,
    runs: Vec<usize>,
    args: &RunningArgs,
    stop: &Arc<AtomicBool>,
    mut each: impl FnMut(Line) -> anyhow::Result<()>,
) -> anyhow::Result<bool> {
    let mut progress = Progress::of_runs(runs.len(), args.quiet);
    let results = start(Arc::clone(sweep), runs, args.threads, Arc::clone(stop))?;
    let mut done = 0;
    let all = loop {
        match results.recv_timeout(PATIENCE) {
            Ok(line) => {
                each(line?)?;
                done += 1;
                progress.done(done);
            }
            Err(RecvTimeoutError::Disconnected) => break !stop.load(Ordering::SeqCst),
            Err(RecvTimeoutError::Timeout) if stop.load(Ordering::SeqCst) => break false,
            Err(RecvTimeoutError::Timeout) => {}
        }
    };
    progress.end();
    Ok(all)
}

/// Runs all runs; `None` if Ctrl-C was pressed.
pub(super) fn collect(
    sweep: Sweep,
    args: &RunningArgs,
    stop: &Arc<AtomicBool>,
) -> anyhow::Result<Option<Vec<Line>>> {
    let mut lines = Vec::new();
    let runs = (0..sweep.runs()).collect();
    let all = run(&Arc::new(sweep), runs, args, stop, |line| {
        lines.push(line);
        Ok(())
    })?;
    lines.sort_by_key(|line| line.index);
    Ok(all.then_some(lines))
}
