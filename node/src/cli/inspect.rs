//! `potluck inspect`.

use std::num::NonZeroUsize;

use potluck::ModelRef;
use potluck::inspect::{Inspection, inspect};

use super::options::NetworkOptions;
use super::{Outcome, format, interrupt, obtain, output};

/// Show what a model file holds and the memory it needs
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// A name from `potluck models`, or a GGUF file
    #[arg(default_value_t)]
    model: ModelRef,
    /// Positions to state the memory for [default: 2048, or the model's own limit if lower]
    #[arg(long, short, value_name = "N")]
    context: Option<NonZeroUsize>,
    /// List every tensor
    #[arg(long)]
    tensors: bool,
    #[command(flatten)]
    network: NetworkOptions,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Print nothing but the report and errors
    #[arg(long, short)]
    quiet: bool,
}

const EXAMPLES: &str = "\
Examples:
  potluck inspect
  potluck inspect gemma3:270m --context 32768
  potluck inspect ./model.gguf --tensors --json";

pub(super) fn run(args: Args) -> anyhow::Result<Outcome> {
    let cancel = interrupt::on_ctrl_c()?;
    let options = obtain::fetch_options(&args.network);
    let Some(path) = obtain::path(&args.model, &options, &cancel, args.quiet)? else {
        return Ok(Outcome::Interrupted);
    };
    let report = inspect(&path, args.context.map(NonZeroUsize::get), args.tensors)
        .map_err(|error| obtain::naming(&path, error))?;
    if args.json {
        output::json(&report)?
    } else {
        print(&report)?
    }
    Ok(Outcome::Done)
}

fn print(report: &Inspection) -> anyhow::Result<()> {
    let mut lines = vec![
        ("file", report.file.clone()),
        (
            "size",
            format!(
                "{}, GGUF version {}",
                format::bytes(report.bytes),
                report.gguf_version
            ),
        ),
        (
            "name",
            report
                .name
                .clone()
                .unwrap_or_else(|| "not given".to_owned()),
        ),
        (
            "architecture",
            report
                .architecture
                .clone()
                .unwrap_or_else(|| "not given".to_owned()),
        ),
        (
            "parameters",
            format!(
                "{:.1} million in {}",
                report.parameters as f64 / 1e6,
                format::count(report.tensor_count, "tensor")
            ),
        ),
    ];
    if let Some(shape) = &report.shape {
        let heads = format!(
            "{} heads, {} for keys and values",
            shape.heads, shape.kv_heads
        );
        lines.push((
            "layers",
            format!("{} of {heads}, {} wide each", shape.layers, shape.head_dim),
        ));
        lines.push((
            "widths",
            format!("{} hidden, {} feed-forward", shape.d_model, shape.d_ff),
        ));
        let window = shape.sliding_window.map_or_else(String::new, |window| {
            format!(
                "; {} of the layers see the last {window} only",
                shape.sliding_layers
            )
        });
        lines.push((
            "context",
            format!("{} positions at most{window}", shape.context),
        ));
        lines.push(("vocabulary", format::count(shape.vocabulary, "token")));
    }
    lines.push((
        "tokenizer",
        report
            .tokenizer
            .clone()
            .unwrap_or_else(|| "none".to_owned()),
    ));
    let template = if report.chat_template {
        "yes"
    } else {
        "no: it only continues text"
    };
    lines.push(("chat template", template.to_owned()));
    for share in &report.types {
        let tensors = format::count(share.tensors, "tensor");
        let bytes = format::bytes(share.bytes);
        lines.push((
            "type",
            format!("{:<5} {bytes:>9} in {tensors}", share.tensor_type),
        ));
    }
    if let Some(memory) = &report.memory {
        let [total, weights, kv] =
            [memory.total_bytes, memory.weights_bytes, memory.kv_bytes].map(format::bytes);
        let context = memory.context;
        lines.push((
            "memory",
            format!("{total} at {context} positions: {weights} weights (mapped), {kv} KV cache"),
        ));
    }
    if let Some(reason) = &report.unsupported {
        lines.push(("cannot be run", reason.clone()));
    }
    for (name, value) in lines {
        output::line(&format!("{name:<14}{value}"))?;
    }
    for tensor in report.tensors.iter().flatten() {
        let dimensions: Vec<_> = tensor.dimensions.iter().map(u64::to_string).collect();
        let (dimensions, bytes) = (dimensions.join(" × "), format::bytes(tensor.bytes));
        output::line(&format!(
            "{:<28} {:<5} {bytes:>9}  {dimensions}",
            tensor.name, tensor.tensor_type
        ))?;
    }
    Ok(())
}
