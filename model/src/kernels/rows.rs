//! A matrix of weights where they lie: as the file stores them, or packed.

use std::borrow::Cow;
use std::ops::Range;

use super::packed_format::{self, GROUP};
use super::simd::LANES;
use crate::TensorType;

/// How a matrix lies in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Layout {
    /// Row after row, as in the file.
    #[default]
    Stored,
    /// In groups of sixteen rows, which products read fastest.
    Packed,
}

impl Layout {
    /// Bytes of a matrix; `None` if the type has no such layout, rows are no whole blocks, or the
    /// number is too large.
    pub(crate) fn bytes(
        self,
        tensor_type: TensorType,
        rows: usize,
        columns: usize,
    ) -> Option<usize> {
        match self {
            Self::Stored => tensor_type.row_bytes(columns)?.checked_mul(rows),
            Self::Packed => {
                packed_format::group_bytes(tensor_type, columns)?.checked_mul(rows.div_ceil(GROUP))
            }
        }
    }
}

/// Bytes that several may own, and that do not change.
pub(crate) trait Owned: Sync {
    fn bytes(&self) -> &[u8];

    /// Another owner of the same bytes.
    fn share(&self) -> Box<dyn Owned + Send>;
}

/// `[rows, columns]` of weights.
#[derive(Clone, Copy)]
pub(crate) struct WeightRows<'a> {
    bytes: &'a [u8],
    /// Who owns the bytes, and others around them, if that is known.
    owner: Option<&'a dyn Owned>,
    layout: Layout,
    tensor_type: TensorType,
    rows: usize,
    columns: usize,
    /// Of a stored row.
    row_bytes: usize,
    /// Of a packed group; 0 if the matrix is stored.
    group_bytes: usize,
}

impl<'a> WeightRows<'a> {
    /// # Panics
    /// If the sizes do not fit each other; loading checked that they do.
    pub(crate) fn new(
        tensor_type: TensorType,
        rows: usize,
        columns: usize,
        bytes: &'a [u8],
        layout: Layout,
    ) -> Self {
        let size = layout.bytes(tensor_type, rows, columns);
        assert_eq!(Some(bytes.len()), size, "loading checked the size");
        let row_bytes = tensor_type.row_bytes(columns);
        let group_bytes = match layout {
            Layout::Stored => None,
            Layout::Packed => packed_format::group_bytes(tensor_type, columns),
        };
        Self {
            bytes,
            owner: None,
            layout,
            tensor_type,
            rows,
            columns,
            row_bytes: row_bytes.expect("loading checked the width"),
            group_bytes: group_bytes.unwrap_or_default(),
        }
    }

    /// The same weights, of whose bytes this is an owner.
    pub(crate) fn owned_by(self, owner: &'a dyn Owned) -> Self {
        Self {
            owner: Some(owner),
            ..self
        }
    }

    /// What keeps the bytes where they are, unchanged, as long as it is not dropped.
    pub(crate) fn keep(&self) -> Option<Box<dyn Owned + Send>> {
        let kept = self.owner?.share();
        // A slice borrowed from `kept` may be borrowed for as long as nobody changes or drops that, so
        // what lies in it stays.
        let (all, own) = (kept.bytes().as_ptr_range(), self.bytes.as_ptr_range());
        (all.start <= own.start && own.end <= all.end).then_some(kept)
    }

    /// The same weights, without their owner.
    pub(crate) fn unowned(self) -> Self {
        Self {
            owner: None,
            ..self
        }
    }

    /// Whether there is an owner.
    pub(crate) fn can_be_kept(&self) -> bool {
        self.owner.is_some()
    }

    /// Some groups of sixteen rows, as a matrix of their own.
    pub(crate) fn part(&self, groups: Range<usize>) -> Self {
        let group_bytes = self.group_bytes();
        let end = (groups.end * group_bytes).min(self.bytes.len());
        Self {
            bytes: &self.bytes[groups.start * group_bytes..end],
            rows: self.rows.min(groups.end * GROUP) - groups.start * GROUP,
            ..*self
        }
    }

    pub(crate) fn layout(&self) -> Layout {
        self.layout
    }

    pub(crate) fn tensor_type(&self) -> TensorType {
        self.tensor_type
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    pub(crate) fn columns(&self) -> usize {
        self.columns
    }

    pub(crate) fn row_bytes(&self) -> usize {
        self.row_bytes
    }

    /// The bytes of one stored row.
    pub(crate) fn row(&self, row: usize) -> &'a [u8] {
        &self.bytes[row * self.row_bytes..][..self.row_bytes]
    }

    /// The bytes of some stored rows.
    #[inline(always)]
    pub(crate) fn bytes(&self, rows: Range<usize>) -> &'a [u8] {
        &self.bytes[rows.start * self.row_bytes..rows.end * self.row_bytes]
    }

    /// Groups of sixteen rows, the last maybe incomplete.
    pub(crate) fn groups(&self) -> usize {
        self.rows.div_ceil(GROUP)
    }

    /// Bytes of a group of sixteen rows.
    pub(crate) fn group_bytes(&self) -> usize {
        match self.layout {
            Layout::Stored => GROUP * self.row_bytes,
            Layout::Packed => self.group_bytes,
        }
    }

    /// The bytes from a group of sixteen rows on.
    pub(crate) fn bytes_from_group(&self, group: usize) -> &'a [u8] {
        &self.bytes[(group * self.group_bytes()).min(self.bytes.len())..]
    }

    /// Eight stored rows from `first` on, and how many of them exist. Those that do not are
    /// zeros (which decode to zero in every format).
    #[inline(always)]
    pub(crate) fn eight(&self, first: usize) -> (Cow<'a, [u8]>, usize) {
        let count = LANES.min(self.rows - first);
        let there = &self.bytes[first * self.row_bytes..][..count * self.row_bytes];
        if count == LANES {
            return (Cow::Borrowed(there), count);
        }
        (Cow::Owned(self.padded(there)), count)
    }

    #[cold]
    fn padded(&self, rows: &[u8]) -> Vec<u8> {
        let mut padded = vec![0; LANES * self.row_bytes];
        padded[..rows.len()].copy_from_slice(rows);
        padded
    }
}
