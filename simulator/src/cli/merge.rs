//! `potluck-sim merge`.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::ValueEnum;
use potluck_sim::sweep::{self, Line, Merged, Missing, groups, merge, read_lines};

use super::{EXIT_FINDING, output, sweep as swept};

/// Combine the results of a sweep's parts, and report what is missing
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Files that `sweep --out` wrote
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Output format
    #[arg(long = "as", value_name = "FORM", value_enum, default_value_t = Form::Lines)]
    form: Form,
    /// Write to this file instead of stdout
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  potluck-sim merge part-*.jsonl --out all.jsonl
  potluck-sim merge part-*.jsonl --as table
  potluck-sim merge part-*.jsonl --as html --out sweep.html

Exit codes: 0, 1 for a failure or a violation, 3 if runs are missing.";

/// Output formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    /// Lines of JSON, as the files themselves
    Lines,
    /// A table of means over seeds
    Table,
    /// The same for documents
    Markdown,
    /// Comma-separated values, a row a run
    Csv,
    /// A page with plots
    Html,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let mut lines = Vec::new();
    for file in &args.files {
        lines.append(&mut read_lines(file)?);
    }
    let merged = merge(lines)?;
    let text = written(&merged.lines, args.form)?;
    match &args.out {
        Some(path) => fs::write(path, text).with_context(|| path.display().to_string())?,
        None => output::write(&text)?,
    }
    Ok(told(&merged))
}

fn written(lines: &[Line], form: Form) -> anyhow::Result<String> {
    let name = lines.first().map_or("nothing", |line| &line.summary.name);
    Ok(match form {
        Form::Lines => lines.iter().map(Line::to_json).collect::<Result<_, _>>()?,
        Form::Table => sweep::table(&groups(lines)).to_text(),
        Form::Markdown => sweep::table(&groups(lines)).to_markdown(),
        Form::Csv => sweep::csv(lines),
        Form::Html => sweep::page(&format!("sweep of {name}"), &groups(lines))?,
    })
}

/// Reports repeated and missing runs.
fn told(merged: &Merged) -> ExitCode {
    let count = merged.lines.len();
    output::note(&format!(
        "{count} runs; {} lines were repeated",
        merged.repeated
    ));
    for Missing {
        sweep,
        runs,
        count,
        first,
    } in &merged.missing
    {
        let numbers: Vec<_> = first.iter().map(u64::to_string).collect();
        let more = if *count > first.len() as u64 {
            ", …"
        } else {
            ""
        };
        output::note(&format!(
            "missing {count} of the {runs} runs of sweep {sweep}: {}{more}; run the same sweep with \
             the same --out again, which runs only them",
            numbers.join(", ")
        ));
    }
    match merged.missing.is_empty() {
        true => swept::violations(&merged.lines),
        false => EXIT_FINDING.into(),
    }
}
