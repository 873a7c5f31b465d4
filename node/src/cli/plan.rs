//! `potluck plan`.

use std::num::NonZeroUsize;
use std::time::Duration;

use potluck::Cancel;
use potluck::ModelRef;
use potluck::engine::{self, ModelError, context_of};
use potluck::home::Home;
use potluck::local::{PlacementView, PlanView, SessionRequest};
use serde::Serialize;

use super::nodes::{self, NodeArgs, Purpose};
use super::options::{NetworkOptions, at_least_one};
use super::together::{self, PlacementArgs};
use super::{Outcome, format, interrupt, obtain, output};

/// Show where a model's layers would run, and how fast
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// A name from `potluck models`, or a GGUF file
    #[arg(default_value_t)]
    model: ModelRef,
    #[command(flatten)]
    network: NetworkOptions,
    /// Positions to reserve memory for [default: 2048, or the model's own limit if lower]
    #[arg(long, short, value_name = "N", value_parser = at_least_one)]
    context: Option<NonZeroUsize>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    placement: PlacementArgs,
    #[command(flatten)]
    node: NodeArgs,
}

const EXAMPLES: &str = "\
Examples:
  potluck plan
  potluck plan big.gguf --objective throughput
  potluck plan --placement self:0..12,kitchen:12..30 --json";

#[derive(Serialize)]
struct Report {
    model: String,
    #[serde(flatten)]
    plan: PlanView,
}

pub(super) fn run(args: Args) -> anyhow::Result<Outcome> {
    let home = Home::from_environment()?;
    let cancel = interrupt::on_ctrl_c()?;
    let options = obtain::fetch_options(&args.network);
    let Some(path) = obtain::path(&args.model, &options, &cancel, false)? else {
        return Ok(Outcome::Interrupted);
    };
    // Checked before a node is started.
    let config = engine::check(&path).map_err(|error| obtain::naming(&path, error))?;
    obtain::tell_unused(&config);
    let context = context_of(&config, args.context);
    if context > config.context {
        let (asked, limit) = (context, config.context);
        return Err(ModelError::ContextTooLong { asked, limit }.into());
    }
    let request = together::request(&path, context, &args.placement)?;
    let plan = nodes::again_if_lost(|| plan_once(&home, &args.node, request.clone(), &cancel))?;
    if args.json {
        output::json(&Report {
            model: args.model.to_string(),
            plan,
        })?;
    } else {
        print(&plan)?;
    }
    Ok(Outcome::Done)
}

fn plan_once(
    home: &Home,
    args: &NodeArgs,
    request: SessionRequest,
    cancel: &Cancel,
) -> anyhow::Result<PlanView> {
    let mut connected = nodes::connect(home, args, Purpose::Planning, None, cancel)?;
    if connected.own.is_some() {
        nodes::wait_for_peers(&mut connected.client, Duration::from_secs(3), cancel)?;
    }
    Ok(connected.client.plan(request)?)
}

fn print(plan: &PlanView) -> anyhow::Result<()> {
    print_placement(&plan.best)?;
    output::line("")?;
    let rate = |placement: &PlacementView| format::rate(placement.tokens_per_s);
    match (&plan.alone, &plan.alone_impossible) {
        (Some(alone), _) => output::line(&format!("alone: {}", rate(alone)))?,
        (None, Some(why)) => output::line(&format!("alone: {why}"))?,
        (None, None) => {}
    }
    for (devices, placement) in (1..).zip(&plan.by_devices) {
        let told = placement.as_ref().map_or("not possible".to_owned(), rate);
        output::line(&format!(
            "over {}: {told}",
            format::count(devices, "device")
        ))?;
    }
    for unused in &plan.unused {
        let name = if unused.this_device {
            "self"
        } else {
            &unused.name
        };
        output::line(&format!("not used: {name}: {}", unused.reason))?;
    }
    for line in plan.caveats.in_words(&format::bytes) {
        output::line(&format!("this device: {line}"))?;
    }
    Ok(())
}

fn print_placement(placement: &PlacementView) -> anyhow::Result<()> {
    let width = placement.stages.iter().map(|s| s.name.chars().count());
    let width = width.max().unwrap_or(0).max("device".len());
    output::line(&format!(
        "{:width$}  {:>9}  {:>9}  {:>9}",
        "device", "layers", "memory", "a step"
    ))?;
    let ends = format::bytes(placement.ends_memory_bytes);
    output::line(&format!(
        "{:width$}  {:>9}  {ends:>9}  {:>6.2} ms  (embedding and head)",
        "self", "", placement.ends_ms
    ))?;
    for stage in &placement.stages {
        let layers = format!("{}..{}", stage.first_layer, stage.end_layer);
        let memory = format::bytes(stage.memory_bytes);
        let name = if stage.this_device {
            "self"
        } else {
            &stage.name
        };
        let fetch = fetch(stage.fetch_bytes, stage.fetch_s);
        let fetch = fetch.map_or_else(String::new, |fetch| format!("  ({fetch})"));
        output::line(&format!(
            "{name:width$}  {layers:>9}  {memory:>9}  {:>6.2} ms{fetch}",
            stage.ms
        ))?;
    }
    for hop in &placement.hops {
        output::line(&format!("{} → {}: {:.2} ms", hop.from, hop.to, hop.ms))?;
    }
    output::line(&format!(
        "{} predicted",
        format::rate(placement.tokens_per_s)
    ))?;
    Ok(())
}

/// What a device has to fetch first; empty if it has everything.
fn fetch(bytes: Option<u64>, seconds: Option<f64>) -> Option<String> {
    let Some(bytes) = bytes else {
        return Some("weights to fetch first: unknown".to_owned());
    };
    let time = seconds.map_or_else(|| "how long is unknown".to_owned(), format::about);
    (bytes > 0).then(|| format!("fetches {} first: {time}", format::bytes(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_says_what_is_to_be_fetched_first() {
        let words = |bytes, seconds| fetch(bytes, seconds).unwrap_or_default();
        assert_eq!(words(Some(0), Some(0.0)), "");
        assert_eq!(
            words(Some(80_300_000), Some(16.1)),
            "fetches 80.3 MB first: about 16 s"
        );
        assert_eq!(
            words(Some(80_300_000), None),
            "fetches 80.3 MB first: how long is unknown"
        );
        assert_eq!(words(None, None), "weights to fetch first: unknown");
    }
}
