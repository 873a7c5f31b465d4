//! The `potluck` command.
#![forbid(unsafe_code)]

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    let code = cli::main();
    // Other threads may be at it.
    potluck::finish_writing();
    code
}
