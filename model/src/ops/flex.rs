//! The operations on Burn's CPU backend: pass tensors to the kernels as slices, without copies.

use std::sync::Arc;

use burn::backend::flex::{FlexTensor, Layout};
use burn::backend::{Bytes, DType, Flex, Shape};

use super::caches::Caches;
use super::{AttentionPlan, ModelOps, Storage};
use crate::compute::Compute;
use crate::config::Activation;
use crate::kernels::attention_step::{self, AttentionStep, Sequence};
use crate::kernels::dequantise::dequantise_row;
use crate::kernels::feed_forward::{FeedForward, Scratch};
use crate::kernels::rows::{Owned, WeightRows};
use crate::kernels::softcap::softcap;
use crate::kernels::{gate as gate_kernel, linear as linear_kernel, norm};

/// Logits per unit of thread work for the soft cap.
const SOFTCAP_GRAIN: usize = 4096;

/// Wraps values as a matrix with this many rows.
fn floats(values: Vec<f32>, rows: usize) -> FlexTensor {
    let shape = Shape::from(vec![rows, values.len() / rows.max(1)]);
    FlexTensor::new(
        Bytes::from_elems(values),
        Layout::contiguous(shape),
        DType::F32,
    )
}

/// Makes the tensor contiguous, so that it can be read as one slice.
fn contiguous(x: FlexTensor) -> FlexTensor {
    if x.as_slice::<f32>().is_some() {
        x
    } else {
        x.to_contiguous()
    }
}

/// Makes the elements fill the tensor's storage, so that they can be written in place. Such a write
/// copies the storage if it is shared.
fn whole(x: FlexTensor) -> FlexTensor {
    match x.as_slice::<f32>() {
        Some(elements) if elements.len() == x.storage::<f32>().len() => x,
        _ => x.to_contiguous(),
    }
}

fn slice(x: &FlexTensor) -> &[f32] {
    x.as_slice().expect("f32 and made contiguous")
}

fn dims(x: &FlexTensor) -> [usize; 2] {
    let shape = x.layout().shape();
    [shape[0], shape[1]]
}

fn matrix<'a>(weight: &'a FlexTensor, storage: &Storage) -> WeightRows<'a> {
    let bytes = weight
        .as_slice::<u8>()
        .expect("weights are contiguous bytes");
    let Storage {
        tensor_type,
        rows,
        columns,
        layout,
        ..
    } = *storage;
    WeightRows::new(tensor_type, rows, columns, bytes, layout).owned_by(weight)
}

impl Owned for FlexTensor {
    fn bytes(&self) -> &[u8] {
        self.as_slice::<u8>().unwrap_or_default()
    }

    fn share(&self) -> Box<dyn Owned + Send> {
        Box::new(self.clone())
    }
}

/// Returns an unshared tensor's memory to the buffer pool.
fn recycle(x: FlexTensor, compute: &Compute) {
    let data = x.data_arc();
    drop(x);
    if let Some(Ok(buffer)) = Arc::into_inner(data).map(Bytes::try_into_vec) {
        compute.buffers().give(buffer);
    }
}

fn linear_many<const N: usize>(
    x: FlexTensor,
    weights: [(&FlexTensor, &Storage); N],
    compute: &Compute,
) -> [FlexTensor; N] {
    let x = contiguous(x);
    let [positions, _columns] = dims(&x);
    expect(weights, positions, compute);
    let outputs = multiply(slice(&x), weights, positions, compute);
    recycle(x, compute);
    outputs.map(|y| floats(y, positions))
}

/// Adds `residual` to `x` in place and returns the norm of the sum.
fn add_norm(
    x: FlexTensor,
    residual: FlexTensor,
    gamma: FlexTensor,
    eps: f32,
    compute: &Compute,
) -> (FlexTensor, Vec<f32>) {
    let (mut x, residual, gamma) = (whole(x), contiguous(residual), contiguous(gamma));
    let [rows, width] = dims(&x);
    let mut y = compute.buffers().take(rows * width);
    let (add, factors) = (slice(&residual), slice(&gamma));
    let matrices = [x.storage_mut(), &mut y];
    compute.team().rows(matrices, width, &|row, [sum, y]| {
        let add = &add[row * width..][..width];
        norm::add_rms_norm(compute.isa(), sum, add, factors, eps, y);
    });
    recycle(residual, compute);
    (x, y)
}

/// Announces the next weights to waiting threads.
fn expect<const N: usize>(
    weights: [(&FlexTensor, &Storage); N],
    positions: usize,
    compute: &Compute,
) {
    let weights = weights.map(|(weight, storage)| matrix(weight, storage));
    linear_kernel::expect(compute.team(), &weights, positions);
}

fn multiply<const N: usize>(
    x: &[f32],
    weights: [(&FlexTensor, &Storage); N],
    positions: usize,
    compute: &Compute,
) -> [Vec<f32>; N] {
    let rows = weights.map(|(weight, storage)| matrix(weight, storage));
    let (isa, team, buffers) = (compute.isa(), compute.team(), compute.buffers());
    let mut outputs = rows.map(|w| buffers.take(positions * w.rows()));
    let mut quantised = buffers.take_activations();
    linear_kernel::linear(isa, team, x, &mut quantised, &rows, &mut outputs);
    buffers.give_activations(quantised);
    for (y, (_, storage)) in outputs.iter_mut().zip(weights) {
        finish(y, storage, compute);
    }
    outputs
}

/// Scales products, `[positions, rows]`, and adds the bias, rounding after each. Does nothing if
/// the weights have neither.
fn finish(products: &mut [f32], storage: &Storage, compute: &Compute) {
    if let Some(scale) = storage.scale {
        products.iter_mut().for_each(|y| *y *= scale);
    }
    let Some(bias) = storage.bias.as_deref() else {
        return;
    };
    let width = bias.len();
    compute.team().rows([products], width, &|_row, [products]| {
        for (y, bias) in products.iter_mut().zip(bias) {
            *y += bias;
        }
    });
}

/// The feed-forward part of the norm's output for a few positions: `[positions, d_model]`.
fn feed_forward_of_few(
    normed: &[f32],
    maps: &FeedForward<'_>,
    positions: usize,
    compute: &Compute,
) -> Vec<f32> {
    let buffers = compute.buffers();
    let mut outputs = [maps.gate, maps.up].map(|w| buffers.take(positions * w.rows()));
    let [mut quantised, mut inner] = [(); 2].map(|()| buffers.take_activations());
    let mut y = buffers.take(positions * maps.down.rows());
    let scratch = Scratch {
        quantised: &mut quantised,
        inner: &mut inner,
        outputs: outputs.each_mut().map(Vec::as_mut_slice),
    };
    maps.run(compute.isa(), compute.team(), normed, scratch, &mut y);
    for buffer in outputs {
        buffers.give(buffer);
    }
    for activations in [quantised, inner] {
        buffers.give_activations(activations);
    }
    y
}

impl ModelOps for Flex {
    fn embedding_rows(
        table: FlexTensor,
        storage: Storage,
        ids: Vec<u32>,
        scale: f32,
        _compute: Compute,
    ) -> FlexTensor {
        let table = matrix(&table, &storage);
        let mut out = vec![0.0; ids.len() * storage.columns];
        for (row, &id) in out.chunks_exact_mut(storage.columns).zip(&ids) {
            dequantise_row(storage.tensor_type, table.row(id as usize), row);
            if scale != 1.0 {
                row.iter_mut().for_each(|x| *x *= scale);
            }
        }
        floats(out, ids.len())
    }

    fn rms_norm(x: FlexTensor, gamma: FlexTensor, eps: f32, compute: Compute) -> FlexTensor {
        let (x, gamma) = (contiguous(x), contiguous(gamma));
        let [rows, width] = dims(&x);
        let mut y = compute.buffers().take(rows * width);
        let (input, factors) = (slice(&x), slice(&gamma));
        compute.team().rows([&mut y], width, &|row, [y]| {
            norm::rms_norm(
                compute.isa(),
                &input[row * width..][..width],
                factors,
                eps,
                y,
            );
        });
        recycle(x, &compute);
        floats(y, rows)
    }

    fn linear(x: FlexTensor, weight: FlexTensor, storage: Storage, compute: Compute) -> FlexTensor {
        let [y] = linear_many(x, [(&weight, &storage)], &compute);
        y
    }

    fn softcap(x: FlexTensor, cap: f32, compute: Compute) -> FlexTensor {
        let mut x = whole(x);
        let values: &mut [f32] = x.storage_mut();
        let whole = values.len() / SOFTCAP_GRAIN * SOFTCAP_GRAIN;
        let (pieces, rest) = values.split_at_mut(whole);
        compute
            .team()
            .rows([pieces], SOFTCAP_GRAIN, &|_piece, [values]| {
                softcap(compute.isa(), cap, values);
            });
        softcap(compute.isa(), cap, rest);
        x
    }

    fn linear_triple(
        x: FlexTensor,
        first: FlexTensor,
        second: FlexTensor,
        third: FlexTensor,
        storage: [Storage; 3],
        compute: Compute,
    ) -> (FlexTensor, FlexTensor, FlexTensor) {
        let weights = [
            (&first, &storage[0]),
            (&second, &storage[1]),
            (&third, &storage[2]),
        ];
        linear_many(x, weights, &compute).into()
    }

    fn add_norm_linear_triple(
        x: FlexTensor,
        residual: FlexTensor,
        gamma: FlexTensor,
        first: FlexTensor,
        second: FlexTensor,
        third: FlexTensor,
        storage: [Storage; 3],
        eps: f32,
        compute: Compute,
    ) -> (FlexTensor, FlexTensor, FlexTensor, FlexTensor) {
        let weights = [
            (&first, &storage[0]),
            (&second, &storage[1]),
            (&third, &storage[2]),
        ];
        let [positions, _width] = dims(&x);
        expect(weights, positions, &compute);
        let (x, normed) = add_norm(x, residual, gamma, eps, &compute);
        let outputs = multiply(&normed, weights, positions, &compute);
        compute.buffers().give(normed);
        let [first, second, third] = outputs.map(|y| floats(y, positions));
        (x, first, second, third)
    }

    fn add_norm_feed_forward(
        x: FlexTensor,
        residual: FlexTensor,
        gamma: FlexTensor,
        gate: FlexTensor,
        up: FlexTensor,
        down: FlexTensor,
        storage: [Storage; 3],
        activation: Activation,
        eps: f32,
        compute: Compute,
    ) -> (FlexTensor, FlexTensor) {
        let width = storage[0].rows;
        let [positions, _width] = dims(&x);
        let maps = FeedForward {
            gate: matrix(&gate, &storage[0]),
            up: matrix(&up, &storage[1]),
            down: matrix(&down, &storage[2]),
            activation,
        };
        let plain = |storage: &Storage| storage.scale.is_none() && storage.bias.is_none();
        if maps.is_whole(positions) && storage[..2].iter().all(plain) {
            maps.expect(compute.team());
            let (x, normed) = add_norm(x, residual, gamma, eps, &compute);
            let mut y = feed_forward_of_few(&normed, &maps, positions, &compute);
            finish(&mut y, &storage[2], &compute);
            compute.buffers().give(normed);
            return (x, floats(y, positions));
        }
        let weights = [(&gate, &storage[0]), (&up, &storage[1])];
        expect(weights, positions, &compute);
        let (x, normed) = add_norm(x, residual, gamma, eps, &compute);
        let [mut inner, up] = multiply(&normed, weights, positions, &compute);
        expect([(&down, &storage[2])], positions, &compute);
        let rows = [inner.as_mut_slice()];
        compute.team().rows(rows, width, &|row, [gate]| {
            let up = &up[row * width..][..width];
            gate_kernel::gate(compute.isa(), activation, gate, up);
        });
        let [y] = multiply(&inner, [(&down, &storage[2])], positions, &compute);
        for buffer in [normed, inner, up] {
            compute.buffers().give(buffer);
        }
        (x, floats(y, positions))
    }

    fn rotary_attention(
        q: FlexTensor,
        k: FlexTensor,
        v: FlexTensor,
        mut caches: Caches<Self>,
        cos: FlexTensor,
        sin: FlexTensor,
        plans: Vec<AttentionPlan>,
        compute: Compute,
    ) -> (FlexTensor, Caches<Self>) {
        let (k, v) = (contiguous(k), contiguous(v));
        let (cos, sin) = (contiguous(cos), contiguous(sin));
        debug_assert!(
            caches.0.iter().flatten().all(FlexTensor::is_unique),
            "a cache is never shared"
        );
        let mut q = whole(q);
        let sequences = plans.iter().zip(&mut caches.0);
        let sequences = sequences.map(|(plan, [keys, values])| Sequence {
            plan,
            keys: keys.storage_mut(),
            values: values.storage_mut(),
        });
        let step = AttentionStep {
            q: q.storage_mut(),
            k: slice(&k),
            v: slice(&v),
            cos: slice(&cos),
            sin: slice(&sin),
            sequences: sequences.collect(),
        };
        let scratch = attention_step::scratch(&plans, compute.team().threads());
        let mut scratch = compute.buffers().take(scratch);
        step.run(compute.isa(), compute.team(), &mut scratch);
        if !scratch.is_empty() {
            compute.buffers().give(scratch);
        }
        recycle(k, &compute);
        recycle(v, &compute);
        (q, caches)
    }
}
