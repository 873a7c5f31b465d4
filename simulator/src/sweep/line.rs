//! Results as lines of JSON.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::SweepError;
use super::grid::{Run, Sweep};
use crate::report::Summary;

/// The result of a run, whole in itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// The [`id`](Sweep::id) of the sweep.
    pub sweep: String,
    /// The run's number in it.
    pub index: u64,
    /// How many runs the sweep has.
    pub runs: u64,
    /// The run's [`fingerprint`](Run::fingerprint).
    pub fingerprint: String,
    /// What was set.
    pub set: BTreeMap<String, String>,
    /// The seed.
    pub seed: u64,
    /// The figures.
    pub summary: Summary,
}

impl Line {
    /// Of a run.
    pub fn new(sweep: &Sweep, run: Run, summary: Summary) -> Self {
        Self {
            sweep: sweep.id().to_owned(),
            index: run.index as u64,
            runs: sweep.runs() as u64,
            fingerprint: run.fingerprint,
            set: run.set,
            seed: run.scenario.seed,
            summary,
        }
    }

    /// As one line, its end included.
    ///
    /// # Errors
    /// If it cannot be written as JSON.
    pub fn to_json(&self) -> io::Result<String> {
        Ok(serde_json::to_string(self)? + "\n")
    }
}

/// Reads all lines of a file. A last one that is not whole, as of a run that was cut off, is left out.
///
/// # Errors
/// [`SweepError`], which names file and line.
pub fn read_lines(path: &Path) -> Result<Vec<Line>, SweepError> {
    let mut file = File::open(path).map_err(|why| SweepError::file(path, why))?;
    Ok(whole_lines(path, &mut file)?.0)
}

/// The whole lines of a file, and how many bytes they are.
fn whole_lines(path: &Path, file: &mut File) -> Result<(Vec<Line>, u64), SweepError> {
    let mut text = String::new();
    let read = file.read_to_string(&mut text);
    read.map_err(|why| SweepError::file(path, why))?;
    let whole = text.rfind('\n').map_or(0, |end| end + 1);
    let mut lines = Vec::new();
    for (number, line) in (1..).zip(text[..whole].lines()) {
        if line.trim().is_empty() {
            continue;
        }
        let line = serde_json::from_str(line).map_err(|error| SweepError::NotALine {
            path: path.display().to_string(),
            line: number,
            words: error.to_string(),
        })?;
        lines.push(line);
    }
    Ok((lines, whole as u64))
}

/// A file that results are added to, line by line.
#[derive(Debug)]
pub struct Lines {
    path: PathBuf,
    file: File,
}

impl Lines {
    /// Opens a file, or makes it, and reads what it has. A last line that is not whole is cut off.
    ///
    /// # Errors
    /// [`SweepError`].
    pub fn open(path: &Path) -> Result<(Self, Vec<Line>), SweepError> {
        let failed = |why| SweepError::file(path, why);
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(path).map_err(failed)?;
        let (lines, whole) = whole_lines(path, &mut file)?;
        file.set_len(whole).map_err(failed)?;
        file.seek(io::SeekFrom::End(0)).map_err(failed)?;
        let path = path.to_owned();
        Ok((Self { path, file }, lines))
    }

    /// Adds a line, at once and whole.
    ///
    /// # Errors
    /// [`SweepError::File`].
    pub fn add(&mut self, line: &Line) -> Result<(), SweepError> {
        let json = line.to_json();
        let written = json.and_then(|json| self.file.write_all(json.as_bytes()));
        written.map_err(|why| SweepError::file(&self.path, why))
    }
}
