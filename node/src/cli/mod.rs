//! The command line: arguments in, text or JSON out. What the commands do is in the library.

mod arguments;
mod bench;
mod chat;
mod circle;
mod completions;
mod config;
mod failure;
mod fetches;
mod format;
mod given;
mod guests;
mod id;
mod input;
mod inspect;
mod interrupt;
mod lines;
mod log;
mod man;
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
mod room;
mod run;
mod score;
mod serve;
mod settings;
mod shown;
mod synth;
mod terminal;
mod together;
mod up;
mod verbosity;

use std::env;
use std::process::ExitCode;

use arguments::NoCommand;
use clap::{Parser, Subcommand};
use failure::Code;

/// Private AI that nearby devices run together.
#[derive(Debug, Parser)]
#[command(name = "potluck", version, max_term_width = 100, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    log: verbosity::LogArgs,
}

const EXAMPLES: &str = "\
Examples:
  potluck run \"Why is the sky blue?\"
  potluck chat
  potluck models

Models and this device's identity are kept in $POTLUCK_HOME, or else in the platform's data folder.
What you set for every call is in the file that `potluck config path` prints.

-v tells on stderr what happens; so does POTLUCK_LOG, a level (error, warn, info, debug, trace, off) or
levels of parts, such as info,potluck::net=trace,libp2p=debug. No log has words of prompts or answers.

With --json every command prints objects, one a line, with the number \"schema\": it is raised when a
field goes or means something else. A failure is {\"schema\": 1, \"error\": {\"code\": …, \"message\": …}},
its code usage, input, fetch, model, node, interrupted or failed.
Exit codes: 0 done, 1 failed, 2 wrong usage, 128 + N ended by signal N.";

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
    Serve(serve::Args),
    Guests(guests::Args),
    Log(log::Args),
    Plan(plan::Args),
    Pull(pull::Args),
    Models(models::Args),
    Inspect(inspect::Args),
    Score(score::Args),
    Bench(bench::Args),
    Synth(synth::Args),
    Config(config::Args),
    Completions(completions::Args),
    Man(man::Args),
}

/// How a command ended, when it did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Done,
    /// By Ctrl-C or another signal that asks a program to end.
    Interrupted,
}

/// As shells report a program that SIGPIPE ended.
const EXIT_BROKEN_PIPE: u8 = 141;

/// Runs the command of this process's arguments. Exit codes: 0, 1 for a failure, 2 for wrong
/// usage, and as shells report signals: 130 after Ctrl-C, 143 after SIGTERM, 129 after SIGHUP,
/// 141 where nobody reads what is printed.
pub(crate) fn main() -> ExitCode {
    let arguments: Vec<_> = env::args_os().collect();
    let json = failure::is_json(arguments.iter().skip(1));
    let (command, logging) = match arguments::parse(&arguments) {
        Ok(Cli { command, log }) => match log.start() {
            Ok(logging) => (command, logging),
            Err(error) => return failure::tell_error(&error, json).into(),
        },
        Err(NoCommand::Usage(error)) => return failure::tell_usage(&error, json).into(),
        Err(NoCommand::Config(error)) => return failure::tell_error(&error.into(), json).into(),
    };
    let outcome = match run_command(command) {
        Err(error) if error.is::<interrupt::Stopped>() => Ok(Outcome::Interrupted),
        outcome => outcome,
    };
    logging.finish();
    match outcome {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::Interrupted) => {
            if json && !output::json_printed() {
                let _ = failure::print(Code::Interrupted, "stopped by a signal");
            }
            interrupt::exit_code().into()
        }
        // Whoever read our output has seen enough of it: nothing to report, and nowhere to.
        Err(error) if failure::is_broken_pipe(&error) => EXIT_BROKEN_PIPE.into(),
        Err(error) => failure::tell_error(&error, json).into(),
    }
}

fn run_command(command: Command) -> anyhow::Result<Outcome> {
    match command {
        Command::Run(args) => run::run(args),
        Command::Chat(args) => chat::run(args),
        Command::Pair(args) => pair::run(args),
        Command::Peers(args) => peers::run(args),
        Command::Forget(args) => peers::forget(args),
        Command::Circle(args) => circle::run(args),
        Command::Id(args) => id::run(args),
        Command::Up(args) => up::run(args),
        Command::Serve(args) => serve::run(args),
        Command::Guests(args) => guests::run(args),
        Command::Log(args) => log::run(args),
        Command::Plan(args) => plan::run(args),
        Command::Pull(args) => pull::run(args),
        Command::Models(args) => models::run(args),
        Command::Inspect(args) => inspect::run(args),
        Command::Score(args) => score::run(args),
        Command::Bench(args) => bench::run(args),
        Command::Synth(args) => synth::run(args),
        Command::Config(args) => config::run(args),
        Command::Completions(args) => completions::run(args),
        Command::Man(args) => man::run(args),
    }
}
