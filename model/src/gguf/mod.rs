//! GGUF model files: parsing, without copying, and writing.
//!
//! A file is, in order: the magic `GGUF`, the version, the numbers of tensors and of metadata
//! entries, the entries (key, value type, value), the tensor entries (name, dimensions, type,
//! offset), padding to the alignment (`general.alignment`, 32 by default), and the tensors' data.
//! Versions 2 and 3 are alike for little-endian files, the only ones read here. The format is
//! described in ggml's `docs/gguf.md`.
//!
//! Parsing looks at the header only, so opening a mapped file of any size takes milliseconds; the
//! texts and arrays of the metadata, and the tensors, are views of the mapping.
//!
//! **A file is never trusted.** Every count and length is checked against the bytes left before
//! anything of that size is allocated, and a file that parses is consistent: see [`TensorInfo`].

mod array;
mod cursor;
mod error;
mod metadata;
pub mod synth;
mod tensor;
#[cfg(test)]
mod tests;
mod value;
mod writer;

use std::fs::File;
use std::path::{Path, PathBuf};

use bytes::Bytes;

pub use array::{Array, Number, NumberArray, StringArray};
use cursor::Cursor;
pub use error::{GgufError, TensorProblem};
pub use metadata::Metadata;
pub use tensor::TensorInfo;
use tensor::Tensors;
pub use value::{Value, ValueType};
pub use writer::{ClaimedCounts, GgufWriter, PlacedTensor, RawTensor};

use crate::kernels::mapping::{Mapping, map_file};

const MAGIC: [u8; 4] = *b"GGUF";
const DEFAULT_ALIGNMENT: u32 = 32;
/// Eight, which the format demands, to far more than any page.
const ALIGNMENTS: std::ops::RangeInclusive<u32> = 8..=65_536;
/// Far above the 2,000 tensors and 60 entries of the largest known models.
const TENSOR_LIMIT: u64 = 65_536;
const METADATA_LIMIT: u64 = 65_536;
/// An empty key, a value type and a one-byte value.
const LEAST_METADATA_BYTES: u64 = 8 + 4 + 1;
/// An empty name, a dimension count, one dimension, a type and an offset.
const LEAST_TENSOR_BYTES: u64 = 8 + 4 + 8 + 4 + 8;

/// A parsed GGUF file; the bytes stay where they are, mapped or in memory.
#[derive(Debug, Clone)]
pub struct Gguf {
    path: Option<PathBuf>,
    mapping: Option<Mapping>,
    bytes: Bytes,
    version: u32,
    alignment: u32,
    data: u64,
    metadata: Metadata,
    tensors: Tensors,
}

impl Gguf {
    /// Maps a file and parses it.
    ///
    /// The file must stay as it is while this value, or a slice taken from it, lives: if another
    /// program truncates it, touching the lost part raises `SIGBUS`, which ends the program; if
    /// another program writes into it, the weights change. No system offers a portable lock
    /// against either. Replacing the file by rename is harmless: the mapped one stays.
    ///
    /// # Errors
    /// [`GgufError::Open`] if the system refuses, [`GgufError::NotAFile`], and those of
    /// [`Self::parse`].
    pub fn open(path: &Path) -> Result<Self, GgufError> {
        let failed = |source| GgufError::Open {
            path: path.into(),
            source,
        };
        // Asked before opening: opening a pipe waits for its writer.
        if !path.metadata().map_err(failed)?.is_file() {
            return Err(GgufError::NotAFile { path: path.into() });
        }
        let file = File::open(path).map_err(failed)?;
        let mapping = map_file(&file).map_err(failed)?;
        let bytes = mapping.as_ref().map(Mapping::bytes).unwrap_or_default();
        let mut gguf = Self::parse(bytes)?;
        gguf.mapping = mapping;
        gguf.path = Some(path.into());
        Ok(gguf)
    }

    /// Parses a file's bytes, which are shared, not copied.
    ///
    /// # Errors
    /// Whatever is wrong with the file, by kind, item and offset: see [`GgufError`]. No input
    /// panics, and memory taken is bounded by a small multiple of the header's length.
    pub fn parse(bytes: Bytes) -> Result<Self, GgufError> {
        let mut cursor = Cursor::new(&bytes);
        let version = read_version(&mut cursor)?;
        let item = "the number of tensors";
        let tensor_count = cursor.count(TENSOR_LIMIT, &item)?;
        let item = "the number of metadata entries";
        let metadata_count = cursor.count(METADATA_LIMIT, &item)?;

        let item = format!("the list of {metadata_count} metadata entries");
        let count = cursor.bounded(metadata_count, LEAST_METADATA_BYTES, &item)?;
        let metadata = Metadata::read(&mut cursor, count)?;
        let alignment = metadata
            .u32("general.alignment")?
            .unwrap_or(DEFAULT_ALIGNMENT);
        if !ALIGNMENTS.contains(&alignment) || !alignment.is_power_of_two() {
            return Err(GgufError::InvalidAlignment { alignment });
        }

        let item = format!("the list of {tensor_count} tensors");
        let count = cursor.bounded(tensor_count, LEAST_TENSOR_BYTES, &item)?;
        let mut tensors = Tensors::read(&mut cursor, count)?;
        let data = (cursor.offset() as u64).next_multiple_of(u64::from(alignment));
        tensors.place(data, alignment, bytes.len() as u64)?;

        Ok(Self {
            path: None,
            mapping: None,
            version,
            alignment,
            data,
            metadata,
            tensors,
            bytes,
        })
    }

    /// The path it was opened at; `None` if it was parsed from memory.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Bytes of the whole file.
    pub fn file_len(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// The format's version: 2 or 3.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// What tensors' offsets in the data section are multiples of, in bytes.
    pub fn alignment(&self) -> u32 {
        self.alignment
    }

    /// Bytes from the start of the file to the data section: all that describes the model but its
    /// weights. More than the file has if it has no data.
    pub fn data_offset(&self) -> u64 {
        self.data
    }

    /// The key-value entries.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// The tensors, in the file's order.
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.tensors.infos
    }

    /// The tensor of this name.
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.tensors.get(name)
    }

    /// The tensor of this name.
    ///
    /// # Errors
    /// [`GgufError::MissingTensor`].
    pub fn require_tensor(&self, name: &str) -> Result<&TensorInfo, GgufError> {
        self.tensor(name)
            .ok_or_else(|| GgufError::MissingTensor { name: name.into() })
    }

    /// The data of one of this file's tensors, sharing the file's memory.
    ///
    /// # Panics
    /// If `tensor` is another file's and reaches past the end of this one.
    pub fn tensor_bytes(&self, tensor: &TensorInfo) -> Bytes {
        let start = tensor.offset as usize;
        self.bytes.slice(start..start + tensor.bytes)
    }

    /// The data of one of this file's tensors will be read soon: the system may bring it from disk
    /// before, and nothing waits for that.
    pub(crate) fn will_need(&self, tensor: &TensorInfo) {
        if let Some(mapping) = &self.mapping {
            let start = tensor.offset as usize;
            mapping.will_need(start..start + tensor.bytes);
        }
    }
}

/// Reads magic and version.
fn read_version(cursor: &mut Cursor<'_>) -> Result<u32, GgufError> {
    let start = cursor.remaining().min(MAGIC.len());
    let found = cursor.take(start as u64, &"the magic number")?;
    if found != MAGIC {
        return Err(GgufError::NotGguf {
            found: found.to_vec(),
        });
    }
    match cursor.u32(&"the version")? {
        version @ (2 | 3) => Ok(version),
        // A small number seen from the other end.
        swapped if swapped.swap_bytes() < 0x1_0000 && swapped >= 0x1_0000 => {
            Err(GgufError::BigEndian)
        }
        version => Err(GgufError::UnsupportedVersion { version }),
    }
}
