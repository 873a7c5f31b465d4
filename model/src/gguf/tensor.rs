//! The tensor entries of a GGUF file, and what must hold of them.

use std::collections::HashMap;

use super::cursor::Cursor;
use super::{GgufError, TensorProblem};
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
    /// Bytes from the start of the file to the data.
    pub offset: u64,
    /// Bytes of the data.
    pub bytes: usize,
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

    /// Reads an entry; `offset` is still relative to the data section.
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
        let number = cursor.u32(&format_args!("type of tensor `{name}`"))?;
        let Some(tensor_type) = TensorType::from_gguf(number) else {
            let type_name = known_type_name(number);
            return Err(problem(
                &name,
                TensorProblem::UnsupportedType {
                    number,
                    name: type_name,
                },
            ));
        };
        let bytes = data_bytes(&dimensions, tensor_type).map_err(|p| problem(&name, p))?;
        let offset = cursor.u64(&format_args!("data offset of tensor `{name}`"))?;
        Ok(Self {
            name,
            dimensions,
            tensor_type,
            offset,
            bytes,
        })
    }

    /// Makes `offset` absolute, if the data is aligned and lies in the file.
    fn place(&mut self, data: u64, alignment: u32, file_len: u64) -> Result<(), GgufError> {
        if !self.offset.is_multiple_of(u64::from(alignment)) {
            return Err(problem(
                &self.name,
                TensorProblem::Misaligned {
                    offset: self.offset,
                    alignment,
                },
            ));
        }
        let offset = data.saturating_add(self.offset);
        let bytes = self.bytes as u64;
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
        self.offset = offset;
        Ok(())
    }
}

/// The tensors of a file, in its order, and where each name is among them.
#[derive(Debug, Clone, Default)]
pub(super) struct Tensors {
    pub(super) infos: Vec<TensorInfo>,
    index: HashMap<String, usize>,
}

impl Tensors {
    /// Reads `count` entries, a count that was checked against the bytes left.
    pub(super) fn read(cursor: &mut Cursor<'_>, count: usize) -> Result<Self, GgufError> {
        let mut tensors = Self {
            infos: Vec::with_capacity(count),
            index: HashMap::with_capacity(count),
        };
        for at in 0..count {
            let info = TensorInfo::read(cursor, at)?;
            if tensors.index.insert(info.name.clone(), at).is_some() {
                return Err(problem(&info.name, TensorProblem::DuplicateName));
            }
            tensors.infos.push(info);
        }
        Ok(tensors)
    }

    /// Makes offsets absolute and checks that every tensor has its own bytes of the file.
    pub(super) fn place(
        &mut self,
        data: u64,
        alignment: u32,
        file_len: u64,
    ) -> Result<(), GgufError> {
        for info in &mut self.infos {
            info.place(data, alignment, file_len)?;
        }
        let mut by_offset: Vec<&TensorInfo> = self.infos.iter().collect();
        by_offset.sort_by_key(|info| info.offset);
        for pair in by_offset.windows(2) {
            let [before, after] = [pair[0], pair[1]];
            if before.offset + before.bytes as u64 > after.offset {
                return Err(problem(
                    &after.name,
                    TensorProblem::Overlap {
                        offset: after.offset,
                        other: before.name.clone(),
                    },
                ));
            }
        }
        Ok(())
    }

    pub(super) fn get(&self, name: &str) -> Option<&TensorInfo> {
        self.index.get(name).map(|&at| &self.infos[at])
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

/// The name of a tensor type that `ggml.h` defines, or once defined, and that is not supported.
fn known_type_name(number: u32) -> Option<&'static str> {
    Some(match number {
        4 => "Q4_2",
        5 => "Q4_3",
        9 => "Q8_1",
        10 => "Q2_K",
        11 => "Q3_K",
        15 => "Q8_K",
        16 => "IQ2_XXS",
        17 => "IQ2_XS",
        18 => "IQ3_XXS",
        19 => "IQ1_S",
        20 => "IQ4_NL",
        21 => "IQ3_S",
        22 => "IQ2_S",
        23 => "IQ4_XS",
        24 => "I8",
        25 => "I16",
        26 => "I32",
        27 => "I64",
        28 => "F64",
        29 => "IQ1_M",
        31 => "Q4_0_4_4",
        32 => "Q4_0_4_8",
        33 => "Q4_0_8_8",
        34 => "TQ1_0",
        35 => "TQ2_0",
        36 => "IQ4_NL_4_4",
        37 => "IQ4_NL_4_8",
        38 => "IQ4_NL_8_8",
        39 => "MXFP4",
        40 => "NVFP4",
        _ => return None,
    })
}
