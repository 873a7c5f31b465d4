//! `potluck inspect`.

use std::num::NonZeroUsize;

use potluck::ModelRef;
use potluck::inspect::{Inspection, Memory, Shape, TypeShare, inspect};

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
    let report =
        inspect(&path, args.context, args.tensors).map_err(|error| obtain::naming(&path, error))?;
    if args.json {
        output::json(&report)?
    } else {
        print(&report)?
    }
    Ok(Outcome::Done)
}

fn print(report: &Inspection) -> anyhow::Result<()> {
    for (name, value) in lines(report) {
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

/// What a line says, by its name.
type Line = (&'static str, String);

fn lines(report: &Inspection) -> Vec<Line> {
    let or = |value: &Option<String>, none: &str| value.clone().unwrap_or_else(|| none.to_owned());
    let (bytes, version) = (format::bytes(report.bytes), report.gguf_version);
    let tensors = format::count(report.tensor_count, "tensor");
    let millions = report.parameters as f64 / 1e6;
    let mut lines = vec![
        ("file", report.file.clone()),
        ("size", format!("{bytes}, GGUF version {version}")),
        ("name", or(&report.name, "not given")),
        ("architecture", or(&report.architecture, "not given")),
        ("parameters", format!("{millions:.1} million in {tensors}")),
    ];
    lines.extend(report.shape.iter().flat_map(shape_lines));
    lines.push(("tokenizer", or(&report.tokenizer, "none")));
    let template = match (&report.chat_template_problem, report.chat_template) {
        (Some(problem), _) => problem,
        (None, true) => "yes",
        (None, false) => "no: it only continues text",
    };
    lines.push(("chat template", template.to_owned()));
    lines.extend(report.types.iter().map(type_line));
    lines.extend(report.memory.iter().map(memory_line));
    if let Some(reason) = &report.unsupported {
        lines.push(("cannot be run", reason.clone()));
    }
    lines
}

fn shape_lines(shape: &Shape) -> [Line; 4] {
    let heads = format!(
        "{} heads, {} for keys and values",
        shape.heads, shape.kv_heads
    );
    let window = shape.sliding_window.map_or_else(String::new, |window| {
        let layers = shape.sliding_layers;
        format!("; {layers} of the layers see the last {window} only")
    });
    let (layers, wide) = (shape.layers, shape.head_dim);
    let (hidden, feed_forward) = (shape.d_model, shape.d_ff);
    [
        ("layers", format!("{layers} of {heads}, {wide} wide each")),
        (
            "widths",
            format!("{hidden} hidden, {feed_forward} feed-forward"),
        ),
        (
            "context",
            format!("{} positions at most{window}", shape.context),
        ),
        ("vocabulary", format::count(shape.vocabulary, "token")),
    ]
}

fn type_line(share: &TypeShare) -> Line {
    let tensors = format::count(share.tensors, "tensor");
    let bytes = format::bytes(share.bytes);
    (
        "type",
        format!("{:<5} {bytes:>9} in {tensors}", share.tensor_type),
    )
}

fn memory_line(memory: &Memory) -> Line {
    let [total, weights, kv] =
        [memory.total_bytes, memory.weights_bytes, memory.kv_bytes].map(format::bytes);
    let context = memory.context;
    (
        "memory",
        format!("{total} at {context} positions: {weights} weights (mapped), {kv} KV cache"),
    )
}
