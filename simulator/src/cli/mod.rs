//! The command line.

mod compare;
mod explore;
mod interrupt;
mod merge;
mod output;
mod profiles;
mod progress;
mod replay;
mod run;
mod scale;
mod sweep;
mod sweeping;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Paired devices in virtual time.
#[derive(Debug, Parser)]
#[command(name = "potluck-sim", version, max_term_width = 100, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  potluck-sim run train.toml
  potluck-sim run train.toml --seed 7 --json > run.json
  potluck-sim run train.toml --html train.html
  potluck-sim sweep train.toml --vary network.delay=1ms,5ms,20ms --seeds 5 --out train.jsonl
  potluck-sim compare train.toml --vary request.choice=best,alone --seeds 5
  potluck-sim explore --seeds 10000
  potluck-sim replay 640
  potluck-sim profiles";

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Args),
    Sweep(sweep::Args),
    Merge(merge::Args),
    Compare(compare::Args),
    Replay(replay::Args),
    Explore(explore::Args),
    Scale(scale::Args),
    Profiles(profiles::Args),
}

/// Runs that are worse, or missing.
const EXIT_FINDING: u8 = 3;

/// Runs the command of this process's arguments. Exit codes: 0, 1 for a failure or a violation, 2
/// for wrong usage, 3 if what is compared is worse or what is merged is not whole, 130 after Ctrl-C.
pub(crate) fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Run(args) => run::run(&args),
        Command::Sweep(args) => sweep::run(&args),
        Command::Merge(args) => merge::run(&args),
        Command::Compare(args) => compare::run(&args),
        Command::Replay(args) => replay::run(&args),
        Command::Explore(args) => explore::run(&args),
        Command::Scale(args) => scale::run(&args),
        Command::Profiles(args) => profiles::run(&args),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            output::note(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
