//! `potluck id`.

use potluck::device::Device;
use potluck::home::Home;
use serde::Serialize;

use super::{Outcome, output};

/// Show this device's id and name
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  potluck id
  potluck id --json";

#[derive(Serialize)]
struct Report {
    peer_id: String,
    name: String,
    members: usize,
}

pub(super) fn run(args: Args) -> anyhow::Result<Outcome> {
    let device = Device::open(&Home::from_environment()?)?;
    let report = Report {
        peer_id: device.peer_id().to_string(),
        name: device.name.as_str().to_owned(),
        members: device.circle.member_count(),
    };
    if args.json {
        output::json(&report)?;
    } else {
        output::line(&format!("{}  {}", report.peer_id, report.name))?;
    }
    Ok(Outcome::Done)
}
