//! Compares every operation with kernels to the one composed of Burn's own, on the same device.

use std::num::NonZeroUsize;
use std::ops::Range;

use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use half::f16;

use super::{AttentionPlan, Normed, Projected, Storage};
use crate::config::{Activation, RopePairs};
use crate::kernels::cache::CacheShape;
use crate::kv_cache::LayerCache;
use crate::kv_ring::Ring;
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

fn composed() -> Compute {
    Compute::composed(Device::flex())
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
            TensorType::Q3_K => block[108..].copy_from_slice(&scale),
            TensorType::TQ2_0 => block[64..].copy_from_slice(&scale),
            TensorType::TQ1_0 => block[52..].copy_from_slice(&scale),
            TensorType::Q2_K => {
                block[80..82].copy_from_slice(&scale);
                block[82..].copy_from_slice(&scale);
            }
            TensorType::MXFP4 => block[0] = 120,
            TensorType::Q4_0
            | TensorType::Q5_0
            | TensorType::Q8_0
            | TensorType::IQ4_NL
            | TensorType::IQ4_XS
            | TensorType::IQ3_S
            | TensorType::IQ3_XXS
            | TensorType::IQ2_S
            | TensorType::IQ2_XS
            | TensorType::IQ2_XXS => block[..2].copy_from_slice(&scale),
            TensorType::Q4_1 | TensorType::Q5_1 | TensorType::Q4_K | TensorType::Q5_K => {
                block[..2].copy_from_slice(&scale);
                block[2..4].copy_from_slice(&scale);
            }
        }
    }
    let data = TensorData::new(bytes, [rows, row_bytes]);
    let tensor = Tensor::from_data(data, (&Device::flex(), DType::U8));
    let mut storage = Storage::new(tensor_type, rows, 256);
    storage.scale = Some(0.7);
    storage.bias = Some((0..rows).map(value).collect());
    (tensor, storage)
}

#[test]
fn linear_maps_equal_a_product_with_decoded_weights() {
    for tensor_type in TensorType::ALL {
        for positions in [1, 3, 9] {
            let x = random([positions, 256], 5);
            let weights = [24, 8, 31].map(|rows| stored(tensor_type, rows));
            let run = |compute: &Compute| {
                let one = super::linear(x.clone(), weights[0].clone(), compute);
                let [a, b, c] = super::linear_triple(x.clone(), weights.clone(), compute);
                [one, a, b, c]
            };
            for (got, want) in run(&compute()).into_iter().zip(run(&composed())) {
                assert_close(got, want, 1e-4);
            }
        }
    }
}

#[test]
fn embedding_rows_are_the_decoded_rows_scaled() {
    for tensor_type in TensorType::ALL {
        let (table, storage) = stored(tensor_type, 10);
        let run = |compute: &Compute| {
            super::embedding_rows(table.clone(), storage.clone(), &[7, 0, 7], 3.0, compute)
        };
        assert_close(run(&compute()), run(&composed()), 1e-6);
    }
}

#[test]
fn norms_equal_their_definition() {
    let (x, gamma) = (random([5, 100], 1), random([100], 9));
    let run = |compute: &Compute| super::rms_norm(x.clone(), gamma.clone(), 1e-5, compute);
    assert_close(run(&compute()), run(&composed()), 1e-5);
}

#[test]
fn capped_numbers_equal_their_definition() {
    let x = random([3, 1500], 1) * 40.0;
    let run = |compute: &Compute| super::softcap(x.clone(), 30.0, compute);
    assert_close(run(&compute()), run(&composed()), 1e-6);
}

#[test]
fn values_go_into_a_tensor_and_out_of_it_without_a_copy() {
    let compute = compute();
    let values = vec![1.0_f32; 600];
    let place = values.as_ptr();
    let tensor = super::tensor_of(values, 3, &compute);
    super::with_values(tensor, &compute, |values| {
        assert_eq!((values.len(), values.as_ptr()), (600, place));
    });
    // The memory was kept for reuse.
    let again = compute.buffers().take(600);
    assert_eq!(again.as_ptr(), place);
}

/// Hidden states and a residual, `[positions, 256]`, and a norm.
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
    for positions in [1, 7] {
        let of = sum(positions);
        let weights = [24, 8, 31].map(|rows| stored(TensorType::Q8_0, rows));
        let run = |compute: &Compute| {
            let (sum, [a, b, c]) = normed(&of, compute).linear_triple(weights.clone());
            [sum, a, b, c]
        };
        for (got, want) in run(&compute()).into_iter().zip(run(&composed())) {
            assert_close(got, want, 1e-4);
        }
    }
}

#[test]
fn feed_forward_parts_equal_their_definition() {
    for activation in [Activation::Silu, Activation::GeluTanh] {
        for positions in [1, 7] {
            let of = sum(positions);
            let weights = [256, 256, 256].map(|rows| stored(TensorType::Q8_0, rows));
            let run =
                |compute: &Compute| normed(&of, compute).feed_forward(weights.clone(), activation);
            let ((sum, got), (want_sum, want)) = (run(&compute()), run(&composed()));
            assert_close(sum, want_sum, 1e-7);
            assert_close(got, want, 1e-4);
        }
    }
}

/// The sizes and options of an attention.
struct Looks {
    head_dim: usize,
    angles: usize,
    rope_pairs: RopePairs,
    window: Option<usize>,
}

const HEADS: usize = 6;
const KV_HEADS: usize = 2;

/// One step of `all` rows, of sequences that have the rows `rows`, from position `start` on, with
/// their caches afterwards.
fn attend_all<'c>(
    looks: &Looks,
    all: usize,
    sequences: impl IntoIterator<Item = (usize, Range<usize>, &'c mut LayerCache)>,
    compute: &Compute,
) -> Tensor<2> {
    let head_dim = looks.head_dim;
    let projected = Projected {
        q: random([all, HEADS * head_dim], 11 + all),
        k: random([all, KV_HEADS * head_dim], 5000 + all),
        v: random([all, KV_HEADS * head_dim], 9000 + all),
    };
    let angle = random([all, looks.angles], 3);
    let plan = |(start, rows, cache)| {
        let plan = AttentionPlan {
            rows,
            start,
            heads: HEADS,
            head_dim,
            cache: shape(head_dim),
            rope_pairs: looks.rope_pairs,
            window: looks.window,
            scale: 0.2,
        };
        (plan, cache)
    };
    let angles = [angle.clone().cos(), angle.sin()];
    super::rotary_attention(projected, sequences.into_iter().map(plan), &angles, compute)
}

/// As [`attend_all`], of one sequence.
fn attend(
    looks: &Looks,
    cache: &mut LayerCache,
    (start, rows, all): (usize, Range<usize>, usize),
    compute: &Compute,
) -> Tensor<2> {
    attend_all(looks, all, [(start, rows, cache)], compute)
}

fn shape(head_dim: usize) -> CacheShape {
    CacheShape {
        kv_heads: KV_HEADS,
        head_dim: CacheShape::padded(head_dim),
        capacity: 192,
    }
}

fn empty_cache(head_dim: usize, dtype: DType) -> LayerCache {
    cache(
        head_dim,
        dtype,
        Ring::new(None, shape(head_dim).capacity, 0),
    )
}

fn cache(head_dim: usize, dtype: DType, ring: Ring) -> LayerCache {
    assert_eq!(ring.positions(), shape(head_dim).capacity);
    let zeros = || Tensor::zeros([shape(head_dim).elements()], (&Device::flex(), dtype));
    LayerCache::new([zeros(), zeros()], shape(head_dim), ring)
}

/// A prompt, a decode step, rows of a step shared with another sequence, and a repeated part: each
/// starts or ends within a block of the cache. With a window, more follow, which go around the ring of
/// three blocks. Outputs and caches match the definition, which rounds keys and values only if the
/// cache does.
#[test]
fn rotary_attention_equals_the_composed_one_for_both_pairings_and_windows() {
    for (head_dim, angles, rope_pairs, window) in [
        (32, 12, RopePairs::Adjacent, None),
        (32, 16, RopePairs::Halves, None),
        (20, 8, RopePairs::Halves, Some(20)),
        (32, 16, RopePairs::Adjacent, Some(70)),
    ] {
        let looks = Looks {
            head_dim,
            angles,
            rope_pairs,
            window,
        };
        let types = [DType::F16, DType::F16, DType::F32];
        let mut caches = types.map(|dtype| empty_cache(head_dim, dtype));
        let computes = [compute(), composed(), composed()];
        for (start, rows, all) in [
            (0, 0..90, 90),
            (90, 0..1, 1),
            (91, 3..60, 70),
            (100, 0..5, 5),
            (105, 0..50, 50),
            (155, 0..58, 58),
            (213, 0..1, 1),
            (214, 0..60, 60),
            (230, 2..30, 40),
        ] {
            if window.is_none() && start + rows.len() > 192 {
                continue;
            }
            let run = |(cache, compute): (&mut LayerCache, &Compute)| {
                attend(&looks, cache, (start, rows.clone(), all), compute)
            };
            let outputs: Vec<_> = caches.iter_mut().zip(&computes).map(run).collect();
            // A key or value that differs in the last of 32 bits may also differ in the last of 16.
            assert_close(outputs[0].clone(), outputs[1].clone(), 1e-3);
            assert_close(outputs[0].clone(), outputs[2].clone(), 1e-3);
        }
        let caches = caches.map(|mut cache| cache.take().map(|x| x.cast(DType::F32)));
        for other in &caches[1..] {
            for (got, want) in caches[0].iter().zip(other) {
                assert_close(got.clone(), want.clone(), 1e-3);
            }
        }
    }
}

/// The first goes through its ring of three blocks in parts, the others are done before it.
#[test]
fn sequences_of_a_step_have_the_output_that_each_has_alone() {
    let looks = Looks {
        head_dim: 32,
        angles: 16,
        rope_pairs: RopePairs::Halves,
        window: Some(70),
    };
    let (all, places) = (310, [(0, 0..300), (5, 300..301), (0, 302..310)]);
    let bits = |output: Tensor<2>, rows: Range<usize>| -> Vec<u32> {
        let own = output.slice([rows]).into_data();
        own.iter().map(f32::to_bits).collect()
    };
    for compute in [compute(), composed()] {
        let ring = || Ring::new(looks.window, 400, 58);
        let caches = || [(); 3].map(|()| cache(32, DType::F16, ring()));
        let (mut together, mut alone) = (caches(), caches());
        let sequences = places.clone().into_iter().zip(&mut together);
        let sequences = sequences.map(|((start, rows), cache)| (start, rows, cache));
        let output = attend_all(&looks, all, sequences, &compute);
        for ((start, rows), cache) in places.clone().into_iter().zip(&mut alone) {
            let own = attend(&looks, cache, (start, rows.clone(), all), &compute);
            let (got, want) = (bits(output.clone(), rows.clone()), bits(own, rows.clone()));
            assert!(got == want, "{rows:?}, {compute:?}");
        }
    }
}

#[test]
fn keys_beyond_the_cache_make_their_value_no_number() {
    for compute in [compute(), composed()] {
        let mut cache = empty_cache(32, DType::F16);
        let plan = AttentionPlan {
            rows: 0..1,
            start: 0,
            heads: HEADS,
            head_dim: 32,
            cache: shape(32),
            rope_pairs: RopePairs::Halves,
            window: None,
            scale: 0.2,
        };
        let projected = Projected {
            q: random([1, HEADS * 32], 1),
            k: random([1, KV_HEADS * 32], 2) * -1e6,
            v: random([1, KV_HEADS * 32], 3),
        };
        let angle = random([1, 16], 3);
        let sequences = [(plan, &mut cache)].into_iter();
        let angles = [angle.clone().cos(), angle.sin()];
        let output = super::rotary_attention(projected, sequences, &angles, &compute);
        let values: Vec<f32> = output.into_data().iter().collect();
        assert!(values.iter().all(|value| value.is_nan()), "{compute:?}");
    }
}
