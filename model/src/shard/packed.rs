//! Packed weights on disk: a file for each layer and for the head, mapped like the model's own.
//!
//! A packed file holds the quantised matrices of one [`PackedPart`] in the layout that the kernels
//! read fastest (`kernels::packed`). It is derived from the model file, gives the same bits, and can
//! be removed and made again at any time. A shard computes with the stored weights until
//! [`Shard::use_packed`] exchanges them between two steps.
//!
//! | bytes | what |
//! |---|---|
//! | 8, 4, 4 | `POTLUCKP`, the layout's version, number of matrices |
//! | 32 | the key: the content of the model, as the caller names it |
//! | 32 each | of a matrix: type, 0, rows, columns, offset of its bytes |
//! | from a multiple of 4096 on | the matrices, each from a multiple of 64 on |
//! | 4 | CRC-32 of all bytes before |
//!
//! Numbers are little-endian; types are GGUF's; what lies between is zeros.

use std::fs::File;
use std::io::{self, Write};
use std::ops::Range;
use std::sync::{Arc, MutexGuard, PoisonError};

use super::{EMBEDDING, Head, OUTPUT, Shard, ShardRange};
use crate::ModelError;
use crate::gguf::Gguf;
use crate::kernels::mapping::{Mapping, map_file};
use crate::kernels::packed::pack;
use crate::kernels::packed_format::GROUP;
use crate::nn::{Block, StoredMatrix};
use crate::ops::Layout;
use crate::packed_part::{PackedPart, VERSION};

const MAGIC: &[u8; 8] = b"POTLUCKP";
/// Bytes of the header before the matrices' entries, and of an entry.
const HEAD: usize = 48;
const ENTRY: usize = 32;
/// What the first matrix's offset, and that of the others, is a multiple of.
const PAGE: usize = 4096;
const ALIGNMENT: usize = 64;
/// Bytes of the checksum.
const CHECKSUM: usize = 4;

/// Why packed weights cannot be written or used. The stored ones stay in use.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PackedError {
    /// The file cannot be written, or cannot be mapped.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The caller stopped it.
    #[error("packing was stopped")]
    Stopped,
    /// The shard has no such part, or nothing in it is quantised.
    #[error("the shard has no packed form of {0}")]
    Nothing(PackedPart),
    /// The file is not the packed form of this part of this model.
    #[error("the file holds other weights, or those of another version")]
    Other,
    /// The file's bytes are not those that were written.
    #[error("the file is damaged")]
    Damaged,
}

/// A part that is computed from packed weights.
#[derive(Debug)]
pub(super) struct InUse {
    part: PackedPart,
    /// `None` if the packed weights are in memory.
    mapping: Option<Mapping>,
    stored: Stored,
}

/// A part as it was before it was exchanged.
#[derive(Debug)]
enum Stored {
    Layer(Arc<Block>),
    Head(Arc<Head>),
}

/// The matrices of a part that are packed, with their places in its file.
struct Plan {
    /// Index among the part's matrices, and the range of its bytes.
    places: Vec<(usize, Range<usize>)>,
    header: Vec<u8>,
    /// Bytes of the file.
    len: usize,
}

impl Plan {
    fn new(matrices: &[&StoredMatrix], key: &[u8; 32]) -> Option<Self> {
        let packed = |matrix: &StoredMatrix| {
            let storage = &matrix.storage;
            Layout::Packed.bytes(storage.tensor_type, storage.rows, storage.columns)
        };
        let sizes = matrices.iter().enumerate();
        let sizes: Vec<_> = sizes.filter_map(|(i, m)| Some((i, packed(m)?))).collect();
        if sizes.is_empty() {
            return None;
        }
        let mut header = Vec::new();
        header.extend_from_slice(MAGIC);
        header.extend_from_slice(&VERSION.to_le_bytes());
        header.extend_from_slice(&(sizes.len() as u32).to_le_bytes());
        header.extend_from_slice(key);
        debug_assert_eq!(header.len(), HEAD);
        let mut end = (HEAD + ENTRY * sizes.len()).next_multiple_of(PAGE);
        let mut places = Vec::with_capacity(sizes.len());
        for (index, bytes) in sizes {
            let storage = &matrices[index].storage;
            let start = end.next_multiple_of(ALIGNMENT);
            end = start + bytes;
            places.push((index, start..end));
            let numbers = [
                storage.tensor_type as usize,
                storage.rows,
                storage.columns,
                start,
            ];
            for number in numbers {
                header.extend_from_slice(&(number as u64).to_le_bytes());
            }
        }
        Some(Self {
            places,
            header,
            len: end + CHECKSUM,
        })
    }
}

/// Where the stored matrices of the parts of a shard lie, of files that are mapped.
pub(super) fn stored_places(
    gguf: &Gguf,
    range: &ShardRange,
) -> Vec<(PackedPart, Mapping, Range<usize>)> {
    let part_of = |name: &str| {
        if name == EMBEDDING || name == OUTPUT {
            return range.head.then_some(PackedPart::Head);
        }
        let (layer, _) = name.strip_prefix("blk.")?.split_once('.')?;
        let layer = layer.parse().ok()?;
        range
            .layers
            .contains(&layer)
            .then_some(PackedPart::Layer(layer))
    };
    let tensors = gguf.tensors().iter();
    let places = tensors.filter_map(|tensor| {
        let (mapping, place) = gguf.place(tensor)?;
        Some((part_of(&tensor.name)?, mapping, place))
    });
    places.collect()
}

/// Writes and counts into a checksum.
struct Summed<'a> {
    to: &'a mut dyn Write,
    sum: crc32fast::Hasher,
    written: usize,
}

impl Summed<'_> {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.sum.update(bytes);
        self.written += bytes.len();
        self.to.write_all(bytes)
    }

    fn zeros_to(&mut self, offset: usize) -> io::Result<()> {
        self.put(&vec![0; offset - self.written])
    }
}

impl Shard {
    /// The parts of the shard that have a packed form, with the lengths of their files. None if it
    /// does not compute with this crate's kernels.
    pub fn packed_parts(&self) -> Vec<(PackedPart, u64)> {
        let layers = self.range().layers.clone().map(PackedPart::Layer);
        let parts = layers.chain([PackedPart::Head]);
        let len = |part| Some(self.plan(part, &[0; 32]).ok()?.len as u64);
        parts.filter_map(|part| Some((part, len(part)?))).collect()
    }

    /// Whether the part is computed from packed weights.
    pub fn is_packed(&self, part: PackedPart) -> bool {
        self.in_use().iter().any(|in_use| in_use.part == part)
    }

    fn in_use(&self) -> MutexGuard<'_, Vec<InUse>> {
        self.packed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls `read` with a part's matrices, if the shard has it.
    fn with_matrices<T>(
        &self,
        part: PackedPart,
        read: impl FnOnce(&[&StoredMatrix]) -> T,
    ) -> Option<T> {
        match part {
            PackedPart::Layer(layer) => {
                let index = layer.checked_sub(self.range.layers.start)?;
                let block = self.blocks.get(index)?.get();
                Some(read(&block.matrices()))
            }
            PackedPart::Head => {
                let head = self.head.as_ref()?.get();
                Some(read(&[&head.output]))
            }
        }
    }

    fn plan(&self, part: PackedPart, key: &[u8; 32]) -> Result<Plan, PackedError> {
        let plan = self.with_matrices(part, |matrices| Plan::new(matrices, key));
        let plan = plan.flatten().filter(|_| self.compute.has_kernels());
        plan.ok_or(PackedError::Nothing(part))
    }

    /// Writes the packed form of a part to `to`, which is best buffered; `go_on` is asked often.
    ///
    /// # Errors
    /// [`PackedError::Nothing`], also if the part is packed already; [`PackedError::Stopped`] if
    /// `go_on` returned false; [`PackedError::Io`].
    pub fn write_packed(
        &self,
        part: PackedPart,
        key: &[u8; 32],
        to: &mut dyn Write,
        go_on: &dyn Fn() -> bool,
    ) -> Result<(), PackedError> {
        if self.is_packed(part) {
            return Err(PackedError::Nothing(part));
        }
        let plan = self.plan(part, key)?;
        let mut to = Summed {
            to,
            sum: crc32fast::Hasher::new(),
            written: 0,
        };
        to.put(&plan.header)?;
        let written = self.with_matrices(part, |matrices| {
            for (index, place) in &plan.places {
                to.zeros_to(place.start)?;
                write_matrix(matrices[*index], &mut to, go_on)?;
            }
            Ok(())
        });
        written.unwrap_or(Err(PackedError::Nothing(part)))?;
        let sum = to.sum.finalize();
        to.to.write_all(&sum.to_le_bytes())?;
        // What was packed from a file that changed is not what the key says.
        self.check_file().map_err(|_| PackedError::Other)
    }

    /// Computes the part from the weights in `file`, which [`Self::write_packed`] wrote, from the
    /// next step on. Reads the whole file once, to check it, and lets the system drop the stored
    /// weights from memory.
    ///
    /// # Errors
    /// [`PackedError::Other`] and [`PackedError::Damaged`]: the file should be made again;
    /// [`PackedError::Nothing`], [`PackedError::Io`].
    pub fn use_packed(
        &self,
        part: PackedPart,
        key: &[u8; 32],
        file: &File,
    ) -> Result<(), PackedError> {
        let plan = self.plan(part, key)?;
        let mapping = map_file(file)?.ok_or(PackedError::Other)?;
        let bytes = mapping.bytes();
        if bytes.len() != plan.len || !bytes.starts_with(&plan.header) {
            return Err(PackedError::Other);
        }
        let (summed, sum) = bytes.split_at(plan.len - CHECKSUM);
        if crc32fast::hash(summed).to_le_bytes() != sum || mapping.is_lost() {
            return Err(PackedError::Damaged);
        }
        let views = plan.places.into_iter();
        let views = views.map(|(index, place)| (index, bytes.slice(place)));
        self.exchange(part, Some(mapping), views.collect());
        Ok(())
    }

    /// Computes all parts from packed weights that are kept in memory, for short measurements: they
    /// count as this program's own memory.
    ///
    /// # Errors
    /// [`PackedError::Other`] if the model's file has changed.
    pub fn pack_in_memory(&self) -> Result<(), PackedError> {
        let key = [0; 32];
        for (part, _) in self.packed_parts() {
            let plan = self.plan(part, &key)?;
            let mut bytes: Vec<u8> = Vec::with_capacity(plan.len + ALIGNMENT);
            let padding = bytes.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
            bytes.resize(padding, 0);
            self.write_packed(part, &key, &mut bytes, &|| true)?;
            let bytes = bytes::Bytes::from(bytes).slice(padding..);
            let views = plan.places.into_iter();
            let views = views.map(|(index, place)| (index, bytes.slice(place)));
            self.exchange(part, None, views.collect());
        }
        Ok(())
    }

    /// The head with its weights as the file stores them.
    pub(super) fn stored_head(&self) -> Option<Arc<Head>> {
        let in_use = self.in_use();
        let stored = in_use.iter().find_map(|in_use| match &in_use.stored {
            Stored::Head(head) => Some(Arc::clone(head)),
            Stored::Layer(_) => None,
        });
        stored.or_else(|| Some(self.head.as_ref()?.get()))
    }

    /// Puts packed weights in the place of a part's matrices of these indices.
    fn exchange(
        &self,
        part: PackedPart,
        mapping: Option<Mapping>,
        views: Vec<(usize, bytes::Bytes)>,
    ) {
        let mut in_use = self.in_use();
        if in_use.iter().any(|in_use| in_use.part == part) {
            return;
        }
        let device = self.compute.device();
        let stored = match part {
            PackedPart::Layer(layer) => {
                let place = &self.blocks[layer - self.range.layers.start];
                let mut block = Block::clone(&place.get());
                let mut matrices = block.matrices_mut();
                for (index, bytes) in views {
                    *matrices[index] = matrices[index].packed(bytes, device);
                }
                Stored::Layer(place.replace(Arc::new(block)))
            }
            PackedPart::Head => {
                let Some(place) = &self.head else { return };
                let mut head = Head::clone(&place.get());
                for (_, bytes) in views {
                    head.output = head.output.packed(bytes, device);
                }
                Stored::Head(place.replace(Arc::new(head)))
            }
        };
        in_use.push(InUse {
            part,
            mapping,
            stored,
        });
        drop(in_use);
        self.stored_not_needed(part);
    }

    /// Lets the system drop a part's stored weights from memory.
    fn stored_not_needed(&self, part: PackedPart) {
        let of_part = self.stored.iter().filter(|(of, ..)| *of == part);
        of_part.for_each(|(_, mapping, place)| mapping.not_needed(place.clone()));
    }

    /// Checks that no file of packed weights was cut short. Parts whose file was are computed from
    /// the stored weights from the next step on.
    pub(super) fn check_packed(&self) -> Result<(), ModelError> {
        let mut in_use = self.in_use();
        let is_lost = |in_use: &InUse| in_use.mapping.as_ref().is_some_and(Mapping::is_lost);
        let Some(lost) = in_use.iter().position(is_lost) else {
            return Ok(());
        };
        let InUse { part, stored, .. } = in_use.swap_remove(lost);
        match (part, stored) {
            (PackedPart::Layer(layer), Stored::Layer(block)) => {
                self.blocks[layer - self.range.layers.start].replace(block);
            }
            (_, Stored::Head(head)) => {
                self.head.as_ref().map(|place| place.replace(head));
            }
            (PackedPart::Head, Stored::Layer(_)) => {}
        }
        Err(ModelError::PackedLost(part))
    }
}

fn write_matrix(
    matrix: &StoredMatrix,
    to: &mut Summed<'_>,
    go_on: &dyn Fn() -> bool,
) -> Result<(), PackedError> {
    let storage = &matrix.storage;
    let group_bytes = Layout::Packed.bytes(storage.tensor_type, 1, storage.columns);
    let mut group = vec![0; group_bytes.unwrap_or_default()];
    matrix.with_bytes(|stored| {
        let row_bytes = stored.len() / storage.rows;
        for rows in stored.chunks(GROUP * row_bytes) {
            if !go_on() {
                return Err(PackedError::Stopped);
            }
            pack(storage.tensor_type, rows, row_bytes, &mut group);
            to.put(&group)?;
        }
        Ok(())
    })
}
