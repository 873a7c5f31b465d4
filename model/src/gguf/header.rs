//! The part of a file that describes its tensors, and opening files to read it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use bytes::Bytes;

use super::cursor::Cursor;
use super::split::Part;
use super::tensor::{Entry, place_entries, read_entries};
use super::watch::{Watched, inode_changed};
use super::{
    ALIGNMENTS, DEFAULT_ALIGNMENT, Data, Foreign, GgufError, LEAST_METADATA_BYTES,
    LEAST_TENSOR_BYTES, MAGIC, METADATA_LIMIT, Metadata, TENSOR_LIMIT,
};
use crate::kernels::mapping::{Mapping, map_file};

/// GGUF files of a folder that are named, at most.
const MOST_NAMED: usize = 3;

/// What a file says before its data.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) version: u32,
    pub(super) alignment: u32,
    /// Where the data section begins.
    pub(super) data: u64,
    pub(super) metadata: Metadata,
    /// Placed in the file.
    pub(super) entries: Vec<Entry>,
}

impl Header {
    /// Reads the header that `bytes` begin with, of a file of `file_len` bytes.
    pub(super) fn read(bytes: &Bytes, file_len: u64) -> Result<Self, GgufError> {
        let mut cursor = Cursor::new(bytes);
        let version = read_version(&mut cursor)?;
        let item = "the number of tensors";
        let tensor_count = cursor.count(TENSOR_LIMIT, &item)?;
        let metadata = read_metadata(&mut cursor)?;
        let alignment = metadata
            .u32("general.alignment")?
            .unwrap_or(DEFAULT_ALIGNMENT);
        if !ALIGNMENTS.contains(&alignment) || !alignment.is_power_of_two() {
            return Err(GgufError::InvalidAlignment { alignment });
        }
        let item = format!("the list of {tensor_count} tensors");
        let count = cursor.bounded(tensor_count, LEAST_TENSOR_BYTES, &item)?;
        let mut entries = read_entries(&mut cursor, count)?;
        let data = (cursor.offset() as u64).next_multiple_of(u64::from(alignment));
        place_entries(&mut entries, data, alignment, file_len)?;
        Ok(Self {
            version,
            alignment,
            data,
            metadata,
            entries,
        })
    }
}

/// The metadata of a header that is known to be well-formed.
pub(super) fn metadata_of(header: &Bytes) -> Result<Metadata, GgufError> {
    let mut cursor = Cursor::new(header);
    read_version(&mut cursor)?;
    cursor.u64(&"the number of tensors")?;
    read_metadata(&mut cursor)
}

fn read_metadata(cursor: &mut Cursor<'_>) -> Result<Metadata, GgufError> {
    let count = cursor.count(METADATA_LIMIT, &"the number of metadata entries")?;
    let item = format!("the list of {count} metadata entries");
    let count = cursor.bounded(count, LEAST_METADATA_BYTES, &item)?;
    Metadata::read(cursor, count)
}

/// Reads magic and version.
fn read_version(cursor: &mut Cursor<'_>) -> Result<u32, GgufError> {
    let start = cursor.rest();
    if !start.starts_with(&MAGIC) {
        return Err(GgufError::NotGguf(Foreign::recognise(start)));
    }
    cursor.take(MAGIC.len() as u64, &"the magic number")?;
    match cursor.u32(&"the version")? {
        version @ (2 | 3) => Ok(version),
        // A small number seen from the other end.
        swapped if swapped.swap_bytes() < 0x1_0000 && swapped >= 0x1_0000 => {
            Err(GgufError::BigEndian)
        }
        version => Err(GgufError::UnsupportedVersion { version }),
    }
}

/// A file that is mapped, and its header, which is a copy.
#[derive(Debug)]
pub(super) struct OpenFile {
    pub(super) path: PathBuf,
    pub(super) mapping: Option<Mapping>,
    pub(super) bytes: Bytes,
    pub(super) header: Header,
    pub(super) watched: Option<Arc<Watched>>,
}

impl OpenFile {
    /// Maps the file at `path` and reads its header. `whole` says that nobody writes into it.
    pub(super) fn open(path: &Path, whole: bool) -> Result<Self, GgufError> {
        let failed = |source| GgufError::Open {
            path: path.into(),
            source,
        };
        // Asked before opening: opening a pipe waits for its writer.
        let kind = path.metadata().map_err(failed)?;
        if kind.is_dir() {
            return Err(GgufError::Folder {
                path: path.into(),
                models: models_in(path),
            });
        }
        if !kind.is_file() {
            return Err(GgufError::NotAFile { path: path.into() });
        }
        let file = File::open(path).map_err(failed)?;
        // Before anything is read, so that what is read after a change is not taken for the file.
        let looked = file.metadata().map_err(failed)?;
        let mapping = map_file(&file).map_err(failed)?;
        let bytes = mapping.as_ref().map(Mapping::bytes).unwrap_or_default();
        let file_len = bytes.len() as u64;
        // The first reading finds where the header ends. All that is kept is read from the copy.
        let end = Header::read(&bytes, file_len)?.data.min(file_len);
        let copy = Bytes::copy_from_slice(&bytes[..end as usize]);
        let header = Header::read(&copy, file_len)?;
        let watched = mapping.clone().map(|mapping| {
            mapping.not_needed(0..end as usize);
            Arc::new(Watched {
                path: path.into(),
                file,
                mapping,
                header: copy,
                bytes: file_len,
                modified: looked.modified().ok().filter(|_| whole),
                inode_changed: AtomicI64::new(inode_changed(&looked)),
            })
        });
        Ok(Self {
            path: path.into(),
            mapping,
            bytes,
            header,
            watched,
        })
    }

    pub(super) fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    pub(super) fn as_part(&self) -> Part<'_> {
        (&self.path, &self.header.metadata, &self.header.entries)
    }

    pub(super) fn into_data(self) -> Data {
        Data {
            path: Some(self.path),
            mapping: self.mapping,
            bytes: self.bytes,
        }
    }
}

/// Names of GGUF files in a folder, a few at most.
fn models_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<_> = names.filter(|name| name.ends_with(".gguf")).collect();
    names.sort_unstable();
    names.truncate(MOST_NAMED);
    names
}
