//! `potluck models`.

use potluck::catalogue::{self, CacheState, Entry, ModelsFolder};
use potluck::home::Home;
use potluck::packed_store::{PackedStore, PackedView};
use serde::Serialize;

use super::{Outcome, format, obtain, output};

/// List the models of the catalogue and which are on this device
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  potluck models
  potluck models --json";

#[derive(Serialize)]
struct Report {
    folder: String,
    models: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    name: &'static str,
    title: &'static str,
    file: &'static str,
    bytes: u64,
    sha256: String,
    licence: &'static str,
    licence_url: &'static str,
    /// `ready`, `unchecked`, `partial`, `damaged` or `absent`.
    state: &'static str,
    /// Bytes that are on this device.
    cached_bytes: u64,
    path: String,
    /// Its packed weights.
    packed: PackedView,
}

impl Row {
    fn of(entry: &'static Entry, store: &ModelsFolder, home: &Home) -> anyhow::Result<Self> {
        let (state, cached_bytes) = match store.state(entry)? {
            CacheState::Absent => ("absent", 0),
            CacheState::Partial { bytes } => ("partial", bytes),
            CacheState::Damaged { bytes } => ("damaged", bytes),
            CacheState::Unchecked => ("unchecked", entry.bytes),
            CacheState::Ready => ("ready", entry.bytes),
        };
        Ok(Self {
            name: entry.name,
            title: entry.title,
            file: entry.file,
            bytes: entry.bytes,
            sha256: entry.sha256.to_string(),
            licence: entry.licence,
            licence_url: entry.licence_url,
            state,
            cached_bytes,
            packed: PackedStore::view(home, &store.path(entry)),
            path: store.path(entry).display().to_string(),
        })
    }

    fn state_for_people(&self) -> String {
        match self.state {
            "ready" | "unchecked" if self.packed.bytes > 0 => {
                format!("here, {} packed", format::bytes(self.packed.bytes))
            }
            "ready" | "unchecked" => "on this device".to_owned(),
            "partial" => format!("{} fetched", format::bytes(self.cached_bytes)),
            "damaged" => "damaged".to_owned(),
            _ => "not fetched".to_owned(),
        }
    }
}

pub(super) fn run(args: Args) -> anyhow::Result<Outcome> {
    let store = obtain::store()?;
    let home = Home::from_environment()?;
    let models = catalogue::entries()
        .iter()
        .map(|entry| Row::of(entry, &store, &home))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let report = Report {
        folder: store.folder().display().to_string(),
        models,
    };
    if args.json {
        output::json(&report)?;
        return Ok(Outcome::Done);
    }
    output::line(&format!(
        "{:<14} {:>9}  {:<21} {:<20} TITLE",
        "NAME", "SIZE", "STATE", "LICENCE"
    ))?;
    for row in &report.models {
        let Row {
            name,
            title,
            bytes,
            licence,
            ..
        } = row;
        let (size, state) = (format::bytes(*bytes), row.state_for_people());
        output::line(&format!(
            "{name:<14} {size:>9}  {state:<21} {licence:<20} {title}"
        ))?;
    }
    output::line(&format!("\nstored in {}", report.folder))?;
    for row in &report.models {
        if let Some(problem) = &row.packed.problem {
            output::line(&format!("{} is not packed whole: {problem}", row.name))?;
        }
    }
    Ok(Outcome::Done)
}
