//! Every fused operation against its composed twin.

use std::num::NonZeroUsize;

use burn::backend::flex::{FlexTensor, Layout};
use burn::backend::{Bytes, DType, Flex, Shape};
use burn::tensor::{Device, Int, Tensor, TensorData};
use half::f16;

use super::{AttentionPlan, Normed, Projected, Storage, composed};
use crate::config::{Activation, RopePairs};
use crate::kernels::cache::CacheShape;
use crate::kv_cache::LayerCache;
use crate::{Compute, TensorType};

fn value(i: usize) -> f32 {
    ((i.wrapping_mul(2_654_435_761) >> 9) % 2000) as f32 / 1000.0 - 1.0
}

fn random<const D: usize>(shape: [usize; D], salt: usize) -> Tensor<D> {
    let values: Vec<f32> = (0..shape.iter().product())
        .map(|i| value(i + salt))
        .collect();
    Tensor::from_data(TensorData::new(values, shape), &Device::flex())
}

fn compute() -> Compute {
    Compute::new(NonZeroUsize::new(2)).expect("a usable instruction set")
}

fn assert_close<const D: usize>(a: Tensor<D>, b: Tensor<D>, tolerance: f32) {
    assert_eq!(a.dims(), b.dims());
    let size = b.clone().abs().max().into_scalar::<f32>().max(1.0);
    let largest = (a - b).abs().max().into_scalar::<f32>();
    assert!(largest < tolerance * size, "differs by {largest} of {size}");
}

/// A matrix of `rows` by 256 stored as `tensor_type`, with small scales everywhere.
fn stored(tensor_type: TensorType, rows: usize) -> (Tensor<2, Int>, Storage) {
    let row_bytes = tensor_type.row_bytes(256).expect("whole blocks");
    let mut bytes = vec![0_u8; rows * row_bytes];
    for (i, block) in bytes
        .chunks_exact_mut(tensor_type.block_bytes())
        .enumerate()
    {
        for (j, byte) in block.iter_mut().enumerate() {
            *byte = (value(i * 977 + j) * 127.0) as i8 as u8;
        }
        let scale = f16::from_f32(0.01).to_le_bytes();
        match tensor_type {
            TensorType::F32 => block.copy_from_slice(&value(i).to_le_bytes()),
            TensorType::F16 => block.copy_from_slice(&f16::from_f32(value(i)).to_le_bytes()),
            TensorType::BF16 => {
                block.copy_from_slice(&half::bf16::from_f32(value(i)).to_le_bytes());
            }
            TensorType::Q6_K => block[208..].copy_from_slice(&scale),
            TensorType::Q4_0 | TensorType::Q5_0 | TensorType::Q8_0 => {
                block[..2].copy_from_slice(&scale);
            }
            TensorType::Q4_1 | TensorType::Q5_1 | TensorType::Q4_K | TensorType::Q5_K => {
                block[..2].copy_from_slice(&scale);
                block[2..4].copy_from_slice(&scale);
            }
        }
    }
    let layout = Layout::contiguous(Shape::from(vec![rows, row_bytes]));
    let tensor = FlexTensor::new(Bytes::from_elems(bytes), layout, DType::U8);
    let storage = Storage::new(tensor_type, 256);
    (Tensor::from_primitive::<Flex>(tensor), storage)
}

#[test]
fn linear_maps_equal_a_product_with_decoded_weights() {
    for tensor_type in TensorType::ALL {
        for positions in [1, 3, 9] {
            let x = random([positions, 256], 5);
            let weights = [24, 8, 31].map(|rows| stored(tensor_type, rows));
            let want = weights
                .clone()
                .map(|(w, s)| composed::linear(x.clone(), w, s));
            let one = super::linear(x.clone(), weights[0].clone(), &compute());
            assert_close(one, want[0].clone(), 1e-4);
            let three = super::linear_triple(x, weights, &compute());
            for (got, want) in three.into_iter().zip(want) {
                assert_close(got, want, 1e-4);
            }
        }
    }
}

#[test]
fn embedding_rows_are_the_decoded_rows_scaled() {
    for tensor_type in TensorType::ALL {
        let (table, storage) = stored(tensor_type, 10);
        let ids = Tensor::from_data(TensorData::new(vec![7_i64, 0, 7], [3]), &Device::flex());
        let want = composed::embedding_rows(table.clone(), storage.clone(), ids, 3.0);
        assert_close(
            super::embedding_rows(table, storage, &[7, 0, 7], 3.0),
            want,
            1e-6,
        );
    }
}

#[test]
fn norms_equal_their_definition() {
    let (x, gamma) = (random([5, 100], 1), random([100], 9));
    let want = composed::rms_norm(x.clone(), gamma.clone(), 1e-5);
    assert_close(super::rms_norm(x, gamma, 1e-5, &compute()), want, 1e-5);
}

/// Hidden states and what is added, `[positions, 256]`, and a norm.
fn sum(positions: usize) -> (Tensor<2>, Tensor<2>, Tensor<1>) {
    let shape = [positions, 256];
    (random(shape, 3), random(shape, 77), random([256], 9))
}

fn normed<'a>(of: &(Tensor<2>, Tensor<2>, Tensor<1>), compute: &'a Compute) -> Normed<'a> {
    let (x, residual, gamma) = of.clone();
    Normed {
        x,
        residual,
        norm: (gamma, 1e-5),
        compute,
    }
}

#[test]
fn maps_of_a_normed_sum_equal_their_definition() {
    let compute = compute();
    for positions in [1, 7] {
        let of = sum(positions);
        let weights = [24, 8, 31].map(|rows| stored(TensorType::Q8_0, rows));
        let (x, residual, gamma) = of.clone();
        let (want_sum, norm) = composed::add_norm(x, residual, gamma, 1e-5);
        let (sum, maps) = normed(&of, &compute).linear_triple(weights.clone());
        assert_close(sum, want_sum, 1e-7);
        for (got, (weight, storage)) in maps.into_iter().zip(weights) {
            assert_close(got, composed::linear(norm.clone(), weight, storage), 1e-4);
        }
    }
}

#[test]
fn feed_forward_parts_equal_their_definition() {
    let compute = compute();
    for activation in [Activation::Silu, Activation::GeluTanh] {
        for positions in [1, 7] {
            let of = sum(positions);
            let weights = [256, 256, 256].map(|rows| stored(TensorType::Q8_0, rows));
            let (x, residual, gamma) = of.clone();
            let (want_sum, norm) = composed::add_norm(x, residual, gamma, 1e-5);
            let want = composed::feed_forward(norm, weights.clone(), activation);
            let (sum, got) = normed(&of, &compute).feed_forward(weights, activation);
            assert_close(sum, want_sum, 1e-7);
            assert_close(got, want, 1e-4);
        }
    }
}

#[test]
fn rotary_attention_equals_the_composed_one_for_both_pairings_and_windows() {
    let (positions, heads, kv_heads, head_dim, angles) = (90, 6, 2, 32, 12);
    for (rope_pairs, window) in [
        (RopePairs::Adjacent, None),
        (RopePairs::Halves, None),
        (RopePairs::Halves, Some(20)),
    ] {
        let q = random([positions, heads * head_dim], 11);
        let k = random([positions, kv_heads * head_dim], 5000);
        let v = random([positions, kv_heads * head_dim], 9000);
        let angle = random([positions, angles], 3);
        let (cos, sin) = (angle.clone().cos(), angle.sin());
        let turn = |x: Tensor<2>, heads| {
            let x = x.reshape([positions, heads, head_dim]);
            composed::rotate(x, cos.clone(), sin.clone(), rope_pairs)
        };
        let want = composed::attention(
            turn(q.clone(), heads),
            turn(k.clone(), kv_heads),
            v.clone().reshape([positions, kv_heads, head_dim]),
            window,
            0.2,
        );
        let cache = CacheShape {
            kv_heads,
            head_dim,
            capacity: 128,
        };
        let zeros = || {
            let layout = Layout::contiguous(Shape::from(vec![cache.elements()]));
            let values = vec![f16::ZERO; cache.elements()];
            let tensor = FlexTensor::new(Bytes::from_elems(values), layout, DType::F16);
            Tensor::<1>::from_primitive::<Flex>(tensor)
        };
        let projected = Projected { q, k, v };
        let mut cache_tensors = LayerCache::new([zeros(), zeros()]);
        let plan = AttentionPlan {
            rows: 0..positions,
            start: 0,
            heads,
            head_dim,
            cache,
            rope_pairs,
            window,
            scale: 0.2,
        };
        let sequences = [(plan, &mut cache_tensors)].into_iter();
        let got = super::rotary_attention(projected, sequences, &[cos, sin], &compute());
        // The cache is f16.
        assert_close(got, want, 2e-3);
    }
}
