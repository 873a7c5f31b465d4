//! `potluck-sim profiles`.

use std::process::ExitCode;

use potluck_sim::profiles::{library, load};
use potluck_sim::quantisation::Format;

use super::output;

/// List the devices that scenarios can name
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Show one profile and the source of its numbers: a name, or the path of a file
    name: Option<String>,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if let Some(name) = &args.name {
        let hardware = load(name)?;
        output::line(&format!("{}: {}", hardware.name, hardware.words));
        output::line(&hardware.source);
        for (format, speed) in &hardware.decode {
            let rate = speed.per_second() as f64 / 1e9;
            output::line(&format!("  decode {format:<5} {rate:6.1} GB/s"));
        }
        let prefill = hardware.prefill.per_second() as f64 / 1e9;
        output::line(&format!("  prefill {prefill:10.1} billion multiply-adds/s"));
        output::line(&format!("  memory  {:>10}", hardware.memory));
        return Ok(ExitCode::SUCCESS);
    }
    for (name, _) in library() {
        let hardware = load(name)?;
        let rate = hardware.decode.get(&Format::Q4_0);
        let rate = rate.map_or(0.0, |speed| speed.per_second() as f64 / 1e9);
        let memory = hardware.memory.to_string();
        let words = &hardware.words;
        output::line(&format!(
            "{name:<18}{rate:5.1} GB/s at 4 bits  {memory:>8}  {words}"
        ));
    }
    Ok(ExitCode::SUCCESS)
}
