//! Root mean square norm.

use burn::module::{Module, Param, ParamId};
use burn::tensor::{DType, Device, Tensor, TensorData};

use super::Source;
use crate::ModelError;
use crate::compute::Compute;
use crate::ops::{self, Normed};

/// `y = x / sqrt(mean(x²) + eps) · gamma` over the last axis.
#[derive(Module, Debug)]
pub(crate) struct RmsNorm {
    gamma: Param<Tensor<1>>,
    eps: f64,
}

impl RmsNorm {
    pub(crate) fn load(
        source: &Source<'_, '_>,
        name: &str,
        width: usize,
        eps: f32,
    ) -> Result<Self, ModelError> {
        Ok(Self {
            gamma: Param::initialized(ParamId::new(), source.vector(name, width)?),
            eps: f64::from(eps),
        })
    }

    /// A norm with these factors.
    pub(crate) fn of(factors: Vec<f32>, eps: f32, device: &Device) -> Self {
        let width = factors.len();
        let data = TensorData::new(factors, [width]);
        let gamma = Tensor::from_data(data, (device, DType::F32));
        Self {
            gamma: Param::initialized(ParamId::new(), gamma),
            eps: f64::from(eps),
        }
    }

    /// # Shapes
    /// x and result `[rows, width]`.
    pub(crate) fn forward(&self, x: Tensor<2>, compute: &Compute) -> Tensor<2> {
        ops::rms_norm(x, self.gamma.val(), self.eps as f32, compute)
    }

    /// The norm of `x + residual`, for a fused operation that computes it together with the next
    /// one.
    pub(crate) fn of_sum<'a>(
        &self,
        x: Tensor<2>,
        residual: Tensor<2>,
        compute: &'a Compute,
    ) -> Normed<'a> {
        Normed {
            x,
            residual,
            norm: (self.gamma.val(), self.eps as f32),
            compute,
        }
    }
}
