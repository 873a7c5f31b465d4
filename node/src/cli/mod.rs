//! The command line: arguments in, text or JSON out. What the commands do is in the library.

mod bench;
mod chat;
mod circle;
mod fetches;
mod format;
mod id;
mod input;
mod inspect;
mod interrupt;
mod lines;
mod models;
mod nodes;
mod obtain;
mod options;
mod output;
mod pair;
mod peers;
mod person;
mod plan;
mod pull;
mod run;
mod score;
mod synth;
mod together;
mod up;

use std::io;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Private AI that nearby devices run together.
#[derive(Debug, Parser)]
#[command(name = "potluck", version, max_term_width = 100, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  potluck run \"Why is the sky blue?\"
  potluck chat
  potluck models

Models and settings are kept in $POTLUCK_HOME, or else in the platform's data folder.";

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Args),
    Chat(chat::Args),
    Pair(pair::Args),
    Peers(peers::Args),
    Forget(peers::ForgetArgs),
    Circle(circle::Args),
    Id(id::Args),
    Up(up::Args),
    Plan(plan::Args),
    Pull(pull::Args),
    Models(models::Args),
    Inspect(inspect::Args),
    Score(score::Args),
    Bench(bench::Args),
    Synth(synth::Args),
}

/// How a command ended, when it did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Done,
    /// By Ctrl-C.
    Interrupted,
}

/// As shells report a program that SIGINT ended.
const EXIT_INTERRUPTED: u8 = 130;
/// As shells report a program that SIGPIPE ended.
const EXIT_BROKEN_PIPE: u8 = 141;

/// Runs the command of this process's arguments. Exit codes: 0, 1 for a failure, 2 for wrong
/// usage, 130 after Ctrl-C.
pub(crate) fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Run(args) => run::run(args),
        Command::Chat(args) => chat::run(args),
        Command::Pair(args) => pair::run(args),
        Command::Peers(args) => peers::run(args),
        Command::Forget(args) => peers::forget(args),
        Command::Circle(args) => circle::run(args),
        Command::Id(args) => id::run(args),
        Command::Up(args) => up::run(args),
        Command::Plan(args) => plan::run(args),
        Command::Pull(args) => pull::run(args),
        Command::Models(args) => models::run(args),
        Command::Inspect(args) => inspect::run(args),
        Command::Score(args) => score::run(args),
        Command::Bench(args) => bench::run(args),
        Command::Synth(args) => synth::run(args),
    };
    match outcome {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::Interrupted) => EXIT_INTERRUPTED.into(),
        // Whoever read our output has seen enough of it: nothing to report, and nowhere to.
        Err(error) if is_broken_pipe(&error) => EXIT_BROKEN_PIPE.into(),
        Err(error) => {
            output::note(&format!("error: {}", potluck::words::of(error.as_ref())));
            ExitCode::FAILURE
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
