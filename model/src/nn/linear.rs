//! Weight matrices in the file's storage format.

use burn::module::{Module, Param, ParamId};
use burn::tensor::{DType, Device, Int, Tensor, TensorData};

use super::source::view;
use crate::TensorType;
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
    /// Weights in memory or a mapped file, row after row.
    ///
    /// # Panics
    /// `bytes` are not `rows` rows.
    pub(crate) fn of(
        bytes: bytes::Bytes,
        tensor_type: TensorType,
        rows: usize,
        columns: usize,
        device: &Device,
    ) -> Self {
        let shape = [rows, bytes.len() / rows.max(1)];
        assert_eq!(tensor_type.row_bytes(columns), Some(shape[1]));
        let data = TensorData::from_bytes(view(bytes), shape, DType::U8);
        let bytes = Tensor::<2, Int>::from_data(data, (device, DType::U8));
        Self {
            bytes: Param::initialized(ParamId::new(), bytes),
            storage: Storage::new(tensor_type, columns),
        }
    }

    /// A copy of some rows, with their scale and bias.
    ///
    /// # Panics
    /// A row is beyond the matrix.
    pub(crate) fn with_rows(&self, rows: &[u32], device: &Device) -> Self {
        let [_rows, row_bytes] = self.bytes.dims();
        let data = self.bytes.val().into_data();
        let all = data.as_bytes();
        let mut copied = Vec::with_capacity(rows.len() * row_bytes);
        for &row in rows {
            copied.extend_from_slice(&all[row as usize * row_bytes..][..row_bytes]);
        }
        let Storage {
            tensor_type,
            columns,
            scale,
            bias,
        } = &self.storage;
        let mut copy = Self::of(copied.into(), *tensor_type, rows.len(), *columns, device);
        copy.storage.scale = *scale;
        let bias = bias.as_deref();
        copy.storage.bias = bias.map(|bias| rows.iter().map(|&row| bias[row as usize]).collect());
        copy
    }

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
