//! Waits for the engine.

use super::Outcome;

/// To come with the engine
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

pub(super) fn run(_args: Args) -> anyhow::Result<Outcome> {
    anyhow::bail!("the engine is not there yet")
}
