//! The `potluck-sim` command.
#![forbid(unsafe_code)]

fn main() {}
