//! `potluck-sim scale`.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use anyhow::{Context as _, ensure};
use potluck_sim::report::Summary;
use potluck_sim::report::scale::{self, Cost};
use potluck_sim::units::Span;
use potluck_sim::{Options, Scenario};

use super::output;

/// Phones of a circle.
const CIRCLE: u32 = 5;

/// Measure on this machine how the cost of a run grows with its phones
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Numbers of phones, one run each, in circles of five
    #[arg(
        long,
        value_name = "N,…",
        value_delimiter = ',',
        default_value = "10,100,1000,10000"
    )]
    phones: Vec<u32>,
    /// Virtual time of each run
    #[arg(long, value_name = "TIME", default_value = "1 h")]
    duration: Span,
    /// Questions a minute, of all phones together
    #[arg(long, value_name = "N", default_value_t = 10)]
    questions: u32,
    /// Run nothing, and show the results that --json printed to this file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["duration", "questions"])]
    from: Option<PathBuf>,
    /// Write a page with plots to this file
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write the plots to this file, as one picture for a document
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Print one JSON object a run
    #[arg(long)]
    json: bool,
    /// Run in this process: what each run is started with
    #[arg(long, hide = true)]
    here: bool,
}

const EXAMPLES: &str = "\
Examples:
  potluck-sim scale
  potluck-sim scale --phones 10,100,1000 --duration \"1 h\" --json > scale.jsonl
  potluck-sim scale --from scale.jsonl --html scale.html --svg scale.svg";

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    ensure!(
        args.phones.iter().all(|phones| *phones >= CIRCLE),
        "--phones: at least a circle of {CIRCLE} each"
    );
    ensure!(args.questions > 0, "--questions: at least one a minute");
    let costs = match &args.from {
        Some(path) => read(path)?,
        None => runs(args)?,
    };
    if !args.json {
        output::write(&scale::table(&costs).to_text())?;
    }
    let write = |path: &PathBuf, text: String| {
        fs::write(path, text).with_context(|| path.display().to_string())
    };
    if let Some(path) = &args.html {
        write(path, scale::page(&costs)?)?;
    }
    if let Some(path) = &args.svg {
        write(path, scale::picture(&costs)?)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn runs(args: &Args) -> anyhow::Result<Vec<Cost>> {
    let mut costs = Vec::new();
    for phones in &args.phones {
        let cost = match args.here {
            true => measured(args, *phones)?,
            false => in_its_own_process(args, *phones)?,
        };
        if args.json {
            output::json(&cost)?;
        }
        costs.push(cost);
    }
    Ok(costs)
}

fn read(path: &Path) -> anyhow::Result<Vec<Cost>> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let costs = serde_json::Deserializer::from_str(&text).into_iter();
    let costs: Result<_, _> = costs.collect();
    costs.with_context(|| format!("{}: not what scale --json prints", path.display()))
}

/// Measures a run in a process of its own, so that its memory does not count for the next run.
fn in_its_own_process(args: &Args, phones: u32) -> anyhow::Result<Cost> {
    let (duration, questions) = (args.duration.to_string(), args.questions.to_string());
    let mut command = Command::new(env::current_exe()?);
    command.args(["scale", "--here", "--json", "--phones", &phones.to_string()]);
    command.args(["--duration", &duration, "--questions", &questions]);
    let run = command.stderr(Stdio::inherit()).output();
    let run = run.context("cannot start a process for a run")?;
    ensure!(
        run.status.success(),
        "the run of {phones} phones failed: {}",
        run.status
    );
    let cost = serde_json::from_slice(&run.stdout);
    cost.context("the run's process printed something else than its cost")
}

fn measured(args: &Args, phones: u32) -> anyhow::Result<Cost> {
    let scenario = Scenario::from_toml(&scenario(phones, args))?;
    let begin = Instant::now();
    let record = potluck_sim::run(&scenario, &Options::default())?;
    let wall_s = begin.elapsed().as_secs_f64();
    let cpu_s = cpu_s();
    let peak_bytes = peak_bytes();
    let summary = Summary::of(&record);
    Ok(Cost {
        phones: summary.devices,
        duration_s: summary.duration_s,
        sessions: summary.sessions,
        tokens: summary.tokens,
        violations: summary.violations.len() as u64,
        events: summary.events,
        wall_s,
        cpu_s,
        peak_bytes,
    })
}

/// Circles of five phones, with a model that none of them can hold alone.
fn scenario(phones: u32, args: &Args) -> String {
    let every = 60_000_000 / u64::from(args.questions);
    format!(
        "name = \"scale\"\nduration = \"{}\"\nseries_every = \"5 min\"\n\
         model = {{ name = \"llama-3.2-3b\" }}\n\
         circle = [{{ name = \"home\", copies = {} }}]\n\
         request = [{{ who = \"any\", every = \"{every} us\" }}]\n\
         device = [\n\
         {{ profile = \"galaxy-s23\", memory = \"1.4 GB\" }},\n\
         {{ profile = \"pixel-9\", memory = \"1.4 GB\" }},\n\
         {{ profile = \"oneplus-12\", memory = \"1.6 GB\" }},\n\
         {{ profile = \"poco-x7\", memory = \"1.4 GB\" }},\n\
         {{ profile = \"snapdragon-680\", memory = \"1 GB\" }},\n]\n",
        args.duration,
        phones / CIRCLE
    )
}

/// The peak memory of this process, where the system tells.
fn peak_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

/// The processor time of this thread, which runs everything, where the system tells.
fn cpu_s() -> Option<f64> {
    let text = fs::read_to_string("/proc/self/schedstat").ok()?;
    let nanoseconds: u64 = text.split_whitespace().next()?.parse().ok()?;
    Some(nanoseconds as f64 / 1e9)
}
