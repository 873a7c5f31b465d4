//! Parameter source for modules: tensors of a GGUF file, as views of the mapping.

use std::cell::RefCell;
use std::collections::HashSet;
use std::fmt;
use std::ops::Range;

use burn::tensor::{DType, Device, Tensor, TensorData};

use super::StoredMatrix;
use super::linear::view;
use crate::gguf::{Gguf, TensorInfo};
use crate::kernels::dequantise::dequantise_row;
use crate::{ModelConfig, ModelError, TensorType};

/// Tracks the file's tensors that are in use or known to have no effect.
#[derive(Debug, Default)]
pub(crate) struct Claims<'a>(RefCell<HashSet<&'a str>>);

impl<'a> Claims<'a> {
    /// Returns an error for the first unclaimed tensor in the file's order. Of layer tensors,
    /// checks only those in `layers`.
    pub(crate) fn check(
        &self,
        gguf: &'a Gguf,
        config: &ModelConfig,
        layers: &Range<usize>,
    ) -> Result<(), ModelError> {
        let claimed = self.0.borrow();
        let forgotten = |tensor: &&TensorInfo| {
            let elsewhere = layer_of(&tensor.name)
                .is_some_and(|layer| layer < config.layers && !layers.contains(&layer));
            !elsewhere && !claimed.contains(tensor.name.as_str())
        };
        match gguf.tensors().iter().find(forgotten) {
            Some(tensor) => Err(ModelError::UnusedTensor {
                name: tensor.name.clone(),
                architecture: config.architecture,
            }),
            None => Ok(()),
        }
    }
}

/// The layer of a tensor `blk.N.…`; `None` for other tensors.
fn layer_of(name: &str) -> Option<usize> {
    let (number, _) = name.strip_prefix("blk.")?.split_once('.')?;
    let layer: usize = number.parse().ok()?;
    (layer.to_string() == number).then_some(layer)
}

/// A file's tensors under a prefix (`blk.3.`). Loading a tensor claims it.
pub(crate) struct Source<'a, 'c> {
    gguf: &'a Gguf,
    claims: &'c Claims<'a>,
    /// The device for tensors.
    device: &'c Device,
    prefix: String,
}

impl<'a, 'c> Source<'a, 'c> {
    pub(crate) fn root(gguf: &'a Gguf, claims: &'c Claims<'a>, device: &'c Device) -> Self {
        Self {
            gguf,
            claims,
            device,
            prefix: String::new(),
        }
    }

    pub(crate) fn layer(&self, layer: usize) -> Self {
        Self {
            prefix: format!("blk.{layer}."),
            ..*self
        }
    }

    fn tensor(&self, name: &str) -> Result<&'a TensorInfo, ModelError> {
        let tensor = self
            .gguf
            .require_tensor(&format!("{}{name}", self.prefix))?;
        self.claims.0.borrow_mut().insert(&tensor.name);
        Ok(tensor)
    }

    /// Whether the tensor exists. Does not claim it.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.gguf
            .tensor(&format!("{}{name}", self.prefix))
            .is_some()
    }

    /// Claims a tensor without loading it, because it belongs to another shard or has no effect.
    pub(crate) fn pass_over(&self, name: &str) {
        if let Some(tensor) = self.gguf.tensor(&format!("{}{name}", self.prefix)) {
            self.claims.0.borrow_mut().insert(&tensor.name);
        }
    }

    /// Loads a linear map `[rows, columns]`: `name.weight` as a view, with `name.bias` and
    /// `name.scale` if the file has them.
    pub(crate) fn linear(
        &self,
        name: &str,
        rows: usize,
        columns: usize,
    ) -> Result<StoredMatrix, ModelError> {
        let mut matrix = self.matrix(&format!("{name}.weight"), 0..rows, rows, columns)?;
        self.finish(&mut matrix, name, 0..rows, rows)?;
        Ok(matrix)
    }

    /// Sets a map's scale and bias. The file's bias has `of` entries; the map gets those of `rows`.
    pub(crate) fn finish(
        &self,
        matrix: &mut StoredMatrix,
        name: &str,
        rows: Range<usize>,
        of: usize,
    ) -> Result<(), ModelError> {
        let (bias, scale) = (format!("{name}.bias"), format!("{name}.scale"));
        if self.has(&bias) {
            let values = self.floats(&bias, of)?;
            matrix.storage.bias = Some(values[rows].into());
        }
        if self.has(&scale) {
            matrix.storage.scale = Some(self.floats(&scale, 1)?[0]);
        }
        // The scale of activations in files with 4-bit floats; we do not store activations that
        // way.
        self.pass_over(&format!("{name}.input_scale"));
        Ok(())
    }

    /// The rows `rows` of a weight matrix `[of, columns]`, as a view.
    pub(crate) fn matrix(
        &self,
        name: &str,
        rows: Range<usize>,
        of: usize,
        columns: usize,
    ) -> Result<StoredMatrix, ModelError> {
        let info = self.tensor(name)?;
        if info.rows() != of || info.columns() != columns || info.dimensions.len() > 2 {
            return Err(mismatch(info, format_args!("[{columns}, {of}]")));
        }
        if !columns.is_multiple_of(32) && !info.tensor_type.is_float() {
            return Err(mismatch(info, format_args!("a multiple of 32 columns")));
        }
        let bytes = self.gguf.tensor_bytes(info);
        let bytes = bytes.slice(rows.start * info.row_bytes()..rows.end * info.row_bytes());
        let shape = [rows.len(), columns];
        Ok(StoredMatrix::new(
            bytes,
            info.tensor_type,
            shape,
            self.device,
        ))
    }

    /// Number of rows of a matrix in the file.
    pub(crate) fn rows(&self, name: &str) -> Result<usize, ModelError> {
        Ok(self.tensor(name)?.rows())
    }

    /// Number of elements of a tensor in the file.
    pub(crate) fn elements(&self, name: &str) -> Result<usize, ModelError> {
        Ok(self.tensor(name)?.elements())
    }

    /// Loads a vector. All its numbers must be finite.
    pub(crate) fn floats(&self, name: &str, width: usize) -> Result<Vec<f32>, ModelError> {
        let values: Vec<f32> = self.data(name, width)?.iter().collect();
        match values.iter().find(|value| !value.is_finite()) {
            Some(bad) => Err(ModelError::Setting {
                key: format!("{}{name}", self.prefix),
                value: bad.to_string(),
                problem: "its numbers must be finite",
            }),
            None => Ok(values),
        }
    }

    /// Loads a vector as an `f32` tensor.
    pub(crate) fn vector(&self, name: &str, width: usize) -> Result<Tensor<1>, ModelError> {
        let data = self.data(name, width)?;
        Ok(Tensor::from_data(data, (self.device, DType::F32)))
    }

    /// A vector's data as `f32`: a view if the file stores `f32`, else a copy.
    fn data(&self, name: &str, width: usize) -> Result<TensorData, ModelError> {
        let info = self.tensor(name)?;
        if info.elements() != width || !info.tensor_type.is_float() {
            return Err(mismatch(info, format_args!("a float vector of {width}")));
        }
        let bytes = self.gguf.tensor_bytes(info);
        let aligned = bytes.as_ptr().addr().is_multiple_of(align_of::<f32>());
        if info.tensor_type == TensorType::F32 && aligned {
            return Ok(TensorData::from_bytes(view(bytes), [width], DType::F32));
        }
        let mut values = vec![0.0_f32; width];
        dequantise_row(info.tensor_type, &bytes, &mut values);
        Ok(TensorData::new(values, [width]))
    }
}

fn mismatch(info: &TensorInfo, expected: fmt::Arguments<'_>) -> ModelError {
    ModelError::Tensor {
        name: info.name.clone(),
        found: format!("{} {:?}", info.tensor_type, info.dimensions),
        expected: expected.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use burn::backend::Flex;

    use super::*;
    use crate::Compute;
    use crate::gguf::synth::SynthSpec;

    #[test]
    fn weights_for_kernels_are_the_files_bytes_where_they_lie() {
        let spec = SynthSpec::preset("tiny").expect("a preset");
        let gguf = Gguf::parse(spec.to_bytes().expect("valid")).expect("valid");
        let claims = Claims::default();
        let device = Compute::kernel_device();
        let source = Source::root(&gguf, &claims, &device);
        let place = |name| {
            gguf.tensor_bytes(source.tensor(name).expect("there"))
                .as_ptr()
        };

        let name = "blk.1.ffn_up.weight";
        let matrix = source.matrix(name, 8..24, 512, 256).expect("of this shape");
        let bytes = matrix.bytes.val().try_into_primitive::<Flex>();
        let row_bytes = TensorType::Q4_1.row_bytes(256).expect("whole blocks");
        let found = bytes.expect("on this device").bytes().as_ptr();
        assert_eq!(found, place(name).wrapping_add(8 * row_bytes));

        let name = "blk.1.ffn_norm.weight";
        let vector = source.vector(name, 256).expect("of this length");
        let vector = vector.try_into_primitive::<Flex>();
        let found = vector.expect("on this device").bytes().as_ptr();
        assert_eq!(found, place(name));
    }
}
