//! `potluck-sim run`.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context as _;
use potluck_sim::record::Ending;
use potluck_sim::{Options, Record, Scenario};

use super::output;

/// Run a scenario, and check what must hold
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The scenario's file
    scenario: PathBuf,
    /// A seed instead of the scenario's
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Print the whole record as one JSON object
    #[arg(long)]
    json: bool,
    /// Show what happens to this session, by its number from 0
    #[arg(long, value_name = "SESSION")]
    trace: Option<usize>,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let path = args.scenario.display();
    let text = fs::read_to_string(&args.scenario).with_context(|| format!("{path}"))?;
    let scenario = Scenario::from_toml(&text).with_context(|| format!("{path}"))?;
    let options = Options {
        seed: args.seed,
        trace: args.trace,
        until_answered: false,
    };
    let begin = Instant::now();
    let record = potluck_sim::run(&scenario, &options)?;
    let took = begin.elapsed().as_secs_f64();
    if args.json {
        output::json(&record)?;
    } else {
        print(&record);
    }
    let events = record.events;
    let rate = events as f64 / took.max(1e-9) / 1e6;
    output::note(&format!(
        "{events} events in {took:.2} s, {rate:.2} million a second"
    ));
    Ok(code(&record))
}

/// Failure, if something was violated.
pub(super) fn code(record: &Record) -> ExitCode {
    if record.violations.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

pub(super) fn print(record: &Record) {
    for line in &record.trace {
        output::line(line);
    }
    let complete = |ending: &Ending| *ending == Ending::Complete;
    let sessions = record.sessions.len();
    let done = record
        .sessions
        .iter()
        .filter(|s| complete(&s.ending))
        .count();
    let tokens: usize = record.sessions.iter().map(|s| s.tokens_at_us.len()).sum();
    let recoveries: usize = record.sessions.iter().map(|s| s.recoveries.len()).sum();
    let lines = [
        ("seed", record.seed.to_string()),
        ("trace", record.trace_hash.clone()),
        ("sessions", format!("{done} of {sessions} complete")),
        ("tokens", tokens.to_string()),
        ("recoveries", recoveries.to_string()),
        ("first token", percentiles(first_tokens(record))),
        ("each token", percentiles(gaps(record))),
        ("violations", record.violations.len().to_string()),
    ];
    for (name, value) in lines {
        output::line(&format!("{name:<14}{value}"));
    }
    for violation in &record.violations {
        let at = violation.at_us as f64 / 1e6;
        let (checker, words) = (&violation.checker, &violation.words);
        let (device, session) = (violation.device, violation.session);
        output::line(&format!(
            "  {at:.6} s, {checker}: {words} (device {device:?}, session {session:?})"
        ));
    }
}

fn first_tokens(record: &Record) -> Vec<u64> {
    let sessions = record.sessions.iter();
    sessions
        .filter_map(|s| s.time_to_first_token_us())
        .collect()
}

fn gaps(record: &Record) -> Vec<u64> {
    let sessions = record.sessions.iter();
    sessions.flat_map(|s| s.token_gaps_us()).collect()
}

fn percentiles(mut times: Vec<u64>) -> String {
    times.sort_unstable();
    let at = |percent: usize| {
        let last = times.len().saturating_sub(1);
        let time = times.get(last * percent / 100);
        time.map_or_else(
            || "-".to_owned(),
            |us| format!("{:.1} ms", *us as f64 / 1e3),
        )
    };
    format!("median {}, 95 % {}, 99 % {}", at(50), at(95), at(99))
}
