//! The operations composed of Burn's own, for any backend. They are the readable definitions, the
//! default bodies of [`ModelOps`](super::ModelOps), and the reference for tests of the kernels.
//! Sums fold in the backend's order and activations are not quantised, so results agree with the
//! kernels' up to rounding, not bit by bit.
//!
//! The CPU decodes stored weights on each use, so this path is portable but slow.

#![allow(clippy::too_many_arguments)]

use std::ops::Range;

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{
    Backend, FloatDType, Shape, Slice, TensorData, TensorMetadata, get_or_init_device_settings,
};
use burn::tensor::read_sync;

use super::caches::Caches;
use super::{AttentionPlan, Storage};
use crate::config::{Activation, RopePairs};
use crate::kernels::cache::{BLOCK, CacheShape};
use crate::kernels::dequantise::dequantise_row;

/// Added to the score of a position that must not be seen.
const UNSEEN: f32 = -1e30;

/// Implements [`ModelOps::embedding_rows`](super::ModelOps::embedding_rows).
pub fn embedding_rows<B: Backend>(
    table: IntTensor<B>,
    storage: Storage,
    ids: Vec<u32>,
    scale: f32,
) -> FloatTensor<B> {
    let device = table.device();
    let count = ids.len();
    let dtype = get_or_init_device_settings::<B>(&device).int_dtype;
    let ids = TensorData::new(ids, [count]).convert_dtype(dtype.into());
    let rows = B::int_select(table, 0, B::int_from_data(ids, &device));
    B::float_mul_scalar(dequantise::<B>(rows, &storage), scale.into())
}

/// Implements [`ModelOps::rms_norm`](super::ModelOps::rms_norm).
pub fn rms_norm<B: Backend>(x: FloatTensor<B>, gamma: FloatTensor<B>, eps: f32) -> FloatTensor<B> {
    let [_rows, width] = dims(&x);
    let mean = B::float_mean_dim(B::float_mul(x.clone(), x.clone()), 1);
    let rms = B::float_sqrt(B::float_add_scalar(mean, eps.into()));
    let gamma = B::float_reshape(gamma, Shape::from([1, width]));
    B::float_mul(B::float_div(x, rms), gamma)
}

/// Implements [`ModelOps::linear`](super::ModelOps::linear).
pub fn linear<B: Backend>(
    x: FloatTensor<B>,
    weight: IntTensor<B>,
    storage: Storage,
) -> FloatTensor<B> {
    let weight = dequantise::<B>(weight, &storage);
    let device = weight.device();
    let mut y = B::float_matmul(x, B::float_transpose(weight));
    if let Some(scale) = storage.scale {
        y = B::float_mul_scalar(y, scale.into());
    }
    if let Some(bias) = &storage.bias {
        let bias = TensorData::new(bias.to_vec(), [1, bias.len()]);
        y = B::float_add(y, B::float_from_data(bias, &device));
    }
    y
}

/// Implements [`ModelOps::linear_triple`](super::ModelOps::linear_triple).
pub fn linear_triple<B: Backend>(
    x: FloatTensor<B>,
    first: IntTensor<B>,
    second: IntTensor<B>,
    third: IntTensor<B>,
    storage: [Storage; 3],
) -> (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>) {
    let [a, b, c] = storage;
    (
        linear::<B>(x.clone(), first, a),
        linear::<B>(x.clone(), second, b),
        linear::<B>(x, third, c),
    )
}

/// Implements [`ModelOps::softcap`](super::ModelOps::softcap).
pub fn softcap<B: Backend>(x: FloatTensor<B>, cap: f32) -> FloatTensor<B> {
    let capped = B::float_tanh(B::float_div_scalar(x, cap.into()));
    B::float_mul_scalar(capped, cap.into())
}

/// Implements [`ModelOps::add_norm_linear_triple`](super::ModelOps::add_norm_linear_triple).
pub fn add_norm_linear_triple<B: Backend>(
    x: FloatTensor<B>,
    residual: FloatTensor<B>,
    gamma: FloatTensor<B>,
    first: IntTensor<B>,
    second: IntTensor<B>,
    third: IntTensor<B>,
    storage: [Storage; 3],
    eps: f32,
) -> (
    FloatTensor<B>,
    FloatTensor<B>,
    FloatTensor<B>,
    FloatTensor<B>,
) {
    let sum = B::float_add(x, residual);
    let normed = rms_norm::<B>(sum.clone(), gamma, eps);
    let (first, second, third) = linear_triple::<B>(normed, first, second, third, storage);
    (sum, first, second, third)
}

/// Implements [`ModelOps::add_norm_feed_forward`](super::ModelOps::add_norm_feed_forward).
pub fn add_norm_feed_forward<B: Backend>(
    x: FloatTensor<B>,
    residual: FloatTensor<B>,
    gamma: FloatTensor<B>,
    gate: IntTensor<B>,
    up: IntTensor<B>,
    down: IntTensor<B>,
    storage: [Storage; 3],
    activation: Activation,
    eps: f32,
) -> (FloatTensor<B>, FloatTensor<B>) {
    let [a, b, c] = storage;
    let sum = B::float_add(x, residual);
    let normed = rms_norm::<B>(sum.clone(), gamma, eps);
    let gate = linear::<B>(normed.clone(), gate, a);
    let up = linear::<B>(normed, up, b);
    let inner = B::float_mul(activated::<B>(gate, activation), up);
    (sum, linear::<B>(inner, down, c))
}

/// Implements [`ModelOps::rotary_attention`](super::ModelOps::rotary_attention).
pub fn rotary_attention<B: Backend>(
    mut q: FloatTensor<B>,
    k: FloatTensor<B>,
    v: FloatTensor<B>,
    mut caches: Caches<B>,
    cos: FloatTensor<B>,
    sin: FloatTensor<B>,
    plans: Vec<AttentionPlan>,
) -> (FloatTensor<B>, Caches<B>) {
    for (plan, cache) in plans.iter().zip(&mut caches.0) {
        let rows = || plan.rows.clone();
        let heads_of = |x: FloatTensor<B>, heads: usize| {
            let shape = Shape::from([plan.rows.len(), heads, plan.head_dim]);
            B::float_reshape(part::<B, 2>(x, 0, rows()), shape)
        };
        let angles = [&cos, &sin].map(|angles| part::<B, 2>(angles.clone(), 0, rows()));
        let turn = |x| {
            let [cos, sin] = angles.clone();
            rotate::<B>(x, cos, sin, plan.rope_pairs)
        };
        let own = turn(heads_of(q.clone(), plan.heads));
        let k = turn(heads_of(k.clone(), plan.cache.kv_heads));
        let v = heads_of(v.clone(), plan.cache.kv_heads);
        let [keys, values] = cache.clone();
        let (keys, values) = append::<B>(keys, values, k, v, plan);
        *cache = [keys.clone(), values.clone()];
        let (seen, first) = seen::<B>(keys, values, plan);
        let output = attend::<B>(own, seen, first, plan);
        let all = [Slice::from(rows()), Slice::full()];
        q = B::float_slice_assign(q, &all, output);
    }
    (q, caches)
}

/// Decodes stored rows to `f32`: table `[rows, row_bytes]` to `[rows, columns]`.
fn dequantise<B: Backend>(table: IntTensor<B>, storage: &Storage) -> FloatTensor<B> {
    let device = table.device();
    let shape = table.shape();
    let (rows, row_bytes) = (shape[0], shape[1]);
    let data = read_sync(B::int_into_data(table)).expect("a device that can be read");
    let mut values = vec![0.0; rows * storage.columns];
    let bytes = data.as_bytes().chunks_exact(row_bytes);
    for (out, bytes) in values.chunks_exact_mut(storage.columns).zip(bytes) {
        dequantise_row(storage.tensor_type, bytes, out);
    }
    B::float_from_data(TensorData::new(values, [rows, storage.columns]), &device)
}

/// Applies the activation to every element, as [`Activation`] defines it.
fn activated<B: Backend>(x: FloatTensor<B>, activation: Activation) -> FloatTensor<B> {
    match activation {
        Activation::Silu => B::float_mul(x.clone(), B::sigmoid(x)),
        Activation::GeluTanh => {
            let cube = B::float_mul(B::float_mul(x.clone(), x.clone()), x.clone());
            let inner = B::float_add(x.clone(), B::float_mul_scalar(cube, 0.044715_f32.into()));
            let factor = (2.0 / std::f32::consts::PI).sqrt();
            let tanh = B::float_tanh(B::float_mul_scalar(inner, factor.into()));
            let half = B::float_mul_scalar(x, 0.5_f32.into());
            B::float_mul(half, B::float_add_scalar(tanh, 1.0_f32.into()))
        }
    }
}

/// Rotates the first `2 · angles` coordinates of heads `[positions, heads, head_dim]` by `cos` and
/// `sin`, `[positions, angles]`: a pair `(a, b)` becomes `(a cos − b sin, a sin + b cos)`.
fn rotate<B: Backend>(
    x: FloatTensor<B>,
    cos: FloatTensor<B>,
    sin: FloatTensor<B>,
    pairs: RopePairs,
) -> FloatTensor<B> {
    let [positions, heads, head_dim] = dims(&x);
    let [_, angles] = dims(&cos);
    // The axis of the two elements of a pair.
    let (split, axis) = match pairs {
        RopePairs::Halves => ([2, angles], 2),
        RopePairs::Adjacent => ([angles, 2], 3),
    };
    let turned = part::<B, 3>(x.clone(), 2, 0..2 * angles);
    let turned = B::float_reshape(turned, Shape::from([positions, heads, split[0], split[1]]));
    let mut angle_shape = [positions, 1, angles, angles];
    angle_shape[axis] = 1;
    let spread = |angles| B::float_reshape(angles, Shape::from(angle_shape));
    let (cos, sin) = (spread(cos), spread(sin));
    let a = part::<B, 4>(turned.clone(), axis, 0..1);
    let b = part::<B, 4>(turned, axis, 1..2);
    let product = |x: &FloatTensor<B>, y: &FloatTensor<B>| B::float_mul(x.clone(), y.clone());
    let first = B::float_sub(product(&a, &cos), product(&b, &sin));
    let second = B::float_add(product(&a, &sin), product(&b, &cos));
    let turned = B::float_cat(vec![first, second], axis);
    let turned = B::float_reshape(turned, Shape::from([positions, heads, 2 * angles]));
    if head_dim == 2 * angles {
        return turned;
    }
    B::float_cat(vec![turned, part::<B, 3>(x, 2, 2 * angles..head_dim)], 2)
}

/// Stores the rotated keys and the values of a plan's positions, `[positions, kv_heads, head_dim]`,
/// in the caches. [`cache`](crate::kernels::cache) specifies their layout.
fn append<B: Backend>(
    keys: FloatTensor<B>,
    values: FloatTensor<B>,
    k: FloatTensor<B>,
    v: FloatTensor<B>,
    plan: &AttentionPlan,
) -> (FloatTensor<B>, FloatTensor<B>) {
    let (cache, head_dim) = (plan.cache, plan.head_dim);
    let (start, end) = (plan.start, plan.start + plan.rows.len());
    plan.check_room();
    let dtype = FloatDType::from(keys.dtype());
    let k = B::float_cast(k, dtype);
    // If the cache's type cannot hold a key, make the value NaN, as the kernels do: infinity times
    // 0 is NaN, and every finite number times 0 is 0.
    let zeros = B::float_mul_scalar(B::float_cast(k.clone(), FloatDType::F32), 0.0_f32.into());
    let v = B::float_cast(B::float_add(v, B::float_sum_dim(zeros, 2)), dtype);

    let by_head = [cache.kv_heads, cache.capacity, cache.head_dim];
    let mut values = B::float_reshape(values, Shape::from(by_head));
    let v = B::float_permute(v, &[1, 0, 2]);
    let mut keys = B::float_reshape(keys, Shape::from(by_block(cache)));
    let k = B::float_permute(k, &[1, 2, 0]);
    let mut from = start;
    while from < end {
        let block = from / BLOCK;
        let to = end.min((block + 1) * BLOCK);
        let place = block % cache.blocks();
        let within = from - block * BLOCK..to - block * BLOCK;
        let of_block = part::<B, 3>(k.clone(), 2, from - start..to - start);
        let shape = Shape::from([cache.kv_heads, 1, head_dim, to - from]);
        let own = [
            Slice::full(),
            (place..place + 1).into(),
            (0..head_dim).into(),
            within.clone().into(),
        ];
        keys = B::float_slice_assign(keys, &own, B::float_reshape(of_block, shape));
        let first = place * BLOCK;
        let own = [
            Slice::full(),
            (first + within.start..first + within.end).into(),
            (0..head_dim).into(),
        ];
        let of_block = part::<B, 3>(v.clone(), 1, from - start..to - start);
        values = B::float_slice_assign(values, &own, of_block);
        from = to;
    }
    let flat = |x| B::float_reshape(x, Shape::from([cache.elements()]));
    (flat(keys), flat(values))
}

/// The shape of a layer's keys.
fn by_block(cache: CacheShape) -> [usize; 4] {
    [cache.kv_heads, cache.blocks(), cache.head_dim, BLOCK]
}

/// Blocks of a sequence, in order, from the places along axis 1 where they lie in the cache.
fn in_order<B: Backend, const D: usize>(
    all: FloatTensor<B>,
    blocks: Range<usize>,
    places: usize,
) -> FloatTensor<B> {
    let start = blocks.start % places;
    let end = start + blocks.len();
    if end <= places {
        return part::<B, D>(all, 1, start..end);
    }
    let behind = part::<B, D>(all.clone(), 1, 0..end - places);
    B::float_cat(vec![part::<B, D>(all, 1, start..places), behind], 1)
}

/// The cached keys and values visible to a plan's positions, `[kv_heads, seen, head_dim]` each in
/// `f32`, and the first visible position.
fn seen<B: Backend>(
    keys: FloatTensor<B>,
    values: FloatTensor<B>,
    plan: &AttentionPlan,
) -> ([FloatTensor<B>; 2], usize) {
    let (cache, head_dim) = (plan.cache, plan.head_dim);
    let end = plan.start + plan.rows.len();
    let oldest = plan
        .window
        .map_or(0, |window| (plan.start + 1).saturating_sub(window));
    let blocks = oldest / BLOCK..end.div_ceil(BLOCK);
    let first = blocks.start * BLOCK;

    let keys = B::float_reshape(keys, Shape::from(by_block(cache)));
    let keys = in_order::<B, 4>(keys, blocks.clone(), cache.blocks());
    let keys = B::float_permute(part::<B, 4>(keys, 2, 0..head_dim), &[0, 1, 3, 2]);
    let rows = Shape::from([cache.kv_heads, blocks.len() * BLOCK, head_dim]);
    // The cache beyond the step is unspecified and may contain NaN.
    let keys = part::<B, 3>(B::float_reshape(keys, rows), 1, 0..end - first);

    let all = [cache.kv_heads, cache.blocks(), BLOCK * cache.head_dim];
    let values = B::float_reshape(values, Shape::from(all));
    let values = in_order::<B, 3>(values, blocks.clone(), cache.blocks());
    let all = [cache.kv_heads, blocks.len() * BLOCK, cache.head_dim];
    let values = B::float_reshape(values, Shape::from(all));
    let values = part::<B, 3>(part::<B, 3>(values, 1, 0..end - first), 2, 0..head_dim);
    (
        [keys, values].map(|x| B::float_cast(x, FloatDType::F32)),
        first,
    )
}

/// Causal grouped-query attention: q `[positions, heads, head_dim]`, keys and values
/// `[kv_heads, seen, head_dim]` from position `first` on, output `[positions, heads · head_dim]`.
fn attend<B: Backend>(
    q: FloatTensor<B>,
    [keys, values]: [FloatTensor<B>; 2],
    first: usize,
    plan: &AttentionPlan,
) -> FloatTensor<B> {
    let (positions, heads, head_dim) = (plan.rows.len(), plan.heads, plan.head_dim);
    let kv_heads = plan.cache.kv_heads;
    let group = heads / kv_heads;
    let seen = plan.start + positions - first;
    let mask = B::float_from_data(mask(plan, first, seen), &q.device());

    // Make the heads of a group adjacent, because they share keys and values.
    let q = B::float_permute(q, &[1, 0, 2]);
    let together = Shape::from([kv_heads, group * positions, head_dim]);
    let q = B::float_reshape(q, together);
    let scores = B::float_matmul(q, B::float_transpose(keys));
    let scores = B::float_mul_scalar(scores, plan.scale.into());
    let scores = B::float_reshape(scores, Shape::from([heads, positions, seen]));
    let weights = B::softmax(B::float_add(scores, mask), 2);
    let weights = B::float_reshape(weights, Shape::from([kv_heads, group * positions, seen]));
    let output = B::float_matmul(weights, values);
    let output = B::float_reshape(output, Shape::from([heads, positions, head_dim]));
    let output = B::float_permute(output, &[1, 0, 2]);
    B::float_reshape(output, Shape::from([positions, heads * head_dim]))
}

/// The attention mask, `[1, positions, seen]`: 0 where a position of the plan sees one of the
/// `seen` positions from `first` on, else [`UNSEEN`].
fn mask(plan: &AttentionPlan, first: usize, seen: usize) -> TensorData {
    let positions = plan.start..plan.start + plan.rows.len();
    let sees = |at: usize, other: usize| {
        other <= at && plan.window.is_none_or(|window| at - other < window)
    };
    let values: Vec<f32> = positions
        .flat_map(|at| (first..first + seen).map(move |other| (at, other)))
        .map(|(at, other)| if sees(at, other) { 0.0 } else { UNSEEN })
        .collect();
    TensorData::new(values, [1, plan.rows.len(), seen])
}

fn dims<const D: usize>(x: &impl TensorMetadata) -> [usize; D] {
    let shape = x.shape();
    std::array::from_fn(|axis| shape[axis])
}

/// The elements `range` along one of `D` axes.
fn part<B: Backend, const D: usize>(
    x: FloatTensor<B>,
    axis: usize,
    range: Range<usize>,
) -> FloatTensor<B> {
    let mut slices = [Slice::full(); D];
    slices[axis] = range.into();
    B::float_slice(x, &slices)
}
