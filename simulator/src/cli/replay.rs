//! `potluck-sim replay`.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use potluck_sim::Options;
use potluck_sim::explore::{self, scenario_of};

use super::run;

/// Run the explorer's scenario of a seed again
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The seed that the explorer printed
    seed: u64,
    /// Print the figures as one JSON object
    #[arg(long)]
    json: bool,
    /// Show what happens to this session, by its number from 0
    #[arg(long, value_name = "SESSION")]
    trace: Option<usize>,
    /// Also write its scenario to this file
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let scenario = scenario_of(args.seed);
    if let Some(path) = &args.write {
        let text = scenario.to_toml()?;
        fs::write(path, text).with_context(|| format!("{}", path.display()))?;
    }
    let options = Options {
        trace: args.trace,
        ..explore::options()
    };
    let record = potluck_sim::run(&scenario, &options)?;
    run::show(&record, args.json, true)?;
    Ok(run::code(&record))
}
