//! The command line.

mod explore;
mod output;
mod profiles;
mod replay;
mod run;

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
  potluck-sim run train.toml --trace 0
  potluck-sim explore --seeds 10000
  potluck-sim replay 640
  potluck-sim profiles";

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Args),
    Replay(replay::Args),
    Explore(explore::Args),
    Profiles(profiles::Args),
}

/// Runs the command of this process's arguments. Exit codes: 0, 1 for a failure or a violation, 2
/// for wrong usage.
pub(crate) fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Run(args) => run::run(&args),
        Command::Replay(args) => replay::run(&args),
        Command::Explore(args) => explore::run(&args),
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
