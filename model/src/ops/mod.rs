//! The coarse operations of a transformer, as an extension of Burn's backends.
//!
//! By default, each operation is [`composed`] of Burn's own. These bodies are the readable
//! definition, the test oracle, and the implementation for backends without kernels. Flex, Burn's
//! CPU backend, uses the crate's kernels instead. [`Compute`] selects between the two.

// The extension macro writes full paths.
#![allow(unused_qualifications, missing_docs)]

mod caches;
pub mod composed;
mod flex;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::{Int, Tensor, TensorData};

use crate::TensorType;
use crate::compute::Compute;
use crate::config::Activation;
pub use crate::kernels::attention_step::AttentionPlan;
pub use crate::kernels::rows::Layout;
use crate::kv_cache::LayerCache;
use caches::Caches;

/// The storage of a weight matrix, and its scale and bias: `y = (x · wᵀ) · scale + bias`.
#[derive(Debug, Clone, PartialEq)]
pub struct Storage {
    /// The storage type.
    pub tensor_type: TensorType,
    /// Rows.
    pub rows: usize,
    /// Elements per row.
    pub columns: usize,
    /// How the bytes are arranged. Only kernels read packed weights.
    pub layout: Layout,
    /// Factor for every product; 1 if absent.
    pub scale: Option<f32>,
    /// Added to every product: one number per row of the weights; 0 if absent.
    pub bias: Option<Arc<[f32]>>,
}

impl Storage {
    /// Weights as the file stores them, without scale and bias.
    pub fn new(tensor_type: TensorType, rows: usize, columns: usize) -> Self {
        Self {
            tensor_type,
            rows,
            columns,
            layout: Layout::Stored,
            scale: None,
            bias: None,
        }
    }
}

/// Runs an operation with kernels if `compute` has them, else composed of Burn's own.
macro_rules! run {
    ($compute:expr, $operation:ident($($input:expr),* $(,)?)) => {
        if $compute.has_kernels() {
            Dispatch::$operation($($input,)* $compute.clone())
        } else {
            composed::$operation::<Dispatch>($($input),*)
        }
    };
}

/// A backend's operations. Operations that a backend does not implement are composed. The functions
/// below, which call them, specify their results.
#[backend_extension(Flex)]
pub trait ModelOps: Backend {
    fn embedding_rows(
        table: IntTensor<Self>,
        storage: Storage,
        ids: Vec<u32>,
        scale: f32,
        _compute: Compute,
    ) -> FloatTensor<Self> {
        composed::embedding_rows::<Self>(table, storage, ids, scale)
    }

    fn rms_norm(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        eps: f32,
        _compute: Compute,
    ) -> FloatTensor<Self> {
        composed::rms_norm::<Self>(x, gamma, eps)
    }

    fn linear(
        x: FloatTensor<Self>,
        weight: IntTensor<Self>,
        storage: Storage,
        _compute: Compute,
    ) -> FloatTensor<Self> {
        composed::linear::<Self>(x, weight, storage)
    }

    fn linear_triple(
        x: FloatTensor<Self>,
        first: IntTensor<Self>,
        second: IntTensor<Self>,
        third: IntTensor<Self>,
        storage: [Storage; 3],
        _compute: Compute,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        composed::linear_triple::<Self>(x, first, second, third, storage)
    }

    fn softcap(x: FloatTensor<Self>, cap: f32, _compute: Compute) -> FloatTensor<Self> {
        composed::softcap::<Self>(x, cap)
    }

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
        _compute: Compute,
    ) -> (
        FloatTensor<Self>,
        FloatTensor<Self>,
        FloatTensor<Self>,
        FloatTensor<Self>,
    ) {
        composed::add_norm_linear_triple::<Self>(
            x, residual, gamma, first, second, third, storage, eps,
        )
    }

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
        _compute: Compute,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        composed::add_norm_feed_forward::<Self>(
            x, residual, gamma, gate, up, down, storage, activation, eps,
        )
    }

    #[allow(clippy::too_many_arguments)]
    fn rotary_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        #[extension_type] caches: Caches<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
        plans: Vec<AttentionPlan>,
        _compute: Compute,
    ) -> (FloatTensor<Self>, Caches<Self>) {
        composed::rotary_attention::<Self>(q, k, v, caches, cos, sin, plans)
    }
}

/// Decodes the stored rows `ids` to `f32`, times `scale`: table `[rows, row_bytes]` to
/// `[ids, columns]`.
///
/// # Panics
/// An id is beyond the table.
pub(crate) fn embedding_rows(
    table: Tensor<2, Int>,
    storage: Storage,
    ids: &[u32],
    scale: f32,
    compute: &Compute,
) -> Tensor<2> {
    let (table, ids) = (table.into_dispatch(), ids.to_vec());
    Tensor::from_dispatch(run!(compute, embedding_rows(table, storage, ids, scale)))
}

/// `y = x / sqrt(mean(x²) + eps) · gamma` over the last axis: `[rows, width]`.
pub(crate) fn rms_norm(x: Tensor<2>, gamma: Tensor<1>, eps: f32, compute: &Compute) -> Tensor<2> {
    let (x, gamma) = (x.into_dispatch(), gamma.into_dispatch());
    Tensor::from_dispatch(run!(compute, rms_norm(x, gamma, eps)))
}

/// A sum of hidden states, `x + residual`, whose [`rms_norm`] is the input of the next operation.
pub(crate) struct Normed<'a> {
    pub(crate) x: Tensor<2>,
    pub(crate) residual: Tensor<2>,
    pub(crate) norm: (Tensor<1>, f32),
    pub(crate) compute: &'a Compute,
}

/// `y = cap · tanh(x / cap)` for every element.
pub(crate) fn softcap(x: Tensor<2>, cap: f32, compute: &Compute) -> Tensor<2> {
    let x = x.into_dispatch();
    Tensor::from_dispatch(run!(compute, softcap(x, cap)))
}

/// `y = x · wᵀ`, then the storage's scale and bias: x `[positions, columns]`,
/// w `[rows, row_bytes]`, y `[positions, rows]`.
pub(crate) fn linear(
    x: Tensor<2>,
    (weight, storage): (Tensor<2, Int>, Storage),
    compute: &Compute,
) -> Tensor<2> {
    let (x, weight) = (x.into_dispatch(), weight.into_dispatch());
    Tensor::from_dispatch(run!(compute, linear(x, weight, storage)))
}

/// Three [`linear`] maps of one input, which is quantised only once.
pub(crate) fn linear_triple(
    x: Tensor<2>,
    weights: [(Tensor<2, Int>, Storage); 3],
    compute: &Compute,
) -> [Tensor<2>; 3] {
    let [(first, a), (second, b), (third, c)] = weights;
    let x = x.into_dispatch();
    let [first, second, third] = [first, second, third].map(Tensor::into_dispatch);
    let storage = [a, b, c];
    let (first, second, third) = run!(compute, linear_triple(x, first, second, third, storage));
    [first, second, third].map(Tensor::from_dispatch)
}

impl Normed<'_> {
    /// Returns the sum and three [`linear`] maps of its norm.
    pub(crate) fn linear_triple(
        self,
        weights: [(Tensor<2, Int>, Storage); 3],
    ) -> (Tensor<2>, [Tensor<2>; 3]) {
        let [(first, a), (second, b), (third, c)] = weights;
        let (gamma, eps) = self.norm;
        let (x, residual) = (self.x.into_dispatch(), self.residual.into_dispatch());
        let gamma = gamma.into_dispatch();
        let [first, second, third] = [first, second, third].map(Tensor::into_dispatch);
        let storage = [a, b, c];
        let (sum, first, second, third) = run!(
            self.compute,
            add_norm_linear_triple(x, residual, gamma, first, second, third, storage, eps)
        );
        let maps = [first, second, third].map(Tensor::from_dispatch);
        (Tensor::from_dispatch(sum), maps)
    }

    /// Returns the sum and `(activation(n · gateᵀ) ⊙ (n · upᵀ)) · downᵀ` of its norm `n`, both
    /// `[positions, d_model]`. The weights are gate, up and down.
    pub(crate) fn feed_forward(
        self,
        weights: [(Tensor<2, Int>, Storage); 3],
        activation: Activation,
    ) -> (Tensor<2>, Tensor<2>) {
        let [(gate, a), (up, b), (down, c)] = weights;
        let (gamma, eps) = self.norm;
        let (x, residual) = (self.x.into_dispatch(), self.residual.into_dispatch());
        let gamma = gamma.into_dispatch();
        let [gate, up, down] = [gate, up, down].map(Tensor::into_dispatch);
        let storage = [a, b, c];
        let (sum, y) = run!(
            self.compute,
            add_norm_feed_forward(x, residual, gamma, gate, up, down, storage, activation, eps)
        );
        (Tensor::from_dispatch(sum), Tensor::from_dispatch(y))
    }
}

/// Creates a matrix with this many rows; without a copy if it stays in this process's memory.
pub(crate) fn tensor_of(values: Vec<f32>, rows: usize, compute: &Compute) -> Tensor<2> {
    let shape = [rows, values.len() / rows.max(1)];
    Tensor::from_data(TensorData::new(values, shape), compute.device())
}

/// Calls `read` with a tensor's values, and recycles their memory. Values are not copied if they
/// are in this process's memory and no other tensor shares them.
pub(crate) fn with_values<T>(
    tensor: Tensor<2>,
    compute: &Compute,
    read: impl FnOnce(&[f32]) -> T,
) -> T {
    let values = tensor.into_data().try_into_vec();
    let values: Vec<f32> = values.expect("this crate's matrices are f32");
    let result = read(&values);
    compute.buffers().give(values);
    result
}

/// Queries, keys and values of a step: `[positions, heads · head_dim]` each.
pub(crate) struct Projected {
    pub(crate) q: Tensor<2>,
    pub(crate) k: Tensor<2>,
    pub(crate) v: Tensor<2>,
}

/// For each sequence of a step, in the order of their rows: rotates its queries and keys by `cos` and
/// `sin`, `[positions, rope_dim / 2]`, appends keys and values to its layer's cache, and replaces its
/// rows of the queries by the attention's output. Returns them. A sequence whose cache takes fewer
/// positions at once goes through it in parts, which changes no bit.
pub(crate) fn rotary_attention<'c>(
    projected: Projected,
    sequences: impl Iterator<Item = (AttentionPlan, &'c mut LayerCache)>,
    [cos, sin]: &[Tensor<2>; 2],
    compute: &Compute,
) -> Tensor<2> {
    let Projected { mut q, k, v } = projected;
    let mut sequences: Vec<_> = sequences
        .map(|(plan, cache)| (plan.in_parts(cache.at_once()).peekable(), cache))
        .collect();
    let mut shared = Some([k, v]);
    loop {
        sequences.retain_mut(|(parts, _)| parts.peek().is_some());
        if sequences.is_empty() {
            return q;
        }
        let mut plans = Vec::with_capacity(sequences.len());
        let mut caches = Vec::with_capacity(sequences.len());
        for (parts, cache) in &mut sequences {
            plans.extend(parts.next());
            caches.push(cache.take().map(Tensor::into_dispatch));
        }
        // Owned tensors are moved through, so that they can be updated in place and reused.
        let are_last = sequences
            .iter_mut()
            .all(|(parts, _)| parts.peek().is_none());
        let kv = if are_last {
            shared.take()
        } else {
            shared.clone()
        };
        let kv = kv.expect("taken by the last parts");
        let own = q.into_dispatch();
        let [k, v] = kv.map(Tensor::into_dispatch);
        let [cos, sin] = [cos, sin].map(|angles| angles.clone().into_dispatch());
        let caches = Caches(caches);
        let (output, caches) = run!(
            compute,
            rotary_attention(own, k, v, caches, cos, sin, plans)
        );
        q = Tensor::from_dispatch(output);
        for ((_, cache), tensors) in sequences.iter_mut().zip(caches.0) {
            cache.put(tensors.map(Tensor::from_dispatch));
        }
    }
}
