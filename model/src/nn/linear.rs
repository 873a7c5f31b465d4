//! Weight matrices in the file's storage format.

use burn::module::{Module, Param};
use burn::tensor::{Int, Tensor};

use crate::compute::Compute;
use crate::ops::{self, Storage};

/// Stored weights `[rows, columns]`: bytes `[rows, row_bytes]` and their storage format.
#[derive(Module, Debug)]
pub(crate) struct StoredMatrix {
    pub(crate) bytes: Param<Tensor<2, Int>>,
    #[module(skip)]
    pub(crate) storage: Storage,
}

impl StoredMatrix {
    /// Computes `y = x · wᵀ`, then applies the file's scale and bias, if any.
    ///
    /// # Shapes
    /// x `[positions, columns]`, y `[positions, rows]`.
    pub(crate) fn forward(&self, x: Tensor<2>, compute: &Compute) -> Tensor<2> {
        ops::linear(x, self.parts(), compute)
    }

    /// Decodes the rows `ids` to `f32`, times `scale`: `[ids, columns]`.
    pub(crate) fn rows(&self, ids: &[u32], scale: f32, compute: &Compute) -> Tensor<2> {
        let (bytes, storage) = self.parts();
        ops::embedding_rows(bytes, storage, ids, scale, compute)
    }

    pub(crate) fn parts(&self) -> (Tensor<2, Int>, Storage) {
        (self.bytes.val(), self.storage.clone())
    }

    /// Stored bytes.
    pub(crate) fn len(&self) -> usize {
        self.bytes.shape().num_elements()
    }
}
