//! `potluck-sim run`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use potluck_sim::compare::{Comparison, compare, gains, overview};
use potluck_sim::report::{Detail, Page, Summary, page, text};
use potluck_sim::sweep::{Axis, Seeds};
use potluck_sim::units::Span;
use potluck_sim::{Options, Record, Scenario};

use super::interrupt::{self, EXIT_INTERRUPTED};
use super::progress::Progress;
use super::sweeping::RunningArgs;
use super::{compare as comparing, output};

/// Run a scenario with all checks
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The scenario's file
    scenario: PathBuf,
    /// Use this seed instead of the scenario's
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Print the figures as one JSON object
    #[arg(long)]
    json: bool,
    /// List every session and device, however many
    #[arg(long, conflicts_with = "json")]
    all: bool,
    /// Write a page with plots to this file
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write the whole record of the run to this file, as JSON
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Show what happens to this session, by its number from 0
    #[arg(long, value_name = "SESSION")]
    trace: Option<usize>,
    /// Also run other placements for comparison: alone, memory-proportional, ring-by-rtt
    #[arg(long, value_name = "CHOICE,…", value_delimiter = ',')]
    against: Vec<String>,
    /// Print progress even if stderr is not a terminal
    #[arg(long)]
    progress: bool,
    /// With --against: average over this many seeds
    #[arg(long, value_name = "SEEDS", requires = "against")]
    seeds: Option<Seeds>,
    #[command(flatten)]
    running: RunningArgs,
}

const EXAMPLES: &str = "\
Examples:
  potluck-sim run train.toml
  potluck-sim run train.toml --seed 7 --json
  potluck-sim run train.toml --html train.html --against alone,memory-proportional --seeds 5

Stopped by Ctrl-C, it tells of what there was until then.

Exit codes: 0, 1 for a failure or a violation, 130 after Ctrl-C.";

/// A run that takes no longer than this gets no progress bar.
const SHOWN_AFTER: Duration = Duration::from_secs(1);

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let path = args.scenario.display();
    let file = fs::read_to_string(&args.scenario).with_context(|| format!("{path}"))?;
    let scenario = Scenario::from_toml(&file).with_context(|| format!("{path}"))?;
    let options = Options {
        seed: args.seed,
        trace: args.trace,
        ..Options::default()
    };
    let stop = interrupt::on_ctrl_c()?;
    let begin = Instant::now();
    let record = watched(&scenario, &options, args.progress, &stop)?;
    let stopped = stop.load(Ordering::SeqCst);
    let took = begin.elapsed().as_secs_f64();
    if !args.running.quiet {
        let rate = record.events as f64 / took.max(1e-9) / 1e6;
        output::note(&format!(
            "{} events in {took:.2} s, {rate:.2} million a second",
            record.events
        ));
    }
    let beside = match args.against.is_empty() {
        true => None,
        false if stopped => None,
        false => match against(args, &stop)? {
            Some(compared) => Some(compared),
            None => return Ok(EXIT_INTERRUPTED.into()),
        },
    };
    show(&record, args.json, args.all)?;
    if let Some(compared) = beside.as_deref().filter(|_| !args.json) {
        let (table, gains) = (overview(compared), gains(compared));
        output::write(&format!("\n{}{gains}\n", table.to_text()))?;
    }
    if let Some(path) = &args.record {
        write(path, &serde_json::to_string(&record)?)?;
    }
    if let Some(path) = &args.html {
        let told = told(args, &scenario, beside);
        write(path, &page(&record, &told)?)?;
    }
    if stopped {
        let seconds = record.duration_us as f64 / 1e6;
        output::note(&format!("stopped after {seconds:.1} s of virtual time"));
        return Ok(EXIT_INTERRUPTED.into());
    }
    Ok(code(&record))
}

/// Runs a scenario until its end or Ctrl-C, with progress if that takes long.
fn watched(
    scenario: &Scenario,
    options: &Options,
    progress: bool,
    stop: &AtomicBool,
) -> anyhow::Result<Record> {
    let begin = Instant::now();
    let mut shown = None;
    let seconds = |span: Span| usize::try_from(span.0 / 1_000_000).unwrap_or(usize::MAX);
    let record = potluck_sim::run_watched(scenario, options, &mut |far| {
        if begin.elapsed() >= SHOWN_AFTER {
            let new = || Progress::of_seconds(seconds(far.end), progress);
            shown.get_or_insert_with(new).done(seconds(far.now));
        }
        !stop.load(Ordering::SeqCst)
    });
    if let Some(shown) = shown {
        shown.end();
    }
    Ok(record?)
}

/// Failure, if a check was violated.
pub(super) fn code(record: &Record) -> ExitCode {
    match record.violations.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// Prints the figures of a run, as JSON or for people.
pub(super) fn show(record: &Record, json: bool, all: bool) -> anyhow::Result<()> {
    if json {
        return output::json(&Summary::of(record));
    }
    for line in &record.trace {
        output::line(line);
    }
    let detail = if all { Detail::All } else { Detail::Brief };
    output::write(&text(record, detail))?;
    Ok(())
}

/// Writes a file.
fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    fs::write(path, text).with_context(|| path.display().to_string())
}

/// Runs the scenario as it is and with other placements; `None` after Ctrl-C.
fn against(args: &Args, stop: &Arc<AtomicBool>) -> anyhow::Result<Option<Vec<Comparison>>> {
    let own = ["best".to_owned()];
    let axis = Axis {
        field: "request.choice".parse()?,
        values: own.iter().chain(&args.against).cloned().collect(),
    };
    let seed = args.seed.map(|seed| Seeds::Range(seed..seed + 1));
    let seeds = args.seeds.as_ref().or(seed.as_ref());
    let results = comparing::varied(&args.scenario, &axis, seeds, &args.running, stop)?;
    let Some(results) = results else {
        return Ok(None);
    };
    let Some((best, others)) = results.split_first() else {
        return Ok(None);
    };
    let compared = others.iter().map(|other| compare(best, other, 0.0));
    Ok(Some(compared.collect::<Result<_, _>>()?))
}

fn told(args: &Args, scenario: &Scenario, beside: Option<Vec<Comparison>>) -> Page {
    let file = args
        .scenario
        .file_name()
        .unwrap_or_default()
        .to_string_lossy();
    let mut command = format!("potluck-sim run {file} --html …");
    if let Some(seed) = args.seed {
        command.push_str(&format!(" --seed {seed}"));
    }
    if !args.against.is_empty() {
        command.push_str(&format!(" --against {}", args.against.join(",")));
    }
    let beside = beside.map(|compared| {
        let heading = "What the plan gains over other placements";
        let pairs = compared.first().map_or(0, |comparison| comparison.pairs);
        let words = format!(
            "{}\n\nMeans over {pairs} seeds, and in brackets what they differ from those of the \
             plan; ≈: no more than chance explains with 95 % confidence; =: equal.",
            gains(&compared)
        );
        (heading.to_owned(), words, overview(&compared))
    });
    Page {
        about: scenario.about.clone(),
        beside: beside.into_iter().collect(),
        command,
    }
}
