//! `potluck synth`.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use indicatif::ProgressBar;
use potluck::{Cancel, disk};
use potluck_model::gguf::part_path;
use potluck_model::gguf::synth::{Architecture, PRESETS, SynthPart, SynthSpec, TypeMix};
use serde::Serialize;

use super::failure::{self, Code};
use super::{Outcome, format, interrupt, output};

/// Write a GGUF file with random weights, for tests and measurements
#[derive(Debug, clap::Args)]
#[command(after_help = examples())]
pub(super) struct Args {
    /// The file to write
    file: PathBuf,
    /// The shape to start from
    #[arg(long, value_name = "NAME", default_value = "tiny", value_parser = PRESETS)]
    preset: String,
    /// Types of the matrices: Q4_K, or Q4_K,embedding=Q8_0,ffn_down=Q6_K
    #[arg(long, value_name = "TYPES")]
    types: Option<TypeMix>,
    /// llama, qwen2, qwen3 or gemma3; needs a preset of that architecture for its special parts
    #[arg(long, value_name = "NAME", value_parser = architecture)]
    architecture: Option<Architecture>,
    /// Transformer blocks
    #[arg(long, value_name = "N")]
    layers: Option<u32>,
    /// Length of a hidden state
    #[arg(long, value_name = "N")]
    d_model: Option<u32>,
    /// Query heads
    #[arg(long, value_name = "N")]
    heads: Option<u32>,
    /// Key and value heads, a divisor of the query heads
    #[arg(long, value_name = "N")]
    kv_heads: Option<u32>,
    /// Length of a head
    #[arg(long, value_name = "N")]
    head_dim: Option<u32>,
    /// Length of the feed-forward part's inner state
    #[arg(long, value_name = "N")]
    d_ff: Option<u32>,
    /// Number of tokens
    #[arg(long, value_name = "N")]
    vocabulary: Option<u32>,
    /// Context length that the file states
    #[arg(long, value_name = "N")]
    context: Option<u32>,
    /// Positions that local layers see (gemma3)
    #[arg(long, value_name = "N")]
    sliding_window: Option<u32>,
    /// Give the head weights of its own instead of the embedding's
    #[arg(long)]
    untied: bool,
    /// Chooses the weights; the same arguments give the same file
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Write so many files, FILE-00001-of-0000N.gguf and on, as large models are published
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    split: u32,
    /// Replace the file if it exists
    #[arg(long)]
    force: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Print nothing but errors
    #[arg(long, short)]
    quiet: bool,
}

fn examples() -> String {
    format!(
        "\
Examples:
  potluck synth tiny.gguf
  potluck synth big.gguf --preset llama-3.2-1b --types Q4_K,embedding=Q6_K
  potluck synth parts.gguf --split 3
  potluck synth odd.gguf --layers 5 --d-model 512 --heads 16 --kv-heads 2 --seed 3

The text such a model gives means nothing. Presets: {}.",
        PRESETS.join(", ")
    )
}

fn architecture(name: &str) -> Result<Architecture, String> {
    Architecture::from_name(name).ok_or_else(|| "use llama, qwen2, qwen3 or gemma3".to_owned())
}

#[derive(Serialize)]
struct Report {
    file: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    files: Vec<String>,
    bytes: u64,
    parameters: u64,
    tensors: usize,
}

pub(super) fn run(args: Args) -> anyhow::Result<Outcome> {
    run_checked(args).map_err(|error| failure::of_kind(Code::Input, error))
}

fn run_checked(args: Args) -> anyhow::Result<Outcome> {
    let spec = spec(&args)?;
    check_parameters(&spec)?;
    let count = args.split;
    let parts = (0..count).map(|number| {
        let part = SynthPart { number, count };
        let path = match count {
            1 => args.file.clone(),
            _ => part_path(&args.file, number + 1, count),
        };
        Ok((part, path, spec.part_summary(part)?.bytes))
    });
    let parts: Vec<_> = parts.collect::<anyhow::Result<_>>()?;
    for (_, path, _) in &parts {
        ensure!(
            args.force || !path.exists(),
            "{} exists: choose another name, or replace it with --force",
            path.display()
        );
    }
    let bytes = parts.iter().map(|(_, _, bytes)| bytes).sum();
    check_room(&args.file, bytes)?;
    let cancel = interrupt::on_ctrl_c()?;
    let bar = output::byte_bar(bytes, !args.quiet).with_message("writing");
    let written = parts
        .iter()
        .try_for_each(|(part, path, _)| write(&spec, *part, path, &bar, &cancel));
    bar.finish_and_clear();
    match written {
        Err(_) if cancel.is_cancelled() => return Ok(Outcome::Interrupted),
        written => written?,
    }
    report(&args, &spec, &parts, bytes)?;
    Ok(Outcome::Done)
}

/// More than any model has, and far from where sizes overflow.
const MOST_PARAMETERS: f64 = 1e13;

/// Refuses a shape that no disk holds. Each number of it may be within its own bounds.
fn check_parameters(spec: &SynthSpec) -> anyhow::Result<()> {
    let [layers, d_model, d_ff] = [spec.layers, spec.d_model, spec.d_ff].map(f64::from);
    let heads = 2.0 * (f64::from(spec.heads) + f64::from(spec.kv_heads));
    let attention = heads * f64::from(spec.head_dim) * d_model;
    let ends = 2.0 * f64::from(spec.vocabulary) * d_model;
    let parameters = layers * (attention + 3.0 * d_ff * d_model) + ends;
    ensure!(
        parameters <= MOST_PARAMETERS,
        "a model of this shape has {parameters:.1e} parameters, the most is {MOST_PARAMETERS:.0e}: \
         choose smaller numbers"
    );
    Ok(())
}

/// Refuses a file that its disk has no room for, where the system says how much there is.
fn check_room(file: &Path, bytes: u64) -> anyhow::Result<()> {
    let folder = file.parent().filter(|folder| *folder != Path::new(""));
    let folder = folder.unwrap_or(Path::new("."));
    let Some(free) = disk::free_bytes(folder) else {
        return Ok(());
    };
    ensure!(
        bytes <= free,
        "{} needs {}, and its disk has {} free: choose a smaller shape or another disk",
        file.display(),
        format::bytes(bytes),
        format::bytes(free)
    );
    Ok(())
}

fn report(
    args: &Args,
    spec: &SynthSpec,
    parts: &[(SynthPart, PathBuf, u64)],
    bytes: u64,
) -> anyhow::Result<()> {
    let whole = spec.summary()?;
    let paths = parts.iter().map(|(_, path, _)| path.display().to_string());
    let mut files: Vec<_> = paths.collect();
    if args.json {
        return output::json(&Report {
            file: files[0].clone(),
            files: if files.len() > 1 { files } else { Vec::new() },
            bytes,
            parameters: whole.parameters,
            tensors: whole.tensors,
        });
    }
    if args.quiet {
        return Ok(());
    }
    let file = files.swap_remove(0);
    let more = match parts.len() {
        1 => String::new(),
        count => format!(" and {} more", count - 1),
    };
    output::line(&format!(
        "{file}{more}: {}, {:.1} million parameters in {}",
        format::bytes(bytes),
        whole.parameters as f64 / 1e6,
        format::count(whole.tensors, "tensor"),
    ))?;
    Ok(())
}

/// The preset with the arguments' changes.
fn spec(args: &Args) -> anyhow::Result<SynthSpec> {
    let Some(mut spec) = SynthSpec::preset(&args.preset) else {
        bail!(
            "there is no preset \"{}\": use one of {}",
            args.preset,
            PRESETS.join(", ")
        );
    };
    fn set<T: Copy>(field: &mut T, value: Option<T>) {
        *field = value.unwrap_or(*field);
    }
    set(&mut spec.architecture, args.architecture);
    set(&mut spec.layers, args.layers);
    set(&mut spec.d_model, args.d_model);
    set(&mut spec.heads, args.heads);
    set(&mut spec.kv_heads, args.kv_heads);
    set(&mut spec.head_dim, args.head_dim);
    set(&mut spec.d_ff, args.d_ff);
    set(&mut spec.vocabulary, args.vocabulary);
    set(&mut spec.context, args.context);
    spec.sliding_window = args.sliding_window.or(spec.sliding_window);
    if let Some(types) = &args.types {
        spec.types = types.clone();
    }
    spec.tied &= !args.untied;
    spec.seed = args.seed;
    Ok(spec)
}

/// Writes beside the file and then renames, so that a file of this name is always whole.
fn write(
    spec: &SynthSpec,
    part: SynthPart,
    path: &Path,
    bar: &ProgressBar,
    cancel: &Cancel,
) -> anyhow::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".partial");
    let partial = PathBuf::from(name);
    let context = || format!("cannot write {}", path.display());
    let outcome = File::create(&partial)
        .map_err(anyhow::Error::from)
        .and_then(|file| {
            let mut out = BufWriter::with_capacity(1 << 20, Watched { file, bar, cancel });
            spec.write_part(part, &mut out)?;
            out.flush()?;
            fs::rename(&partial, path)?;
            Ok(())
        });
    if outcome.is_err() {
        // It may never have come to exist.
        let _ = fs::remove_file(&partial);
    }
    outcome.with_context(context)
}

/// A file that shows its growth and stops when told to.
struct Watched<'a> {
    file: File,
    bar: &'a ProgressBar,
    cancel: &'a Cancel,
}

impl Write for Watched<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.cancel.is_cancelled() {
            // Not `Interrupted`, which means "try again" to every caller.
            return Err(io::Error::other("stopped"));
        }
        let written = self.file.write(bytes)?;
        self.bar.inc(written as u64);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
