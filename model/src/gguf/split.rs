//! Models that are split into several GGUF files, as llama.cpp's `gguf-split` splits them.
//!
//! The files are `NAME-00001-of-00003.gguf` and so on, in one folder. Each says `split.no` (from 0)
//! and `split.count`; the first has all other metadata, and `split.tensors.count` says how many
//! tensors all files have together. Tensors are never cut.
//!
//! Opened by any of its files, such a model is what `gguf-split --merge` would make of them: one
//! header, of the first file's metadata without the `split.*` keys and of all tensors, and the data
//! one tensor after the other. So offsets, and what a model is named by between devices, are those of
//! the single file, where it was written like most: tensors in the order of their data, each padded to
//! the alignment.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::split_error::{MOST_FILES, SplitError, ending};
use super::tensor::Entry;
use super::writer::{GgufWriter, RawTensor};
use super::{GgufError, Metadata};

/// Missing files that are named, at most.
const MOST_NAMED: usize = 4;
pub(super) const NUMBER: &str = "split.no";
pub(super) const COUNT: &str = "split.count";
pub(super) const TENSORS: &str = "split.tensors.count";

/// Which of a model's files one is, from 0, and of how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) number: u32,
    pub(super) count: u32,
}

impl Position {
    /// What the metadata says; `None` if the file is a whole model.
    pub(super) fn of(metadata: &Metadata) -> Result<Option<Self>, GgufError> {
        let count = metadata.u32(COUNT)?.unwrap_or(1);
        if count <= 1 {
            return Ok(None);
        }
        let number = metadata.require_u32(NUMBER)?;
        if number >= count || count > MOST_FILES {
            let part = u64::from(number) + 1;
            return Err(SplitError::Impossible { part, count }.into());
        }
        Ok(Some(Self { number, count }))
    }

    fn part(self) -> u32 {
        self.number + 1
    }
}

/// The path's start, and which part of how many its name says.
fn numbered(path: &Path) -> Option<(&str, u32, u32)> {
    let name = path.file_name()?.to_str()?.strip_suffix(".gguf")?;
    let (rest, count) = name.rsplit_once("-of-")?;
    let (start, part) = rest.rsplit_once('-')?;
    let number = |digits: &str| {
        let plain = digits.len() >= 5 && digits.bytes().all(|byte| byte.is_ascii_digit());
        digits.parse().ok().filter(|_| plain)
    };
    let (part, count): (u32, u32) = (number(part)?, number(count)?);
    let within = (1..=count).contains(&part) && (2..=MOST_FILES).contains(&count);
    within.then_some((start, part, count))
}

/// The files of the model at `path`, by its name: all parts in order if it is named like one of a
/// split model, else only itself. None need exist.
pub fn files_at(path: &Path) -> Vec<PathBuf> {
    match numbered(path) {
        None => vec![path.to_owned()],
        Some((start, _, count)) => (1..=count)
            .map(|part| path.with_file_name(format!("{start}{}", ending(part, count))))
            .collect(),
    }
}

/// What a part of a model is named, the whole of which would be at `path`; parts count from 1.
pub fn part_path(path: &Path, part: u32, count: u32) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let start = name.strip_suffix(".gguf").unwrap_or(&name);
    path.with_file_name(format!("{start}{}", ending(part, count)))
}

/// The files of the model of which `path` is this part.
pub(super) fn find(path: &Path, position: Position) -> Result<Vec<PathBuf>, SplitError> {
    let (part, count) = (position.part(), position.count);
    let named = numbered(path).map(|(_, part, count)| (part, count));
    if named != Some((part, count)) {
        return Err(SplitError::Name { part, count });
    }
    let files = files_at(path);
    let missing = files.iter().filter(|file| !file.exists());
    let names = missing.filter_map(|file| Some(file.file_name()?.to_string_lossy().into_owned()));
    let mut names: Vec<_> = names.collect();
    if names.is_empty() {
        return Ok(files);
    }
    if names.len() > MOST_NAMED {
        let more = names.len() - MOST_NAMED;
        names.truncate(MOST_NAMED);
        names.push(format!("{more} more"));
    }
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    Err(SplitError::Missing {
        count,
        names,
        folder: folder.to_owned(),
    })
}

/// Checks that the file at `path` is the part that it should be.
pub(super) fn check(path: &Path, metadata: &Metadata, should: Position) -> Result<(), GgufError> {
    let says = match Position::of(metadata) {
        Ok(says) => says.map(|says| (u64::from(says.part()), says.count)),
        Err(GgufError::Split(SplitError::Impossible { part, count })) => Some((part, count)),
        Err(other) => return Err(other),
    };
    let (part, count) = (should.part(), should.count);
    if says == Some((u64::from(part), count)) {
        return Ok(());
    }
    let path = path.to_owned();
    Err(SplitError::OtherPart {
        path,
        part,
        count,
        says,
    }
    .into())
}

/// A part's path, metadata and tensors.
pub(super) type Part<'a> = (&'a Path, &'a Metadata, &'a [Entry]);

/// Checks that the parts are one model's: no tensor twice, and as many as each says.
pub(super) fn check_together(parts: &[Part<'_>]) -> Result<(), GgufError> {
    let mut names = HashSet::new();
    for &(path, _, entries) in parts {
        if let Some(twice) = entries.iter().find(|entry| !names.insert(&entry.name)) {
            let (name, path) = (twice.name.clone(), path.to_owned());
            return Err(SplitError::TensorTwice { name, path }.into());
        }
    }
    for &(path, metadata, _) in parts {
        let said = metadata.u64(TENSORS)?;
        if let Some(expected) = said.filter(|said| *said != names.len() as u64) {
            return Err(SplitError::TensorCount {
                count: parts.len() as u32,
                found: names.len(),
                expected,
                path: path.to_owned(),
            }
            .into());
        }
    }
    Ok(())
}

/// A split model as one file.
pub(super) struct Merged {
    /// Everything before the data.
    pub(super) header: Vec<u8>,
    /// Where each tensor's data would be in that file, in the order of the entries.
    pub(super) offsets: Vec<u64>,
    pub(super) file_len: u64,
}

/// The file that these would be when put together.
pub(super) fn merge<'a>(
    version: u32,
    alignment: u32,
    metadata: &Metadata,
    entries: impl Iterator<Item = &'a Entry>,
) -> Merged {
    let mut writer = GgufWriter::new();
    writer.version(version).aligned_to(alignment);
    for (key, value) in metadata.iter() {
        if ![NUMBER, COUNT, TENSORS].contains(&key) {
            writer.metadata(key, value);
        }
    }
    let mut offsets = Vec::new();
    let mut end = 0_u64;
    for entry in entries {
        offsets.push(end);
        writer.raw_tensor(RawTensor {
            name: entry.name.as_bytes().to_vec(),
            dimensions: entry.dimensions.clone(),
            type_number: entry.type_number,
            offset: end,
        });
        // Each is within a file, of which there are few: no sum of them comes near the limit.
        let bytes = entry.bytes.unwrap_or_default();
        end = end.saturating_add(bytes.next_multiple_of(u64::from(alignment)));
    }
    let header = writer.header();
    let data = header.len() as u64;
    Merged {
        offsets: offsets.iter().map(|offset| data + offset).collect(),
        file_len: data.saturating_add(end),
        header,
    }
}
