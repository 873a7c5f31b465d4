//! Where a model's bytes lie, and reading them without mapping.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::{Gguf, GgufError, files_at};

/// Where the bytes of a model lie on the disk: in one file, or in several that are read as the one
/// that they would be when put together. Clones are cheap.
#[derive(Debug, Clone)]
pub struct Layout(Arc<Places>);

#[derive(Debug)]
pub(super) struct Places {
    /// Bytes that are in no file: the header of a split model.
    pub(super) header: Bytes,
    pub(super) files: Vec<PathBuf>,
    /// Ascending, not overlapping. What lies between is padding, and reads as zeros.
    pub(super) runs: Vec<Run>,
    pub(super) len: u64,
}

/// Bytes that lie together in one file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run {
    /// The first, in the model.
    pub(super) first: u64,
    pub(super) bytes: u64,
    /// Which file, and where in it.
    pub(super) file: usize,
    pub(super) offset: u64,
}

impl Layout {
    pub(super) fn new(places: Places) -> Self {
        Self(Arc::new(places))
    }

    /// Where the bytes of the model at `path` lie, which is opened only if it is named like one of
    /// several files.
    ///
    /// # Errors
    /// Those of [`Gguf::open`], and of looking at the file.
    pub fn at(path: &Path) -> Result<Self, GgufError> {
        if files_at(path).len() > 1 {
            return Ok(Gguf::open(path)?.layout());
        }
        let metadata = path.metadata().map_err(|source| GgufError::Open {
            path: path.into(),
            source,
        })?;
        Ok(Self::single(path, metadata.len()))
    }

    pub(super) fn single(path: &Path, len: u64) -> Self {
        let run = Run {
            first: 0,
            bytes: len,
            file: 0,
            offset: 0,
        };
        Self::new(Places {
            header: Bytes::new(),
            files: vec![path.to_owned()],
            runs: vec![run],
            len,
        })
    }

    /// The model's files, in order.
    pub fn files(&self) -> &[PathBuf] {
        &self.0.files
    }

    /// Opens the files, to read the model's bytes.
    ///
    /// # Errors
    /// The system does not open one of them.
    pub fn open(&self) -> io::Result<ModelReader> {
        let files = self.0.files.iter().map(File::open);
        Ok(ModelReader {
            files: files.collect::<Result<_, _>>()?,
            places: Arc::clone(&self.0),
            at: 0,
        })
    }
}

/// Reads a model's bytes, wherever they lie. Reading ends where a file does, even if the model should
/// go on.
#[derive(Debug)]
pub struct ModelReader {
    places: Arc<Places>,
    files: Vec<File>,
    at: u64,
}

impl Read for ModelReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let header = &self.places.header;
        let most = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX).min(into.len());
        let read = if let Some(rest) = header.get(self.at as usize..).filter(|r| !r.is_empty()) {
            let read = most(rest.len() as u64);
            into[..read].copy_from_slice(&rest[..read]);
            read
        } else {
            let runs = &self.places.runs;
            let next = runs.partition_point(|run| run.first + run.bytes <= self.at);
            match runs.get(next) {
                Some(run) if run.first <= self.at => {
                    let skipped = self.at - run.first;
                    let most = most(run.bytes - skipped);
                    let file = &mut self.files[run.file];
                    file.seek(SeekFrom::Start(run.offset + skipped))?;
                    file.read(&mut into[..most])?
                }
                next => {
                    let end = next.map_or(self.places.len, |run| run.first);
                    let most = most(end.saturating_sub(self.at));
                    into[..most].fill(0);
                    most
                }
            }
        };
        self.at += read as u64;
        Ok(read)
    }
}

impl Seek for ModelReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
            SeekFrom::End(by) => self.places.len.checked_add_signed(by),
        };
        self.at = at.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}
