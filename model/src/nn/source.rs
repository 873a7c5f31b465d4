//! Where modules get their parameters: tensors of a GGUF file, as views of the mapping.

use std::fmt;

use burn::backend::flex::{FlexTensor, Layout};
use burn::backend::{AllocationProperty, Bytes, DType, Flex, Shape};
use burn::module::{Param, ParamId};
use burn::tensor::{Int, Tensor};

use super::StoredMatrix;
use crate::gguf::{Gguf, TensorInfo};
use crate::kernels::dequantise::dequantise_row;
use crate::ops::Storage;
use crate::{ModelError, TensorType};

/// A file's tensors under a prefix (`blk.3.`).
pub(crate) struct Source<'a> {
    gguf: &'a Gguf,
    prefix: String,
}

impl<'a> Source<'a> {
    pub(crate) fn root(gguf: &'a Gguf) -> Self {
        Self {
            gguf,
            prefix: String::new(),
        }
    }

    pub(crate) fn layer(gguf: &'a Gguf, layer: usize) -> Self {
        Self {
            gguf,
            prefix: format!("blk.{layer}."),
        }
    }

    /// All tensors under the prefix will be read soon.
    pub(crate) fn will_need(&self) {
        let tensors = self.gguf.tensors().iter();
        tensors
            .filter(|tensor| tensor.name.starts_with(&self.prefix))
            .for_each(|tensor| self.gguf.will_need(tensor));
    }

    fn tensor(&self, name: &str) -> Result<&'a TensorInfo, ModelError> {
        Ok(self
            .gguf
            .require_tensor(&format!("{}{name}", self.prefix))?)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.gguf
            .tensor(&format!("{}{name}", self.prefix))
            .is_some()
    }

    /// A weight matrix `[rows, columns]`, where it lies.
    pub(crate) fn matrix(
        &self,
        name: &str,
        rows: usize,
        columns: usize,
    ) -> Result<StoredMatrix, ModelError> {
        let info = self.tensor(name)?;
        if info.rows() != rows || info.columns() != columns || info.dimensions.len() > 2 {
            return Err(mismatch(info, format_args!("[{columns}, {rows}]")));
        }
        if !columns.is_multiple_of(32) && !is_float(info.tensor_type) {
            return Err(mismatch(info, format_args!("a multiple of 32 columns")));
        }
        let shape = vec![rows, info.row_bytes()];
        let bytes: Tensor<2, Int> =
            Tensor::from_primitive::<Flex>(self.view(info, shape, DType::U8));
        Ok(StoredMatrix {
            bytes: Param::initialized(ParamId::new(), bytes),
            storage: Storage {
                tensor_type: info.tensor_type,
                columns,
            },
        })
    }

    /// A vector as `f32`: where it lies if it is stored so.
    pub(crate) fn vector(&self, name: &str, width: usize) -> Result<Tensor<1>, ModelError> {
        let info = self.tensor(name)?;
        if info.elements() != width || !is_float(info.tensor_type) {
            return Err(mismatch(info, format_args!("a float vector of {width}")));
        }
        let bytes = self.gguf.tensor_bytes(info);
        let aligned = bytes.as_ptr().addr().is_multiple_of(align_of::<f32>());
        let tensor = if info.tensor_type == TensorType::F32 && aligned {
            self.view(info, vec![width], DType::F32)
        } else {
            let mut values = vec![0.0_f32; width];
            dequantise_row(info.tensor_type, &bytes, &mut values);
            let shape = Layout::contiguous(Shape::from(vec![width]));
            FlexTensor::new(Bytes::from_elems(values), shape, DType::F32)
        };
        Ok(Tensor::from_primitive::<Flex>(tensor))
    }

    /// The tensor's bytes as they are mapped; nothing is read or copied.
    fn view(&self, info: &TensorInfo, shape: Vec<usize>, dtype: DType) -> FlexTensor {
        let bytes = self.gguf.tensor_bytes(info);
        let bytes = Bytes::from_shared(bytes, AllocationProperty::File);
        FlexTensor::new(bytes, Layout::contiguous(Shape::from(shape)), dtype)
    }
}

fn is_float(tensor_type: TensorType) -> bool {
    tensor_type.block_elements() == 1
}

fn mismatch(info: &TensorInfo, expected: fmt::Arguments<'_>) -> ModelError {
    ModelError::Tensor {
        name: info.name.clone(),
        found: format!("{} {:?}", info.tensor_type, info.dimensions),
        expected: expected.to_string(),
    }
}
