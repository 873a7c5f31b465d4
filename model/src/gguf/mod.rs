//! GGUF model files: parsing, without copying, and writing.
//!
//! A file is, in order: the magic `GGUF`, the version, the numbers of tensors and of metadata
//! entries, the entries (key, value type, value), the tensor entries (name, dimensions, type,
//! offset), padding to the alignment (`general.alignment`, 32 by default), and the tensors' data.
//! Versions 2 and 3 are alike for little-endian files, the only ones read here. The format is
//! described in ggml's `docs/gguf.md`.
//!
//! Opening looks at the header only, and copies it, so it takes milliseconds for a file of any size;
//! the texts and arrays of the metadata are views of the copy, the tensors of the mapping. A model may
//! be split into several files (`split`). What happens if a mapped file changes is described in
//! `watch`.
//!
//! **A file is never trusted.** Every count and length is checked against the bytes left before
//! anything of that size is allocated, and a file that parses is consistent: see [`TensorInfo`].

mod cursor;
mod error;
mod foreign;
mod header;
mod layout;
mod metadata;
mod other_type;
mod split;
mod split_error;
pub mod synth;
mod tensor;
#[cfg(test)]
mod tests;
mod value;
mod watch;
mod writer;

use std::ops::Range;
use std::path::{Path, PathBuf};

use bytes::Bytes;

pub use error::{GgufError, TensorProblem};
pub use foreign::Foreign;
use header::{Header, OpenFile};
pub use layout::{Layout, ModelReader};
use layout::{Places, Run};
pub use metadata::Metadata;
pub use other_type::OtherType;
use split::Position;
pub use split::{files_at, part_path};
pub use split_error::SplitError;
use tensor::{Entry, Place, Tensors};
pub use tensor::{OtherTensor, TensorInfo};
pub use value::{Array, Number, NumberArray, StringArray, Value, ValueType};
pub use watch::Watch;
pub use writer::{ClaimedCounts, GgufWriter, PlacedTensor, RawTensor};

use crate::kernels::mapping::Mapping;

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

/// A parsed GGUF file, or several that are one model; tensors' bytes stay where they are, mapped or in
/// memory.
#[derive(Debug, Clone)]
pub struct Gguf {
    /// One, or those of a split model.
    files: Vec<Data>,
    layout: Option<Layout>,
    watch: Watch,
    version: u32,
    alignment: u32,
    data: u64,
    file_len: u64,
    metadata: Metadata,
    tensors: Tensors,
    /// Whether the system is told what will be read soon: not if the file is only described.
    reads_ahead: bool,
}

/// A file's bytes.
#[derive(Debug, Clone)]
struct Data {
    path: Option<PathBuf>,
    mapping: Option<Mapping>,
    bytes: Bytes,
}

impl Gguf {
    /// Maps a file and parses it. Of a split model, all files, of which `path` is any, as
    /// [`files_at`] finds them.
    ///
    /// The header is copied, the tensors' data is mapped. A file that changes while this value, or a
    /// slice taken from it, lives is noticed by [`Self::watch`]. Replacing it by rename is harmless:
    /// the mapped one stays.
    ///
    /// # Errors
    /// [`GgufError::Open`] if the system refuses, [`GgufError::NotAFile`], [`GgufError::Folder`],
    /// [`GgufError::Split`], and those of [`Self::parse`].
    pub fn open(path: &Path) -> Result<Self, GgufError> {
        Self::describe(path)?.supported()
    }

    /// As [`Self::open`], of a file that this program itself writes other tensors into meanwhile. Only
    /// its length is watched.
    ///
    /// # Errors
    /// Those of [`Self::open`].
    pub fn open_growing(path: &Path) -> Result<Self, GgufError> {
        Self::of_files(OpenFile::open(path, false)?)?.supported()
    }

    /// As [`Self::open`], but tensors may have types that this build does not compute with. They are
    /// among [`Self::other_tensors`], not among [`Self::tensors`]. Meant for looking at a file: loading a
    /// shard from it works, but does not tell the system what to read ahead.
    ///
    /// # Errors
    /// Those of [`Self::open`] but [`GgufError::UnsupportedTypes`].
    pub fn describe(path: &Path) -> Result<Self, GgufError> {
        Self::of_files(OpenFile::open(path, true)?)
    }

    /// Parses a file's bytes, which are shared, not copied.
    ///
    /// # Errors
    /// Whatever is wrong with the file, by kind, item and offset: see [`GgufError`]. No input
    /// panics, and memory taken is bounded by a small multiple of the header's length.
    pub fn parse(bytes: Bytes) -> Result<Self, GgufError> {
        let header = Header::read(&bytes, bytes.len() as u64)?;
        if Position::of(&header.metadata)?.is_some() {
            return Err(SplitError::Bytes.into());
        }
        let file_len = bytes.len() as u64;
        let data = Data {
            path: None,
            mapping: None,
            bytes,
        };
        Self::single(data, header, file_len).supported()
    }

    /// The model of which this is a file, whole.
    fn of_files(first: OpenFile) -> Result<Self, GgufError> {
        let Some(position) = Position::of(&first.header.metadata)? else {
            let file_len = first.len();
            let layout = Layout::single(&first.path, file_len);
            let watch = Watch::of(first.watched.iter().cloned().collect());
            let data = Data {
                path: Some(first.path),
                mapping: first.mapping,
                bytes: first.bytes,
            };
            let mut gguf = Self::single(data, first.header, file_len);
            (gguf.layout, gguf.watch) = (Some(layout), watch);
            return Ok(gguf);
        };
        let mut first = Some(first);
        let mut files = Vec::new();
        for (number, path) in (0..).zip(split::find(first_path(&first), position)?) {
            let should = Position { number, ..position };
            let of_part = |error| in_part(&path, error);
            let file = match first.take_if(|_| number == position.number) {
                Some(file) => file,
                None => OpenFile::open(&path, true).map_err(of_part)?,
            };
            split::check(&path, &file.header.metadata, should).map_err(of_part)?;
            files.push(file);
        }
        Self::merged(files)
    }

    fn single(data: Data, header: Header, file_len: u64) -> Self {
        Self {
            files: vec![data],
            layout: None,
            watch: Watch::default(),
            version: header.version,
            alignment: header.alignment,
            data: header.data,
            file_len,
            metadata: header.metadata,
            tensors: Tensors::of(header.entries, |_, entry| entry.place.offset),
            reads_ahead: false,
        }
    }

    /// The model that is split into these files.
    fn merged(mut files: Vec<OpenFile>) -> Result<Self, GgufError> {
        let parts: Vec<_> = files.iter().map(OpenFile::as_part).collect();
        split::check_together(&parts)?;
        let mut entries: Vec<Entry> = Vec::new();
        for (number, file) in files.iter_mut().enumerate() {
            for mut entry in std::mem::take(&mut file.header.entries) {
                entry.place.file = number;
                entries.push(entry);
            }
        }
        let first = &files[0].header;
        let (version, alignment) = (first.version, first.alignment);
        let merged = split::merge(version, alignment, &first.metadata, entries.iter());
        let header = Bytes::from(merged.header);
        let metadata = header::metadata_of(&header)?;
        let runs = entries.iter().zip(&merged.offsets);
        let runs = runs.filter_map(|(entry, &first)| {
            let Place { file, offset } = entry.place;
            let bytes = entry.bytes.filter(|bytes| *bytes > 0)?;
            Some(Run {
                first,
                bytes,
                file,
                offset,
            })
        });
        let layout = Layout::new(Places {
            header: header.clone(),
            files: files.iter().map(|file| file.path.clone()).collect(),
            runs: runs.collect(),
            len: merged.file_len,
        });
        let watched = files.iter().filter_map(|file| file.watched.clone());
        Ok(Self {
            layout: Some(layout),
            watch: Watch::of(watched.collect()),
            version,
            alignment,
            data: header.len() as u64,
            file_len: merged.file_len,
            metadata,
            tensors: Tensors::of(entries, |at, _| merged.offsets[at]),
            reads_ahead: false,
            files: files.into_iter().map(OpenFile::into_data).collect(),
        })
    }

    /// This file, if all its tensors have types that this build computes with.
    fn supported(mut self) -> Result<Self, GgufError> {
        self.reads_ahead = true;
        match self.unsupported() {
            Some(error) => Err(error),
            None => Ok(self),
        }
    }

    /// What [`Self::open`] refuses a file for that [`Self::describe`] does not, if there is anything.
    pub fn unsupported(&self) -> Option<GgufError> {
        let types: Vec<_> = self.tensors.other_types().into_iter().collect();
        (!types.is_empty()).then_some(GgufError::UnsupportedTypes { types })
    }

    /// The path it was opened at, of a split model that of its first file; `None` if it was parsed
    /// from memory.
    pub fn path(&self) -> Option<&Path> {
        self.files.first()?.path.as_deref()
    }

    /// The files that the model consists of, with their lengths; none if it was parsed from memory.
    pub fn files(&self) -> impl Iterator<Item = (&Path, u64)> {
        let files = self.files.iter();
        files.filter_map(|file| Some((file.path.as_deref()?, file.bytes.len() as u64)))
    }

    /// Where its bytes lie on the disk.
    ///
    /// # Panics
    /// If it was parsed from memory.
    pub fn layout(&self) -> Layout {
        let layout = self.layout.clone();
        layout.expect("a model that was opened by its path")
    }

    /// What notices changes of the files. Empty if it was parsed from memory.
    pub fn watch(&self) -> &Watch {
        &self.watch
    }

    /// Bytes of the whole file; of a split model, of the file that its parts would be when put
    /// together.
    pub fn file_len(&self) -> u64 {
        self.file_len
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

    /// The tensors that this build can compute with, in the file's order.
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.tensors.infos
    }

    /// The tensors of other types, in the file's order; none of a file that was not only described.
    pub fn other_tensors(&self) -> &[OtherTensor] {
        &self.tensors.others
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
        let Place { file, offset } = tensor.place;
        let start = offset as usize;
        self.files[file].bytes.slice(start..start + tensor.bytes)
    }

    /// The data of one of this file's tensors will be read soon: the system may bring it from disk
    /// before, and nothing waits for that.
    pub(crate) fn will_need(&self, tensor: &TensorInfo) {
        let Place { file, offset } = tensor.place;
        if let Some(mapping) = self.files[file]
            .mapping
            .as_ref()
            .filter(|_| self.reads_ahead)
        {
            let start = offset as usize;
            mapping.will_need(start..start + tensor.bytes);
        }
    }

    /// The mapping that a tensor's data is in, and where; `None` if the file was parsed from memory.
    pub(crate) fn place(&self, tensor: &TensorInfo) -> Option<(Mapping, Range<usize>)> {
        let Place { file, offset } = tensor.place;
        let mapping = self.files[file].mapping.clone()?;
        let start = offset as usize;
        Some((mapping, start..start + tensor.bytes))
    }
}

fn first_path(first: &Option<OpenFile>) -> &Path {
    first.as_ref().map_or(Path::new(""), |file| &file.path)
}

/// The error with the part's name, if it does not say that itself.
fn in_part(path: &Path, error: GgufError) -> GgufError {
    match error {
        GgufError::Split(_) | GgufError::Open { .. } | GgufError::NotAFile { .. } => error,
        other => GgufError::Part {
            path: path.into(),
            source: Box::new(other),
        },
    }
}
