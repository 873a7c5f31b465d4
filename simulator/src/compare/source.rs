//! Sources of the runs to compare.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::Record;
use crate::report::Summary;
use crate::sweep::Line;

/// What pairs runs: what was set in them, and their seed.
pub type Key = (BTreeMap<String, String>, u64);

/// Runs of one kind.
#[derive(Debug, Clone, PartialEq)]
pub struct Results {
    /// What they are called.
    pub name: String,
    /// Their figures.
    pub runs: BTreeMap<Key, Summary>,
}

/// Why there is nothing to compare.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// A file cannot be read.
    #[error("{path}: {why}")]
    File {
        /// Its path.
        path: String,
        /// Why.
        why: std::io::Error,
    },
    /// A file has no results.
    #[error(
        "{path}: no results of potluck-sim ({words}): name a scenario (.toml), what `run --json` or \
         `run --record` wrote, or lines of a sweep"
    )]
    NoResults {
        /// Its path.
        path: String,
        /// What was met.
        words: String,
    },
}

impl Results {
    /// Of lines of a sweep that have the same set in them, so that they are paired with any others by
    /// their seed alone.
    pub fn by_seed(name: &str, lines: impl IntoIterator<Item = Line>) -> Self {
        let run = |line: Line| ((BTreeMap::new(), line.seed), line.summary);
        Self {
            name: name.to_owned(),
            runs: lines.into_iter().map(run).collect(),
        }
    }
}

/// Reads results: a summary or a record, or lines of them or of a sweep.
///
/// # Errors
/// [`SourceError`].
pub fn read(path: &Path) -> Result<Results, SourceError> {
    let name = path.display().to_string();
    let text = fs::read_to_string(path).map_err(|why| SourceError::File {
        path: name.clone(),
        why,
    })?;
    let no_results = |words: String| SourceError::NoResults {
        path: name.clone(),
        words,
    };
    let mut runs = BTreeMap::new();
    for value in serde_json::Deserializer::from_str(&text).into_iter::<Value>() {
        let value = value.map_err(|error| no_results(error.to_string()))?;
        let (key, summary) = result(value).map_err(&no_results)?;
        runs.insert(key, summary);
    }
    if runs.is_empty() {
        return Err(no_results("it is empty".to_owned()));
    }
    let stem = path
        .file_stem()
        .map(|stem| stem.to_string_lossy().into_owned());
    Ok(Results {
        name: stem.unwrap_or(name),
        runs,
    })
}

fn result(value: Value) -> Result<(Key, Summary), String> {
    fn read<T: DeserializeOwned>(value: Value) -> Result<T, String> {
        serde_json::from_value(value).map_err(|error| error.to_string())
    }
    if value.get("summary").is_some() {
        let line: Line = read(value)?;
        return Ok(((line.set, line.seed), line.summary));
    }
    let summary: Summary = match value.get("sessions") {
        Some(Value::Array(_)) => Summary::of(&read::<Record>(value)?),
        _ => read(value)?,
    };
    Ok(((BTreeMap::new(), summary.seed), summary))
}
