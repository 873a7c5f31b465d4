//! `potluck-sim sweep`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use potluck_sim::sweep::{Axis, Line, Lines, Seeds, Shard, Sweep, groups, table};

use super::interrupt::{self, EXIT_INTERRUPTED};
use super::output;
use super::sweeping::{self, RunningArgs};

/// Run a scenario with every combination of values and several seeds
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The scenario's file
    scenario: PathBuf,
    /// A field by its path, and the values that it takes; may be given several times
    #[arg(long, value_name = "FIELD=VALUE,…")]
    vary: Vec<Axis>,
    /// How many seeds from the scenario's on, or a range such as 10..20
    #[arg(long, value_name = "SEEDS")]
    seeds: Option<Seeds>,
    /// Only every n-th run, from the i-th on, counted from 0
    #[arg(long, value_name = "I/N", default_value = "0/1")]
    shard: Shard,
    /// Append results to this file, and run only what it lacks [default: stdout]
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    running: RunningArgs,
}

const EXAMPLES: &str = "\
Examples:
  potluck-sim sweep train.toml --vary network.delay=1ms,5ms,20ms --seeds 5 --out train.jsonl
  potluck-sim sweep train.toml --vary device.0.memory=2GB,4GB --vary request.choice=best,alone
  potluck-sim sweep train.toml --seeds 1000 --shard 3/16 --out part-3.jsonl
  potluck-sim merge part-*.jsonl --as table

A field of one section is named by the section's number or name (device.0.memory,
device.tablet.memory), that of all sections without it (device.memory). Stopped by Ctrl-C or by
whatever else, a sweep goes on where it was when it is run again with the same --out.";

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let sweep = sweeping::open(&args.scenario, args.vary.clone(), args.seeds.as_ref())?;
    let sweep = Arc::new(sweep);
    let stop = interrupt::on_ctrl_c()?;
    let mut runs: Vec<_> = (0..sweep.runs())
        .filter(|run| args.shard.has(*run))
        .collect();
    let mut file = None;
    let mut lines = Vec::new();
    if let Some(path) = &args.out {
        let (opened, before) = Lines::open(path)?;
        file = Some(opened);
        (runs, lines) = left(&sweep, runs, before, file.as_mut())?;
    }
    let (known, wanted) = (lines.len(), runs.len());
    let all = sweeping::run(&sweep, runs, &args.running, &stop, |line| {
        match &mut file {
            Some(file) => file.add(&line)?,
            None => output::write(&line.to_json()?)?,
        }
        lines.push(line);
        Ok(())
    })?;
    lines.sort_by_key(|line| line.index);
    if let Some(path) = &args.out {
        let done = lines.len() - known;
        if !args.running.quiet {
            output::note(&format!(
                "{done} runs, {known} were there: {}",
                path.display()
            ));
            output::line(table(&groups(&lines)).to_text().trim_end());
        }
    }
    if !all {
        output::note(&format!(
            "stopped: {} of {wanted} runs are left",
            wanted + known - lines.len()
        ));
        return Ok(EXIT_INTERRUPTED.into());
    }
    Ok(violations(&lines))
}

/// The runs that are left, and the file's results of the others. A result of another sweep counts as
/// well, and is written as one of this sweep.
fn left(
    sweep: &Sweep,
    runs: Vec<usize>,
    before: Vec<Line>,
    mut file: Option<&mut Lines>,
) -> anyhow::Result<(Vec<usize>, Vec<Line>)> {
    let mut known: BTreeMap<String, Line> = BTreeMap::new();
    for line in before {
        let here = line.sweep == sweep.id();
        let entry = known.entry(line.fingerprint.clone());
        let kept = entry.or_insert_with(|| line.clone());
        if here {
            *kept = line;
        }
    }
    let (mut left, mut lines) = (Vec::new(), Vec::new());
    for index in runs {
        let run = sweep.run(index)?;
        let Some(line) = known.get(&run.fingerprint) else {
            left.push(index);
            continue;
        };
        if line.sweep == sweep.id() {
            lines.push(line.clone());
            continue;
        }
        let line = Line::new(sweep, run, line.summary.clone());
        if let Some(file) = &mut file {
            file.add(&line)?;
        }
        lines.push(line);
    }
    Ok((left, lines))
}

/// Reports the runs that violated a check, and fails if any did.
pub(super) fn violations(lines: &[Line]) -> ExitCode {
    let violated = lines
        .iter()
        .filter(|line| !line.summary.violations.is_empty());
    let violated: Vec<_> = violated.collect();
    for line in violated.iter().take(10) {
        let set: Vec<_> = line
            .set
            .iter()
            .map(|(field, value)| format!("{field}={value}"))
            .collect();
        let words = &line.summary.violations[0].words;
        let (seed, set) = (line.seed, set.join(", "));
        output::note(&format!(
            "violation in run {} (seed {seed}; {set}): {words}",
            line.index
        ));
    }
    match violated.len() {
        0 => ExitCode::SUCCESS,
        count => {
            output::note(&format!("{count} runs with violations"));
            ExitCode::FAILURE
        }
    }
}
