//! The coarse operations a transformer is made of, as an extension of Burn's backends.
//!
//! Each has two forms: the fused one here, which runs on the crate's kernels, and a
//! plain-Burn twin in [`composed`], which is the readable definition, the test oracle and the path
//! for backends without kernels.

// The extension macro spells paths in full.
#![allow(unused_qualifications, missing_docs)]

pub mod composed;
mod flex;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, Dispatch, Flex, backend_extension};
use burn::tensor::{Int, Tensor};

use crate::TensorType;
use crate::compute::Compute;
use crate::config::Activation;
pub use crate::kernels::attention_step::AttentionPlan;
use crate::kv_cache::LayerCache;

/// How a weight matrix is stored, and what is done to its products: `y = (x · wᵀ) · scale + bias`.
#[derive(Debug, Clone, PartialEq)]
pub struct Storage {
    /// The storage type.
    pub tensor_type: TensorType,
    /// Elements of a row.
    pub columns: usize,
    /// Multiplies every product; 1 if absent.
    pub scale: Option<f32>,
    /// Added to every product: one number a row of the weights; 0 if absent.
    pub bias: Option<Arc<[f32]>>,
}

impl Storage {
    /// Plain weights, without scale and bias.
    pub fn new(tensor_type: TensorType, columns: usize) -> Self {
        Self {
            tensor_type,
            columns,
            scale: None,
            bias: None,
        }
    }
}

#[backend_extension(Flex)]
pub trait ModelOps: Backend {
    fn embedding_rows(
        table: IntTensor<Self>,
        storage: Storage,
        ids: Vec<u32>,
        scale: f32,
    ) -> FloatTensor<Self>;

    fn rms_norm(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        eps: f32,
        compute: Compute,
    ) -> FloatTensor<Self>;

    fn linear(
        x: FloatTensor<Self>,
        weight: IntTensor<Self>,
        storage: Storage,
        compute: Compute,
    ) -> FloatTensor<Self>;

    fn linear_triple(
        x: FloatTensor<Self>,
        first: IntTensor<Self>,
        second: IntTensor<Self>,
        third: IntTensor<Self>,
        storage: [Storage; 3],
        compute: Compute,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);

    fn softcap(x: FloatTensor<Self>, cap: f32, compute: Compute) -> FloatTensor<Self>;

    #[allow(clippy::too_many_arguments)]
    fn add_norm_linear_triple(
        x: FloatTensor<Self>,
        residual: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        first: IntTensor<Self>,
        second: IntTensor<Self>,
        third: IntTensor<Self>,
        storage: [Storage; 3],
        eps: f32,
        compute: Compute,
    ) -> (
        FloatTensor<Self>,
        FloatTensor<Self>,
        FloatTensor<Self>,
        FloatTensor<Self>,
    );

    #[allow(clippy::too_many_arguments)]
    fn add_norm_feed_forward(
        x: FloatTensor<Self>,
        residual: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        gate: IntTensor<Self>,
        up: IntTensor<Self>,
        down: IntTensor<Self>,
        storage: [Storage; 3],
        activation: Activation,
        eps: f32,
        compute: Compute,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);

    #[allow(clippy::too_many_arguments)]
    fn rotary_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        keys: FloatTensor<Self>,
        values: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
        plan: AttentionPlan,
        compute: Compute,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
}

/// Stored rows as `f32`, times `scale`: table `[rows, row_bytes]` to `[ids, columns]`.
///
/// # Panics
/// If an id is beyond the table.
pub(crate) fn embedding_rows(
    table: Tensor<2, Int>,
    storage: Storage,
    ids: &[u32],
    scale: f32,
) -> Tensor<2> {
    let table = table.into_dispatch();
    Tensor::from_dispatch(Dispatch::embedding_rows(
        table,
        storage,
        ids.to_vec(),
        scale,
    ))
}

/// `y = x / sqrt(mean(x²) + eps) · gamma` over the last axis: `[rows, width]`.
pub(crate) fn rms_norm(x: Tensor<2>, gamma: Tensor<1>, eps: f32, compute: &Compute) -> Tensor<2> {
    let (x, gamma) = (x.into_dispatch(), gamma.into_dispatch());
    Tensor::from_dispatch(Dispatch::rms_norm(x, gamma, eps, compute.clone()))
}

/// A sum of hidden states, `x + residual`, whose [`rms_norm`] goes into what follows.
pub(crate) struct Normed<'a> {
    pub(crate) x: Tensor<2>,
    pub(crate) residual: Tensor<2>,
    pub(crate) norm: (Tensor<1>, f32),
    pub(crate) compute: &'a Compute,
}

/// `y = cap · tanh(x / cap)` of every element.
pub(crate) fn softcap(x: Tensor<2>, cap: f32, compute: &Compute) -> Tensor<2> {
    Tensor::from_dispatch(Dispatch::softcap(x.into_dispatch(), cap, compute.clone()))
}

/// `y = x · wᵀ`, and the storage's scale and bias: x `[positions, columns]`, w `[rows, row_bytes]`,
/// y `[positions, rows]`.
pub(crate) fn linear(
    x: Tensor<2>,
    (weight, storage): (Tensor<2, Int>, Storage),
    compute: &Compute,
) -> Tensor<2> {
    let (x, weight) = (x.into_dispatch(), weight.into_dispatch());
    Tensor::from_dispatch(Dispatch::linear(x, weight, storage, compute.clone()))
}

/// Three [`linear`] maps of one input, which is quantised once.
pub(crate) fn linear_triple(
    x: Tensor<2>,
    weights: [(Tensor<2, Int>, Storage); 3],
    compute: &Compute,
) -> [Tensor<2>; 3] {
    let [(first, a), (second, b), (third, c)] = weights;
    let (first, second, third) = Dispatch::linear_triple(
        x.into_dispatch(),
        first.into_dispatch(),
        second.into_dispatch(),
        third.into_dispatch(),
        [a, b, c],
        compute.clone(),
    );
    [first, second, third].map(Tensor::from_dispatch)
}

impl Normed<'_> {
    /// The sum, and three [`linear`] maps of its norm.
    pub(crate) fn linear_triple(
        self,
        weights: [(Tensor<2, Int>, Storage); 3],
    ) -> (Tensor<2>, [Tensor<2>; 3]) {
        let [(first, a), (second, b), (third, c)] = weights;
        let (gamma, eps) = self.norm;
        let (sum, first, second, third) = Dispatch::add_norm_linear_triple(
            self.x.into_dispatch(),
            self.residual.into_dispatch(),
            gamma.into_dispatch(),
            first.into_dispatch(),
            second.into_dispatch(),
            third.into_dispatch(),
            [a, b, c],
            eps,
            self.compute.clone(),
        );
        let maps = [first, second, third].map(Tensor::from_dispatch);
        (Tensor::from_dispatch(sum), maps)
    }

    /// The sum, and `(activation(n · gateᵀ) ⊙ (n · upᵀ)) · downᵀ` of its norm `n`: all
    /// `[positions, d_model]`, the weights gate, up and down.
    pub(crate) fn feed_forward(
        self,
        weights: [(Tensor<2, Int>, Storage); 3],
        activation: Activation,
    ) -> (Tensor<2>, Tensor<2>) {
        let [(gate, a), (up, b), (down, c)] = weights;
        let (gamma, eps) = self.norm;
        let (sum, y) = Dispatch::add_norm_feed_forward(
            self.x.into_dispatch(),
            self.residual.into_dispatch(),
            gamma.into_dispatch(),
            gate.into_dispatch(),
            up.into_dispatch(),
            down.into_dispatch(),
            [a, b, c],
            activation,
            eps,
            self.compute.clone(),
        );
        (Tensor::from_dispatch(sum), Tensor::from_dispatch(y))
    }
}

/// A matrix of so many rows, without a copy.
pub(crate) fn tensor_of(values: Vec<f32>, rows: usize) -> Tensor<2> {
    Tensor::from_primitive::<Flex>(flex::floats(values, rows))
}

/// Calls `read` with a tensor's values, without copying them, and keeps its memory.
pub(crate) fn with_values<T>(
    tensor: Tensor<2>,
    compute: &Compute,
    read: impl FnOnce(&[f32]) -> T,
) -> T {
    let primitive = tensor
        .try_into_primitive::<Flex>()
        .expect("this crate makes its tensors on flex");
    let primitive = flex::contiguous(primitive);
    let result = read(flex::slice(&primitive));
    flex::recycle(primitive, compute);
    result
}

/// Queries, keys and values of a step: `[positions, heads · head_dim]` each.
pub(crate) struct Projected {
    pub(crate) q: Tensor<2>,
    pub(crate) k: Tensor<2>,
    pub(crate) v: Tensor<2>,
}

/// For each sequence of a step: rotates the queries and keys of its rows by `cos` and `sin`,
/// `[positions, rope_dim / 2]`, appends keys and values to its layer's cache, and replaces the rows
/// of the queries by the attention's output. Returns them.
pub(crate) fn rotary_attention<'c>(
    projected: Projected,
    sequences: impl ExactSizeIterator<Item = (AttentionPlan, &'c mut LayerCache)>,
    [cos, sin]: &[Tensor<2>; 2],
    compute: &Compute,
) -> Tensor<2> {
    let Projected { mut q, k, v } = projected;
    let mut shared = Some([k, v]);
    let mut left = sequences.len();
    for (plan, cache) in sequences {
        left -= 1;
        // Owned tensors are moved through, so that they are updated in place and reused.
        let kv = if left == 0 {
            shared.take()
        } else {
            shared.clone()
        };
        let [k, v] = kv.expect("taken by the last sequence");
        let [keys, values] = cache.take();
        let (output, keys, values) = Dispatch::rotary_attention(
            q.into_dispatch(),
            k.into_dispatch(),
            v.into_dispatch(),
            keys.into_dispatch(),
            values.into_dispatch(),
            cos.clone().into_dispatch(),
            sin.clone().into_dispatch(),
            plan,
            compute.clone(),
        );
        q = Tensor::from_dispatch(output);
        cache.put([Tensor::from_dispatch(keys), Tensor::from_dispatch(values)]);
    }
    q
}
