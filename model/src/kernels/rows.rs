//! A matrix of stored weights, as rows of blocks where they lie in the file.

use std::borrow::Cow;

use super::simd::LANES;
use crate::TensorType;

/// `[rows, columns]` of stored weights.
#[derive(Clone, Copy)]
pub(crate) struct WeightRows<'a> {
    bytes: &'a [u8],
    tensor_type: TensorType,
    rows: usize,
    columns: usize,
    row_bytes: usize,
}

impl<'a> WeightRows<'a> {
    /// # Panics
    /// If the sizes do not fit each other; loading checked that they do.
    pub(crate) fn new(
        tensor_type: TensorType,
        rows: usize,
        columns: usize,
        bytes: &'a [u8],
    ) -> Self {
        let row_bytes = tensor_type
            .row_bytes(columns)
            .expect("loading checked the width");
        assert_eq!(bytes.len(), rows * row_bytes, "loading checked the size");
        Self {
            bytes,
            tensor_type,
            rows,
            columns,
            row_bytes,
        }
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

    /// The bytes of one row.
    pub(crate) fn row(&self, row: usize) -> &'a [u8] {
        &self.bytes[row * self.row_bytes..][..self.row_bytes]
    }

    /// The bytes of some rows.
    #[inline(always)]
    pub(crate) fn bytes(&self, rows: std::ops::Range<usize>) -> &'a [u8] {
        &self.bytes[rows.start * self.row_bytes..rows.end * self.row_bytes]
    }

    /// Groups of eight rows, the last maybe incomplete.
    pub(crate) fn groups(&self) -> usize {
        self.rows.div_ceil(LANES)
    }

    /// Eight rows from `LANES · group` on, and how many of them exist. Those that do not are
    /// zeros (which decode to zero in every format).
    #[inline(always)]
    pub(crate) fn group(&self, group: usize) -> (Cow<'a, [u8]>, usize) {
        let first = group * LANES;
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
