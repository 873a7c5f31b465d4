//! The tensor entries of a GGUF file, and what must hold of them.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::cursor::Cursor;
use super::{GgufError, OtherType, TensorProblem};
use crate::TensorType;

/// The longest tensor name accepted, as the format defines it.
const NAME_LIMIT: u64 = 64;
/// The most dimensions a tensor may have, as the format defines it.
const DIMENSION_LIMIT: u32 = 4;

/// Where a tensor lies in the file, and what it is.
///
/// Entries are checked when the file is parsed: rows are whole blocks, sizes do not overflow, the
/// data lies in the file, is aligned and shares no byte with another tensor's.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TensorInfo {
    /// The name, such as `blk.0.attn_q.weight`.
    pub name: String,
    /// One to four lengths, none 0, innermost first: a weight `[d_out, d_in]` is `[d_in, d_out]`.
    pub dimensions: Vec<u64>,
    /// How elements are stored.
    pub tensor_type: TensorType,
    /// Bytes from the start of the file to the data; of a split model, from the start of the file
    /// that its parts would be when put together.
    pub offset: u64,
    /// Bytes of the data.
    pub bytes: usize,
    pub(super) place: Place,
}

impl TensorInfo {
    /// Elements of a row: the innermost dimension.
    pub fn columns(&self) -> usize {
        self.dimensions[0] as usize
    }

    /// Rows: the product of the other dimensions, 1 for a vector.
    pub fn rows(&self) -> usize {
        self.dimensions[1..].iter().product::<u64>() as usize
    }

    /// Elements of the tensor.
    pub fn elements(&self) -> usize {
        self.columns() * self.rows()
    }

    /// Bytes of a row.
    pub fn row_bytes(&self) -> usize {
        self.bytes / self.rows()
    }
}

/// A tensor whose type this build does not compute with.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OtherTensor {
    /// The name.
    pub name: String,
    /// One to four lengths, none 0, innermost first.
    pub dimensions: Vec<u64>,
    /// How elements are stored.
    pub other_type: OtherType,
    /// Bytes of the data, if the type's layout is known.
    pub bytes: Option<u64>,
}

impl OtherTensor {
    /// Elements of the tensor, saturated.
    pub fn elements(&self) -> u64 {
        self.dimensions
            .iter()
            .fold(1, |all, n| all.saturating_mul(*n))
    }
}

/// Where data lies: in which of a model's files, and how far from its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) file: usize,
    pub(super) offset: u64,
}

/// A tensor's entry in a header, whether its type is supported or not.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) dimensions: Vec<u64>,
    pub(super) type_number: u32,
    /// Bytes of the data; `None` if the type's layout is not known.
    pub(super) bytes: Option<u64>,
    /// Relative to the data section when it is read, then from the start of its file.
    pub(super) place: Place,
}

impl Entry {
    fn read(cursor: &mut Cursor<'_>, index: usize) -> Result<Self, GgufError> {
        let name = cursor.name(NAME_LIMIT, &format_args!("name of tensor {index}"))?;
        let count = cursor.u32(&format_args!("dimension count of tensor `{name}`"))?;
        if !(1..=DIMENSION_LIMIT).contains(&count) {
            return Err(problem(&name, TensorProblem::DimensionCount { count }));
        }
        let mut dimensions = Vec::with_capacity(count as usize);
        for index in 0..count as usize {
            let length = cursor.u64(&format_args!("dimension {index} of tensor `{name}`"))?;
            if length == 0 {
                return Err(problem(&name, TensorProblem::EmptyDimension { index }));
            }
            dimensions.push(length);
        }
        let type_number = cursor.u32(&format_args!("type of tensor `{name}`"))?;
        let bytes = match TensorType::from_gguf(type_number) {
            Some(tensor_type) => {
                let bytes = data_bytes(&dimensions, tensor_type);
                Some(bytes.map_err(|p| problem(&name, p))? as u64)
            }
            None => OtherType::new(type_number).data_bytes(&dimensions),
        };
        let offset = cursor.u64(&format_args!("data offset of tensor `{name}`"))?;
        Ok(Self {
            name,
            dimensions,
            type_number,
            bytes,
            place: Place { file: 0, offset },
        })
    }

    /// Bytes that are known to be the tensor's.
    fn least_bytes(&self) -> u64 {
        self.bytes.unwrap_or_default()
    }

    /// Makes the offset one from the start of the file, if the data is aligned and lies in it.
    fn place(&mut self, data: u64, alignment: u32, file_len: u64) -> Result<(), GgufError> {
        let offset = self.place.offset;
        if !offset.is_multiple_of(u64::from(alignment)) {
            return Err(problem(
                &self.name,
                TensorProblem::Misaligned { offset, alignment },
            ));
        }
        let offset = data.saturating_add(offset);
        let bytes = self.least_bytes();
        if offset.checked_add(bytes).is_none_or(|end| end > file_len) {
            return Err(problem(
                &self.name,
                TensorProblem::OutOfFile {
                    offset,
                    bytes,
                    file_len,
                },
            ));
        }
        self.place.offset = offset;
        Ok(())
    }
}

/// Reads `count` entries, a count that was checked against the bytes left.
pub(super) fn read_entries(cursor: &mut Cursor<'_>, count: usize) -> Result<Vec<Entry>, GgufError> {
    let mut names = HashSet::with_capacity(count);
    let mut entries = Vec::with_capacity(count);
    for at in 0..count {
        let entry = Entry::read(cursor, at)?;
        if !names.insert(entry.name.clone()) {
            return Err(problem(&entry.name, TensorProblem::DuplicateName));
        }
        entries.push(entry);
    }
    Ok(entries)
}

/// Makes offsets absolute and checks that every tensor has its own bytes of the file.
pub(super) fn place_entries(
    entries: &mut [Entry],
    data: u64,
    alignment: u32,
    file_len: u64,
) -> Result<(), GgufError> {
    for entry in &mut *entries {
        entry.place(data, alignment, file_len)?;
    }
    let mut by_offset: Vec<&Entry> = entries.iter().collect();
    by_offset.sort_by_key(|entry| entry.place.offset);
    for pair in by_offset.windows(2) {
        let [before, after] = [pair[0], pair[1]];
        let offset = after.place.offset;
        if before.place.offset + before.least_bytes() > offset {
            let other = before.name.clone();
            let overlap = TensorProblem::Overlap { offset, other };
            return Err(problem(&after.name, overlap));
        }
    }
    Ok(())
}

/// The tensors of a model, in their order, and where each name is among them.
#[derive(Debug, Clone, Default)]
pub(super) struct Tensors {
    pub(super) infos: Vec<TensorInfo>,
    pub(super) others: Vec<OtherTensor>,
    index: HashMap<String, usize>,
}

impl Tensors {
    /// Those of these entries; `offset_of` gives the place of each in the whole model.
    pub(super) fn of(entries: Vec<Entry>, offset_of: impl Fn(usize, &Entry) -> u64) -> Self {
        let mut tensors = Self::default();
        for (at, entry) in entries.into_iter().enumerate() {
            let offset = offset_of(at, &entry);
            let supported = TensorType::from_gguf(entry.type_number);
            let bytes = entry.bytes.and_then(|bytes| usize::try_from(bytes).ok());
            let (Some(tensor_type), Some(bytes)) = (supported, bytes) else {
                tensors.others.push(OtherTensor {
                    name: entry.name,
                    dimensions: entry.dimensions,
                    other_type: OtherType::new(entry.type_number),
                    bytes: entry.bytes,
                });
                continue;
            };
            tensors
                .index
                .insert(entry.name.clone(), tensors.infos.len());
            tensors.infos.push(TensorInfo {
                name: entry.name,
                dimensions: entry.dimensions,
                tensor_type,
                offset,
                bytes,
                place: entry.place,
            });
        }
        tensors
    }

    pub(super) fn get(&self, name: &str) -> Option<&TensorInfo> {
        self.index.get(name).map(|&at| &self.infos[at])
    }

    /// The types that are not supported, and how many tensors have each.
    pub(super) fn other_types(&self) -> BTreeMap<OtherType, usize> {
        let mut types = BTreeMap::new();
        for tensor in &self.others {
            *types.entry(tensor.other_type).or_default() += 1;
        }
        types
    }
}

/// Bytes of a tensor's data, if rows are whole blocks and neither elements nor bytes overflow.
pub(super) fn data_bytes(
    dimensions: &[u64],
    tensor_type: TensorType,
) -> Result<usize, TensorProblem> {
    let too_large = || TensorProblem::TooLarge {
        dimensions: dimensions.to_vec(),
    };
    let mut lengths = dimensions
        .iter()
        .map(|&length| usize::try_from(length).ok());
    let columns = lengths.next().flatten().ok_or_else(too_large)?;
    let rows = lengths
        .try_fold(1, |rows: usize, length| rows.checked_mul(length?))
        .ok_or_else(too_large)?;
    rows.checked_mul(columns).ok_or_else(too_large)?;
    if !columns.is_multiple_of(tensor_type.block_elements()) {
        return Err(TensorProblem::PartialBlock {
            columns: columns as u64,
            tensor_type,
        });
    }
    tensor_type
        .row_bytes(columns)
        .and_then(|row_bytes| row_bytes.checked_mul(rows))
        .ok_or_else(too_large)
}

fn problem(name: &str, problem: TensorProblem) -> GgufError {
    GgufError::Tensor {
        name: name.into(),
        problem,
    }
}
