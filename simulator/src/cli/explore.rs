//! `potluck-sim explore`.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context as _;
use potluck_sim::explore::{Explored, Found, explore, shrink};
#[cfg(feature = "real")]
use potluck_sim::real::{self, RealModel};

use super::output;

/// Look for violations in random scenarios with faults
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// How many seeds
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    seeds: u64,
    /// The first seed
    #[arg(long, value_name = "N", default_value_t = 0)]
    first: u64,
    /// Folder for the shrunk scenarios of seeds that violate a check
    #[arg(long, value_name = "FOLDER", default_value = "simulator/regressions")]
    keep: PathBuf,
    /// Compute a real model in the hosts: a generated one, or this GGUF file
    #[cfg(feature = "real")]
    #[arg(long, value_name = "FILE", num_args = 0..=1)]
    real: Option<Option<PathBuf>>,
    /// Only report violations, without shrinking their scenarios
    #[arg(long)]
    no_shrink: bool,
}

/// Seeds between two lines of progress.
const PART: u64 = 500;

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let begin = Instant::now();
    let model = Model::of(args)?;
    let end = args.first.saturating_add(args.seeds);
    let mut violated = 0;
    let mut first = args.first;
    while first < end {
        let part = first..end.min(first + PART);
        first = part.end;
        let explored = model.explore(part)?;
        violated += explored.found.len();
        for found in &explored.found {
            show(found, args, &model)?;
        }
        let tally = explored.tally;
        let rate = (first - args.first) as f64 / begin.elapsed().as_secs_f64().max(1e-9) * 60.0;
        output::note(&format!(
            "seeds to {first}: {violated} violated, {rate:.0} a minute; of the last {}: \
             {} of {} sessions complete, {} tokens, {} splits, {} recoveries, {} faults, \
             {} MB of weights fetched",
            explored.seeds,
            tally.complete,
            tally.sessions,
            tally.tokens,
            tally.splits,
            tally.recoveries,
            tally.faults,
            tally.fetched_bytes / 1_000_000
        ));
    }
    output::line(&format!("{} seeds, {violated} violated", args.seeds));
    Ok(if violated == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn show(found: &Found, args: &Args, model: &Model) -> anyhow::Result<()> {
    let seed = found.seed;
    for violation in &found.record.violations {
        let at = violation.at_us as f64 / 1e6;
        let (checker, words) = (&violation.checker, &violation.words);
        output::line(&format!("seed {seed}, {at:.6} s, {checker}: {words}"));
    }
    // Made smaller with the made-up model, which shows all but faults of the real one.
    if args.no_shrink || !model.is_made_up() {
        return Ok(());
    }
    let Some(shrunk) = shrink(&found.scenario) else {
        return Ok(());
    };
    let file = args.keep.join(format!("{}-{seed}.toml", shrunk.checker));
    let text = format!(
        "# Seed {seed} of the explorer, made smaller. {}: {}\n{}",
        shrunk.checker,
        shrunk.words,
        shrunk.scenario.to_toml()?
    );
    fs::create_dir_all(&args.keep).with_context(|| format!("{}", args.keep.display()))?;
    fs::write(&file, text).with_context(|| format!("{}", file.display()))?;
    output::line(&format!("  what is left of it: {}", file.display()));
    Ok(())
}

/// The model that hosts compute.
enum Model {
    MadeUp,
    #[cfg(feature = "real")]
    Real(Box<RealModel>),
}

impl Model {
    fn of(args: &Args) -> anyhow::Result<Self> {
        #[cfg(feature = "real")]
        match &args.real {
            None => {}
            Some(None) => return Ok(Self::Real(Box::new(RealModel::generated(1)?))),
            Some(Some(path)) => return Ok(Self::Real(Box::new(RealModel::open(path)?))),
        }
        let _ = args;
        Ok(Self::MadeUp)
    }

    fn explore(&self, seeds: std::ops::Range<u64>) -> anyhow::Result<Explored> {
        Ok(match self {
            Self::MadeUp => explore(seeds)?,
            #[cfg(feature = "real")]
            Self::Real(model) => real::explore(seeds, model)?,
        })
    }

    fn is_made_up(&self) -> bool {
        matches!(self, Self::MadeUp)
    }
}
