//! Weight matrices in the file's storage format, or packed.

use burn::backend::Flex;
use burn::module::{Module, Param, ParamId};
use burn::tensor::{AllocationProperty, Bytes, DType, Device, Int, Tensor, TensorData};

use crate::TensorType;
use crate::compute::Compute;
use crate::kernels::packed_format::GROUP;
use crate::ops::{self, Layout, Storage};

/// Weights `[rows, columns]` and their storage format: bytes `[rows, row_bytes]`, or packed
/// `[groups, group_bytes]`.
#[derive(Module, Debug)]
pub(crate) struct StoredMatrix {
    pub(crate) bytes: Param<Tensor<2, Int>>,
    #[module(skip)]
    pub(crate) storage: Storage,
}

/// Wraps mapped bytes without reading or copying them.
pub(super) fn view(bytes: bytes::Bytes) -> Bytes {
    Bytes::from_shared(bytes, AllocationProperty::File)
}

/// Bytes as `rows` equal rows, without reading or copying them.
fn rows_of(bytes: bytes::Bytes, rows: usize, device: &Device) -> Param<Tensor<2, Int>> {
    let shape = [rows, bytes.len() / rows.max(1)];
    let data = TensorData::from_bytes(view(bytes), shape, DType::U8);
    let tensor = Tensor::from_data(data, (device, DType::U8));
    Param::initialized(ParamId::new(), tensor)
}

impl StoredMatrix {
    /// Weights in memory or a mapped file, row after row.
    ///
    /// # Panics
    /// `bytes` are not `rows` rows.
    pub(crate) fn new(
        bytes: bytes::Bytes,
        tensor_type: TensorType,
        [rows, columns]: [usize; 2],
        device: &Device,
    ) -> Self {
        let size = Layout::Stored.bytes(tensor_type, rows, columns);
        assert_eq!(size, Some(bytes.len()));
        Self {
            bytes: rows_of(bytes, rows, device),
            storage: Storage::new(tensor_type, rows, columns),
        }
    }

    /// A copy of some rows, with their scale and bias.
    ///
    /// # Panics
    /// A row is beyond the matrix, or the weights are packed.
    pub(crate) fn with_rows(&self, rows: &[u32], device: &Device) -> Self {
        let Storage {
            tensor_type,
            columns,
            layout,
            ref scale,
            ref bias,
            ..
        } = self.storage;
        assert_eq!(layout, Layout::Stored);
        let copied = self.with_bytes(|all| {
            let row_bytes = all.len() / self.storage.rows.max(1);
            let mut copied = Vec::with_capacity(rows.len() * row_bytes);
            for &row in rows {
                copied.extend_from_slice(&all[row as usize * row_bytes..][..row_bytes]);
            }
            copied
        });
        let mut copy = Self::new(copied.into(), tensor_type, [rows.len(), columns], device);
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

    /// Bytes in the file.
    pub(crate) fn len(&self) -> usize {
        let Storage {
            tensor_type,
            rows,
            columns,
            ..
        } = self.storage;
        let bytes = Layout::Stored.bytes(tensor_type, rows, columns);
        bytes.expect("loading checked the size")
    }

    /// Passes the bytes to `read`, as they lie in memory.
    ///
    /// # Panics
    /// If the tensor is not on the kernels' device.
    pub(crate) fn with_bytes<T>(&self, read: impl FnOnce(&[u8]) -> T) -> T {
        let bytes = self.bytes.val().try_into_primitive::<Flex>();
        read(bytes.expect("on the kernels' device").bytes())
    }

    /// The same weights, packed: `bytes` are the groups of rows.
    pub(crate) fn packed(&self, bytes: bytes::Bytes, device: &Device) -> Self {
        let mut storage = self.storage.clone();
        storage.layout = Layout::Packed;
        Self {
            bytes: rows_of(bytes, storage.rows.div_ceil(GROUP), device),
            storage,
        }
    }
}
