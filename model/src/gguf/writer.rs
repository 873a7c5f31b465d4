//! Writing GGUF files, well-formed ones by default and any others for tests.

use std::io::{self, Write};

use super::tensor::data_bytes;
use super::{DEFAULT_ALIGNMENT, MAGIC, TensorProblem, Value};
use crate::TensorType;

/// Collects the header of a GGUF file, then streams it and the tensors' data.
///
/// What is added with [`Self::metadata`] and [`Self::tensor`] makes a file that
/// [`Gguf`](super::Gguf) reads back. The `raw_*` and `claim_*` calls write whatever they are given,
/// so that tests can make files that must be refused.
#[derive(Debug, Clone)]
pub struct GgufWriter {
    version: u32,
    alignment: u32,
    metadata: Vec<u8>,
    metadata_count: u64,
    tensors: Vec<RawTensor>,
    placed: Vec<PlacedTensor>,
    claimed_counts: Option<ClaimedCounts>,
}

/// A tensor whose place in the data section the writer chose.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PlacedTensor {
    /// The name.
    pub name: String,
    /// Lengths, innermost first.
    pub dimensions: Vec<u64>,
    /// How elements are stored.
    pub tensor_type: TensorType,
    /// Bytes of the data.
    pub bytes: usize,
    /// Bytes from the start of the data section.
    offset: u64,
}

/// A tensor entry that is written as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawTensor {
    /// The name, of any bytes.
    pub name: Vec<u8>,
    /// Any number of lengths, innermost first.
    pub dimensions: Vec<u64>,
    /// The number of any type.
    pub type_number: u32,
    /// Bytes from the start of the data section.
    pub offset: u64,
}

/// Counts that the header states in place of the true ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClaimedCounts {
    /// The number of tensors.
    pub tensors: u64,
    /// The number of metadata entries.
    pub metadata: u64,
}

impl Default for GgufWriter {
    fn default() -> Self {
        Self::new()
    }
}

impl GgufWriter {
    /// An empty file of version 3, aligned to 32 bytes.
    pub fn new() -> Self {
        Self {
            version: 3,
            alignment: DEFAULT_ALIGNMENT,
            metadata: Vec::new(),
            metadata_count: 0,
            tensors: Vec::new(),
            placed: Vec::new(),
            claimed_counts: None,
        }
    }

    /// States another version.
    pub fn version(&mut self, version: u32) -> &mut Self {
        self.version = version;
        self
    }

    /// Aligns tensors added from here on, and the data section, to `alignment` bytes (at least 1),
    /// and says so in `general.alignment`.
    pub fn alignment(&mut self, alignment: u32) -> &mut Self {
        self.alignment = alignment.max(1);
        self.metadata("general.alignment", &Value::U32(alignment))
    }

    /// As [`Self::alignment`], without saying so: the caller's metadata does.
    pub(super) fn aligned_to(&mut self, alignment: u32) -> &mut Self {
        self.alignment = alignment.max(1);
        self
    }

    /// Adds a metadata entry.
    pub fn metadata(&mut self, key: &str, value: &Value) -> &mut Self {
        let mut encoded = Vec::new();
        value.encode(&mut encoded);
        self.raw_metadata(key.as_bytes(), value.value_type() as u32, &encoded)
    }

    /// Adds a metadata entry of these bytes.
    pub fn raw_metadata(&mut self, key: &[u8], type_number: u32, value: &[u8]) -> &mut Self {
        self.metadata.extend((key.len() as u64).to_le_bytes());
        self.metadata.extend_from_slice(key);
        self.metadata.extend(type_number.to_le_bytes());
        self.metadata.extend_from_slice(value);
        self.metadata_count += 1;
        self
    }

    /// Adds a tensor after the last one; `dimensions` are innermost first.
    ///
    /// # Errors
    /// [`TensorProblem::PartialBlock`], [`TensorProblem::TooLarge`].
    pub fn tensor(
        &mut self,
        name: &str,
        dimensions: &[u64],
        tensor_type: TensorType,
    ) -> Result<&mut Self, TensorProblem> {
        let bytes = data_bytes(dimensions, tensor_type)?;
        let offset = self.data_len();
        self.tensors.push(RawTensor {
            name: name.into(),
            dimensions: dimensions.to_vec(),
            type_number: tensor_type as u32,
            offset,
        });
        self.placed.push(PlacedTensor {
            name: name.into(),
            dimensions: dimensions.to_vec(),
            tensor_type,
            bytes,
            offset,
        });
        Ok(self)
    }

    /// Adds a tensor entry without data.
    pub fn raw_tensor(&mut self, tensor: RawTensor) -> &mut Self {
        self.tensors.push(tensor);
        self
    }

    /// States these counts in place of the true ones.
    pub fn claim_counts(&mut self, counts: ClaimedCounts) -> &mut Self {
        self.claimed_counts = Some(counts);
        self
    }

    /// The tensors added with [`Self::tensor`], in order.
    pub fn placed(&self) -> &[PlacedTensor] {
        &self.placed
    }

    /// Bytes of the file.
    pub fn file_len(&self) -> u64 {
        (self.header().len() as u64).saturating_add(self.data_len())
    }

    /// The file up to its data section, padding included.
    pub fn header(&self) -> Vec<u8> {
        let counts = self.claimed_counts.unwrap_or(ClaimedCounts {
            tensors: self.tensors.len() as u64,
            metadata: self.metadata_count,
        });
        let mut header = Vec::from(MAGIC);
        header.extend(self.version.to_le_bytes());
        header.extend(counts.tensors.to_le_bytes());
        header.extend(counts.metadata.to_le_bytes());
        header.extend_from_slice(&self.metadata);
        for tensor in &self.tensors {
            header.extend((tensor.name.len() as u64).to_le_bytes());
            header.extend_from_slice(&tensor.name);
            header.extend((tensor.dimensions.len() as u32).to_le_bytes());
            for length in &tensor.dimensions {
                header.extend(length.to_le_bytes());
            }
            header.extend(tensor.type_number.to_le_bytes());
            header.extend(tensor.offset.to_le_bytes());
        }
        header.resize(header.len().next_multiple_of(self.alignment as usize), 0);
        header
    }

    /// Writes the file; `data` writes each placed tensor's bytes, in order.
    ///
    /// # Errors
    /// What `out` and `data` return; [`io::ErrorKind::InvalidData`] if `data` writes another
    /// number of bytes than the tensor has.
    pub fn write<W: Write>(
        &self,
        out: W,
        mut data: impl FnMut(&PlacedTensor, &mut dyn Write) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut out = Counting { out, written: 0 };
        out.write_all(&self.header())?;
        let start = out.written;
        for tensor in &self.placed {
            out.pad_to(start + tensor.offset)?;
            data(tensor, &mut out)?;
            let written = out.written - start - tensor.offset;
            if written != tensor.bytes as u64 {
                let (name, bytes) = (&tensor.name, tensor.bytes);
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("tensor `{name}` has {bytes} bytes, and {written} were written"),
                ));
            }
        }
        out.pad_to(start + self.data_len())?;
        out.flush()
    }

    /// Bytes of the data section, padded.
    fn data_len(&self) -> u64 {
        self.placed.last().map_or(0, |last| {
            last.offset
                .saturating_add(last.bytes as u64)
                .checked_next_multiple_of(u64::from(self.alignment))
                .unwrap_or(u64::MAX)
        })
    }
}

/// Counts what passes through.
struct Counting<W> {
    out: W,
    written: u64,
}

impl<W: Write> Counting<W> {
    /// Writes zeros up to an offset in the file.
    fn pad_to(&mut self, offset: u64) -> io::Result<()> {
        let gap = offset.saturating_sub(self.written);
        io::copy(&mut io::Read::take(io::repeat(0), gap), self)?;
        Ok(())
    }
}

impl<W: Write> Write for Counting<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.written += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
