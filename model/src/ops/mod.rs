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

use std::ops::Range;

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::{Int, Tensor};

use crate::TensorType;
use crate::compute::Compute;
use crate::config::{Activation, RopePairs};
use crate::kernels::attention::CacheShape;

/// How a weight matrix is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Storage {
    /// The storage type.
    pub tensor_type: TensorType,
    /// Elements of a row.
    pub columns: usize,
}

/// What one sequence attends to in a step.
#[derive(Debug, Clone, PartialEq)]
pub struct AttentionPlan {
    /// The rows of this sequence in the step.
    pub(crate) rows: Range<usize>,
    /// The absolute position of the first of them.
    pub(crate) start: usize,
    pub(crate) heads: usize,
    pub(crate) cache: CacheShape,
    pub(crate) rope_pairs: RopePairs,
    /// A position sees this many up to itself.
    pub(crate) window: Option<usize>,
    pub(crate) scale: f32,
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

    fn add_rms_norm(
        x: FloatTensor<Self>,
        residual: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        eps: f32,
        compute: Compute,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);

    fn linear(
        x: FloatTensor<Self>,
        weight: IntTensor<Self>,
        storage: Storage,
        compute: Compute,
    ) -> FloatTensor<Self>;

    fn linear_pair(
        x: FloatTensor<Self>,
        first: IntTensor<Self>,
        second: IntTensor<Self>,
        storage: [Storage; 2],
        compute: Compute,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);

    fn linear_triple(
        x: FloatTensor<Self>,
        first: IntTensor<Self>,
        second: IntTensor<Self>,
        third: IntTensor<Self>,
        storage: [Storage; 3],
        compute: Compute,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);

    fn gate(
        gate: FloatTensor<Self>,
        up: FloatTensor<Self>,
        activation: Activation,
        compute: Compute,
    ) -> FloatTensor<Self>;

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

/// `s = x + residual` and its [`rms_norm`]: `(s, norm)`.
pub(crate) fn add_rms_norm(
    x: Tensor<2>,
    residual: Tensor<2>,
    gamma: Tensor<1>,
    eps: f32,
    compute: &Compute,
) -> (Tensor<2>, Tensor<2>) {
    let (sum, norm) = Dispatch::add_rms_norm(
        x.into_dispatch(),
        residual.into_dispatch(),
        gamma.into_dispatch(),
        eps,
        compute.clone(),
    );
    (Tensor::from_dispatch(sum), Tensor::from_dispatch(norm))
}

/// `y = x · wᵀ`: x `[positions, columns]`, w `[rows, row_bytes]`, y `[positions, rows]`.
pub(crate) fn linear(
    x: Tensor<2>,
    (weight, storage): (Tensor<2, Int>, Storage),
    compute: &Compute,
) -> Tensor<2> {
    let (x, weight) = (x.into_dispatch(), weight.into_dispatch());
    Tensor::from_dispatch(Dispatch::linear(x, weight, storage, compute.clone()))
}

/// Two [`linear`] maps of one input, which is quantised once.
pub(crate) fn linear_pair(
    x: Tensor<2>,
    weights: [(Tensor<2, Int>, Storage); 2],
    compute: &Compute,
) -> [Tensor<2>; 2] {
    let [(first, a), (second, b)] = weights;
    let (first, second) = Dispatch::linear_pair(
        x.into_dispatch(),
        first.into_dispatch(),
        second.into_dispatch(),
        [a, b],
        compute.clone(),
    );
    [Tensor::from_dispatch(first), Tensor::from_dispatch(second)]
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

/// `activation(gate) · up`, elementwise.
pub(crate) fn gate(
    gate: Tensor<2>,
    up: Tensor<2>,
    activation: Activation,
    compute: &Compute,
) -> Tensor<2> {
    let (gate, up) = (gate.into_dispatch(), up.into_dispatch());
    Tensor::from_dispatch(Dispatch::gate(gate, up, activation, compute.clone()))
}

/// Queries, keys and values of a step: `[positions, heads · head_dim]` each.
pub(crate) struct Projected {
    pub(crate) q: Tensor<2>,
    pub(crate) k: Tensor<2>,
    pub(crate) v: Tensor<2>,
}

/// Rotates the queries and keys of one sequence's rows by `cos` and `sin`,
/// `[positions, rope_dim / 2]`, appends keys and values to its cache, and replaces the rows of `q`
/// by the attention's output. Returns `q`; `cache` is the layer's keys and values, updated.
pub(crate) fn rotary_attention(
    projected: &mut Projected,
    cache: &mut [Tensor<1>; 2],
    cos: &Tensor<2>,
    sin: &Tensor<2>,
    plan: AttentionPlan,
    compute: &Compute,
) {
    // Owned tensors are moved through, so that they are updated in place.
    let device = projected.q.device();
    let take = |t: &mut Tensor<2>| std::mem::replace(t, Tensor::empty([1, 1], &device));
    let take_cache = |t: &mut Tensor<1>| std::mem::replace(t, Tensor::empty([1], &device));
    let (q, keys, values) = Dispatch::rotary_attention(
        take(&mut projected.q).into_dispatch(),
        projected.k.clone().into_dispatch(),
        projected.v.clone().into_dispatch(),
        take_cache(&mut cache[0]).into_dispatch(),
        take_cache(&mut cache[1]).into_dispatch(),
        cos.clone().into_dispatch(),
        sin.clone().into_dispatch(),
        plan,
        compute.clone(),
    );
    projected.q = Tensor::from_dispatch(q);
    *cache = [Tensor::from_dispatch(keys), Tensor::from_dispatch(values)];
}
