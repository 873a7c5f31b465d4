//! `potluck-sim compare`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{bail, ensure};
use clap::ValueEnum;
use potluck_sim::compare::{Comparison, Results, compare, details, overview, read};
use potluck_sim::report::Table;
use potluck_sim::sweep::{Axis, Line, Seeds};
use serde_json::json;

use super::interrupt::{self, EXIT_INTERRUPTED};
use super::sweeping::{self, RunningArgs};
use super::{EXIT_FINDING, output};

/// Compare runs: what differs, by how much, and whether that is more than chance
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Scenarios (.toml), results (.json) or sweeps (.jsonl); all others are compared with the first
    #[arg(required = true)]
    what: Vec<PathBuf>,
    /// For one scenario: a field and its values; all others are compared with the first
    #[arg(long, value_name = "FIELD=VALUE,…")]
    vary: Option<Axis>,
    /// For scenarios: how many seeds, or a range such as 10..20
    #[arg(long, value_name = "SEEDS")]
    seeds: Option<Seeds>,
    /// Ignore differences up to this percentage of the first
    #[arg(long, value_name = "PERCENT", default_value_t = 0.0)]
    tolerance: f64,
    /// Output format
    #[arg(long = "as", value_name = "FORM", value_enum, default_value_t = Form::Table)]
    form: Form,
    #[command(flatten)]
    running: RunningArgs,
}

const EXAMPLES: &str = "\
Examples:
  potluck-sim compare before.json after.json
  potluck-sim compare home.toml office.toml --seeds 20 --tolerance 2
  potluck-sim compare train.toml --vary request.choice=best,alone,memory-proportional --seeds 10

Runs are paired by seed. Where there are several pairs, a difference counts if the 95 % interval of
its mean is without 0. Exit codes: 0 if nothing is worse than the first, 3 if something is, 1 for a
failure.";

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    /// For the terminal
    Table,
    /// For documents
    Markdown,
    /// Comma-separated values
    Csv,
    /// One JSON object
    Json,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let tolerance = args.tolerance / 100.0;
    ensure!(
        (0.0..=10.0).contains(&tolerance),
        "--tolerance is in percent, from 0 to 1000"
    );
    let stop = interrupt::on_ctrl_c()?;
    let Some(results) = results(args, &stop)? else {
        return Ok(EXIT_INTERRUPTED.into());
    };
    let Some((first, others)) = results.split_first() else {
        bail!("there is nothing to compare");
    };
    let compared = others.iter().map(|other| compare(first, other, tolerance));
    let compared: Vec<_> = compared.collect::<Result<_, _>>()?;
    show(&compared, args.form)?;
    let worse = compared.iter().any(Comparison::is_worse);
    Ok(if worse {
        EXIT_FINDING.into()
    } else {
        ExitCode::SUCCESS
    })
}

fn results(args: &Args, stop: &Arc<AtomicBool>) -> anyhow::Result<Option<Vec<Results>>> {
    match (&args.what[..], &args.vary) {
        ([scenario], Some(axis)) => {
            let seeds = args.seeds.as_ref();
            varied(scenario, axis, seeds, &args.running, stop)
        }
        (_, Some(_)) => bail!("--vary is of one scenario: name only that"),
        ([_], None) => bail!("name a second one to compare with, or --vary a field"),
        (what, None) => {
            let mut all = Vec::new();
            for path in what {
                let Some(results) = of_file(path, args, stop)? else {
                    return Ok(None);
                };
                all.push(results);
            }
            Ok(Some(all))
        }
    }
}

/// A scenario with each value of a field; `None` after Ctrl-C.
pub(super) fn varied(
    scenario: &Path,
    axis: &Axis,
    seeds: Option<&Seeds>,
    running: &RunningArgs,
    stop: &Arc<AtomicBool>,
) -> anyhow::Result<Option<Vec<Results>>> {
    ensure!(axis.values.len() > 1, "--vary needs two values to compare");
    let sweep = sweeping::open(scenario, vec![axis.clone()], seeds)?;
    let Some(lines) = sweeping::collect(sweep, running, stop)? else {
        return Ok(None);
    };
    let field = axis.field.to_string();
    let of = |value: &String| {
        let these = lines
            .iter()
            .filter(|line| line.set.get(&field) == Some(value));
        Results::by_seed(value, these.cloned())
    };
    Ok(Some(axis.values.iter().map(of).collect()))
}

fn of_file(path: &Path, args: &Args, stop: &Arc<AtomicBool>) -> anyhow::Result<Option<Results>> {
    if path.extension().is_none_or(|ending| ending != "toml") {
        return Ok(Some(read(path)?));
    }
    let sweep = sweeping::open(path, Vec::new(), args.seeds.as_ref())?;
    let lines = sweeping::collect(sweep, &args.running, stop)?;
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    Ok(lines.map(|lines: Vec<Line>| Results::by_seed(&name, lines)))
}

fn show(compared: &[Comparison], form: Form) -> anyhow::Result<()> {
    let table = |compared: &[Comparison]| -> Table {
        match compared {
            [one] => details(one),
            several => overview(several),
        }
    };
    match form {
        Form::Table => output::write(&table(compared).to_text())?,
        Form::Markdown => output::write(&table(compared).to_markdown())?,
        Form::Csv => output::write(&table(compared).to_csv())?,
        Form::Json => {
            let all: Vec<_> = compared.iter().map(as_json).collect();
            output::json(&json!({ "comparisons": all }))?;
        }
    }
    for one in compared {
        let (pairs, unpaired, names) = (one.pairs, one.unpaired, &one.second);
        let left = match unpaired {
            0 => String::new(),
            some => format!(", {some} runs without a partner left out"),
        };
        output::note(&format!(
            "{} and {names}: {pairs} pairs by seed{left}",
            one.first
        ));
    }
    Ok(())
}

fn as_json(comparison: &Comparison) -> serde_json::Value {
    let figures = comparison.differences.iter().map(|difference| {
        json!({
            "figure": difference.figure.name,
            "first": difference.first,
            "second": difference.second,
            "difference": difference.difference,
            "relative": difference.relative(),
            "within": difference.difference.and_then(|spread| spread.within()),
            "verdict": difference.verdict,
        })
    });
    json!({
        "first": comparison.first,
        "second": comparison.second,
        "pairs": comparison.pairs,
        "unpaired": comparison.unpaired,
        "worse": comparison.is_worse(),
        "figures": figures.collect::<Vec<_>>(),
    })
}
