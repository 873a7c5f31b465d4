//! `potluck inspect`.

use std::num::NonZeroUsize;

use potluck::ModelRef;
use potluck::home::Home;
use potluck::inspect::{Inspection, Memory, Shape, TypeShare, inspect};

use potluck::packed_store::{PackedStore, PackedView};

use super::options::{NetworkOptions, at_least_one};
use super::{Outcome, format, interrupt, obtain, output};

/// Show what a model file holds and the memory it needs, or why it cannot be run
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// A name from `potluck models`, or a GGUF file
    #[arg(default_value_t)]
    model: ModelRef,
    /// Positions to state the memory for [default: 2048, or the model's own limit if lower]
    #[arg(long, short, value_name = "N", value_parser = at_least_one)]
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
    let report = inspect(&path, args.context, args.tensors);
    let report = Inspection {
        packed: PackedStore::view(&Home::from_environment()?, &path),
        ..report.map_err(|error| obtain::naming(&path, error))?
    };
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
        let (dimensions, bytes) = (dimensions.join(" × "), known_bytes(tensor.bytes));
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
    let mut lines = vec![("file", report.file.clone())];
    if !report.runs {
        lines.push(("runs", "no, for the reasons at the end".to_owned()));
    }
    let parts = report.files.iter();
    lines.extend(parts.map(|part| {
        let bytes = format::bytes(part.bytes);
        ("part", format!("{bytes:>9} in {}", part.file))
    }));
    lines.extend([
        ("size", format!("{bytes}, GGUF version {version}")),
        ("name", or(&report.name, "not given")),
        ("architecture", or(&report.architecture, "not given")),
        ("parameters", format!("{millions:.1} million in {tensors}")),
    ]);
    lines.extend(shape_lines(&report.shape));
    let pre = report.pre_tokenizer.iter();
    let pre = pre.map(|pre| format!(", words cut as {pre}"));
    let tokenizer = or(&report.tokenizer, "none");
    lines.push(("tokenizer", tokenizer + &pre.collect::<String>()));
    let template = match report.chat_template {
        true => "yes",
        false => "no: it only continues text",
    };
    lines.push(("chat template", template.to_owned()));
    lines.extend(report.types.iter().map(type_line));
    lines.extend(report.memory.iter().map(memory_line));
    lines.extend(packed_lines(&report.packed, report.shape.layers));
    let settings = report.settings.iter();
    lines.extend(settings.map(|(key, value)| ("setting", format!("{key} = {value}"))));
    lines.extend(report.warnings.iter().map(|why| ("warning", why.clone())));
    lines.extend(
        report
            .reasons
            .iter()
            .map(|why| ("cannot be run", why.clone())),
    );
    lines
}

/// Of what the file says.
fn shape_lines(shape: &Shape) -> Vec<Line> {
    let mut lines = Vec::new();
    let with = |words: Vec<Option<String>>| {
        let words: Vec<_> = words.into_iter().flatten().collect();
        (!words.is_empty()).then(|| words.join(", "))
    };
    let heads = shape.heads.map(|heads| match shape.layers {
        Some(layers) => format!("{layers}, each with {heads} heads"),
        None => format!("{heads} heads"),
    });
    let layers = heads.or_else(|| shape.layers.map(|layers| layers.to_string()));
    let kv_heads = shape.kv_heads.map(|kv| format!("{kv} of keys and values"));
    let wide = shape.head_dim.map(|wide| format!("each head {wide} wide"));
    lines.extend(with(vec![layers, kv_heads, wide]).map(|words| ("layers", words)));
    let hidden = shape.d_model.map(|hidden| format!("{hidden} hidden"));
    let feed_forward = shape.d_ff.map(|width| format!("{width} feed-forward"));
    lines.extend(with(vec![hidden, feed_forward]).map(|words| ("widths", words)));
    let window = shape.sliding_window.filter(|_| shape.sliding_layers > 0);
    let window = window.map_or_else(String::new, |window| {
        let layers = shape.sliding_layers;
        format!("; {layers} of the layers see the last {window} only")
    });
    let context = shape.context;
    lines.extend(context.map(|most| ("context", format!("{most} positions at most{window}"))));
    let tokens = shape.vocabulary;
    lines.extend(tokens.map(|tokens| ("vocabulary", format::count(tokens, "token"))));
    lines
}

fn type_line(share: &TypeShare) -> Line {
    let tensors = format::count(share.tensors, "tensor");
    let bytes = known_bytes(share.bytes);
    let remark = match (share.supported, share.block) {
        (true, _) if share.slow_until_packed => {
            ", slow until packed (then 4.6 bits a weight in memory)".to_owned()
        }
        (true, _) => String::new(),
        (false, Some([elements, bytes])) => {
            let each = format::count(elements as usize, "element");
            format!(", not supported (blocks of {each} in {bytes} bytes)")
        }
        (false, None) => ", not supported (its layout is not known)".to_owned(),
    };
    (
        "type",
        format!("{:<7} {bytes:>9} in {tensors}{remark}", share.tensor_type),
    )
}

fn known_bytes(bytes: Option<u64>) -> String {
    bytes.map_or_else(|| "?".to_owned(), format::bytes)
}

fn packed_lines(packed: &PackedView, layers: Option<usize>) -> Vec<Line> {
    let mut lines = Vec::new();
    if packed.bytes > 0 {
        let bytes = format::bytes(packed.bytes);
        let of = layers.map_or_else(String::new, |layers| format!(" of {layers}"));
        let head = match packed.head {
            true => "and the head",
            false => "not the head",
        };
        let count = packed.layers;
        lines.push(("packed", format!("{bytes}: {count}{of} layers, {head}")));
    }
    let problem = packed.problem.iter();
    lines.extend(problem.map(|why| ("not packed", why.clone())));
    lines
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
