//! Causal grouped-query attention over an f16 KV cache, with an optional sliding window.
//!
//! Canonical order, for a query at absolute position `p`: a score is one fused chain over
//! ascending dimensions, then times `1/√d`. Blocks of 64 absolute positions are taken in ascending
//! order with an online softmax (Milakov and Gimelshein 2018, arXiv:1805.02867): the block's
//! maximum is joined first, the running sum and output are scaled once, the block's weights fold
//! into sixteen lanes and one tree, and the output is one fused chain over ascending positions.

use std::ops::Range;

use half::f16;
use smallvec::SmallVec;

use super::cache::{BLOCK, CacheShape};
use super::float::fold;
use super::isa::{Isa, Kernel, dispatch};
use super::math::exp;
use super::simd::{LANES, Simd};

/// Vectors across a block.
const VECTORS: usize = BLOCK / LANES;

/// Queries that share a key and value head.
pub(crate) struct Attend<'a> {
    pub(crate) shape: CacheShape,
    pub(crate) kv_head: usize,
    pub(crate) keys: &'a [f16],
    pub(crate) values: &'a [f16],
    /// A query attends to the last `window` positions up to its own.
    pub(crate) window: Option<usize>,
    /// Multiplies scores; `1/√d` unless the model says otherwise.
    pub(crate) scale: f32,
    /// Each query's absolute position, ascending, and its vector `[head_dim]`.
    pub(crate) queries: &'a [(usize, &'a [f32])],
}

impl Attend<'_> {
    /// The outputs, `[queries, head_dim]`, into `out`.
    pub(crate) fn run(self, isa: Isa, out: &mut [f32]) {
        let head_dim = self.shape.head_dim;
        assert_eq!(out.len(), self.queries.len() * head_dim);
        assert!(head_dim.is_multiple_of(LANES));
        assert_eq!(self.keys.len(), self.shape.elements());
        assert_eq!(self.values.len(), self.shape.elements());
        for (position, query) in self.queries {
            assert!(*position < self.shape.capacity && query.len() == head_dim);
        }
        dispatch(isa, AttendKernel { attend: self, out });
    }

    /// The first position a query at `position` sees.
    fn first(&self, position: usize) -> usize {
        self.window.map_or(0, |w| (position + 1).saturating_sub(w))
    }

    /// Joins the positions `first..first + 64`, keys `[head_dim, 64]` and values `[64, head_dim]`,
    /// into every query's softmax and output.
    #[inline(always)]
    fn block<S: Simd, T: Element>(
        &self,
        s: S,
        first: usize,
        keys: &[T],
        values: &[T],
        softmax: &mut [Softmax],
        out: &mut [f32],
    ) {
        let outputs = out.chunks_exact_mut(self.shape.head_dim);
        for ((&(position, query), softmax), out) in self.queries.iter().zip(softmax).zip(outputs) {
            let from = self.first(position).max(first);
            let to = (position + 1).min(first + BLOCK);
            if from < to {
                let seen = from - first..to - first;
                let scores = scores(s, query, keys);
                let (weights, rescale) = softmax.join(s, scores, self.scale, seen.clone());
                accumulate(s, &weights, seen, rescale, values, out);
            }
        }
    }
}

struct AttendKernel<'a, 'b> {
    attend: Attend<'a>,
    out: &'b mut [f32],
}

/// The running softmax of one query.
#[derive(Clone, Copy)]
struct Softmax {
    max: f32,
    sum: f32,
}

impl Kernel for AttendKernel<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { attend, out } = self;
        let head_dim = attend.shape.head_dim;
        out.fill(0.0);
        let Some(&(last, _)) = attend.queries.last() else {
            return;
        };
        let start = attend
            .queries
            .iter()
            .map(|&(p, _)| attend.first(p))
            .min()
            .unwrap_or(0);
        let none = Softmax {
            max: f32::MIN,
            sum: 0.0,
        };
        let mut softmax = SmallVec::<[_; 1]>::from_elem(none, attend.queries.len());
        // One query reads the cache as it is; several share one widened copy of each block.
        let share = attend.queries.len() > 1;
        let mut wide = vec![0.0_f32; if share { 2 * BLOCK * head_dim } else { 0 }];
        for block in start / BLOCK..=last / BLOCK {
            let first = block * BLOCK;
            let keys = &attend.keys[attend.shape.key_block(attend.kv_head, block)];
            let values = &attend.values[attend.shape.value_rows(attend.kv_head, first, BLOCK)];
            // Both lie in memory as long stretches, of which the processor learns too late.
            if block == start / BLOCK {
                prefetch(s, keys);
            }
            let seen = (last + 1 - first).min(BLOCK);
            prefetch(s, &values[..seen * head_dim]);
            if block < last / BLOCK {
                prefetch(
                    s,
                    &attend.keys[attend.shape.key_block(attend.kv_head, block + 1)],
                );
            }
            if share {
                let (wide_keys, wide_values) = wide.split_at_mut(BLOCK * head_dim);
                widen(s, keys, wide_keys);
                widen(s, values, wide_values);
                attend.block(s, first, wide_keys, wide_values, &mut softmax, out);
            } else {
                attend.block(s, first, keys, values, &mut softmax, out);
            }
        }
        for (softmax, out) in softmax.iter().zip(out.chunks_exact_mut(head_dim)) {
            let inverse = 1.0 / softmax.sum;
            for value in out {
                *value *= inverse;
            }
        }
    }
}

#[inline(always)]
fn prefetch<S: Simd>(s: S, values: &[f16]) {
    for line in values.chunks(64 / size_of::<f16>()) {
        s.prefetch(line.as_ptr().cast());
    }
}

/// How keys and values are stored.
trait Element: Copy {
    /// Eight consecutive elements.
    ///
    /// # Safety
    /// `from` is valid for reading eight elements.
    unsafe fn load<S: Simd>(s: S, from: *const Self) -> S::F32;
}

impl Element for f16 {
    #[inline(always)]
    unsafe fn load<S: Simd>(s: S, from: *const Self) -> S::F32 {
        // SAFETY: the caller's promise is this function's.
        unsafe { s.load_f16(from.cast()) }
    }
}

impl Element for f32 {
    #[inline(always)]
    unsafe fn load<S: Simd>(s: S, from: *const Self) -> S::F32 {
        // SAFETY: the caller's promise is this function's.
        unsafe { s.load(from) }
    }
}

#[inline(always)]
fn widen<S: Simd>(s: S, from: &[f16], to: &mut [f32]) {
    assert!(from.len() == to.len() && from.len().is_multiple_of(LANES));
    for i in (0..from.len()).step_by(LANES) {
        // SAFETY: eight values of both.
        unsafe {
            s.store(
                s.load_f16(from.as_ptr().add(i).cast()),
                to.as_mut_ptr().add(i),
            )
        };
    }
}

/// The query's products with 64 keys: `[dimension, 64]`.
#[inline(always)]
fn scores<S: Simd, T: Element>(s: S, query: &[f32], keys: &[T]) -> [S::F32; VECTORS] {
    assert_eq!(keys.len(), query.len() * BLOCK);
    let mut sums = [s.splat(0.0); VECTORS];
    for (d, &q) in query.iter().enumerate() {
        let q = s.splat(q);
        for (v, sum) in sums.iter_mut().enumerate() {
            // SAFETY: within row `d` of 64 keys.
            let keys = unsafe { T::load(s, keys.as_ptr().add(d * BLOCK + v * LANES)) };
            *sum = s.fma(q, keys, *sum);
        }
    }
    sums
}

impl Softmax {
    /// Joins a block's scores: the weights of the positions `seen` (others 0), and what the output
    /// so far must be multiplied with.
    #[inline(always)]
    fn join<S: Simd>(
        &mut self,
        s: S,
        scores: [S::F32; VECTORS],
        scale: f32,
        seen: Range<usize>,
    ) -> ([f32; BLOCK], f32) {
        let mut values = [0.0_f32; BLOCK];
        for (v, score) in scores.into_iter().enumerate() {
            // SAFETY: eight of 64 values.
            unsafe {
                s.store(
                    s.mul(score, s.splat(scale)),
                    values.as_mut_ptr().add(v * LANES),
                )
            };
        }
        values[..seen.start].fill(f32::MIN);
        values[seen.end..].fill(f32::MIN);
        let mut largest = s.splat(self.max);
        let at = |values: &[f32; BLOCK], v: usize| {
            // SAFETY: eight of 64 values.
            unsafe { s.load(values.as_ptr().add(v * LANES)) }
        };
        for v in 0..VECTORS {
            largest = s.max(largest, at(&values, v));
        }
        let mut lanes = [0.0_f32; LANES];
        // SAFETY: eight lanes.
        unsafe { s.store(largest, lanes.as_mut_ptr()) };
        let mut max = lanes[0];
        for lane in lanes {
            max = if lane > max { lane } else { max };
        }
        for v in 0..VECTORS {
            let weight = exp(s, s.sub(at(&values, v), s.splat(max)));
            // SAFETY: eight of 64 values.
            unsafe { s.store(weight, values.as_mut_ptr().add(v * LANES)) };
        }
        values[..seen.start].fill(0.0);
        values[seen.end..].fill(0.0);
        let mut sums = [s.splat(0.0); 2];
        for v in 0..VECTORS {
            sums[v % 2] = s.add(sums[v % 2], at(&values, v));
        }
        // SAFETY: eight lanes.
        unsafe { s.store(exp(s, s.splat(self.max - max)), lanes.as_mut_ptr()) };
        let rescale = lanes[0];
        self.sum = self.sum * rescale + fold(s, sums);
        self.max = max;
        (values, rescale)
    }
}

/// `out = out · rescale`, then for ascending positions `out = fma(weight, value, out)`.
#[inline(always)]
fn accumulate<S: Simd, T: Element>(
    s: S,
    weights: &[f32; BLOCK],
    seen: Range<usize>,
    rescale: f32,
    values: &[T],
    out: &mut [f32],
) {
    let head_dim = out.len();
    assert!(values.len() == BLOCK * head_dim && seen.end <= BLOCK);
    let mut first = 0;
    while first < head_dim {
        let vectors = VECTORS.min((head_dim - first) / LANES);
        let mut sums = [s.splat(0.0); VECTORS];
        for (v, sum) in sums.iter_mut().enumerate().take(vectors) {
            // SAFETY: within `out`.
            *sum = unsafe { s.load(out.as_ptr().add(first + v * LANES)) };
            *sum = s.mul(*sum, s.splat(rescale));
        }
        let base = values.as_ptr().wrapping_add(first);
        if vectors == VECTORS {
            for i in seen.clone() {
                let weight = s.splat(weights[i]);
                let row = base.wrapping_add(i * head_dim);
                for (v, sum) in sums.iter_mut().enumerate() {
                    // SAFETY: within row `i` of `values`.
                    let values = unsafe { T::load(s, row.wrapping_add(v * LANES)) };
                    *sum = s.fma(weight, values, *sum);
                }
            }
        } else {
            for i in seen.clone() {
                let weight = s.splat(weights[i]);
                let row = base.wrapping_add(i * head_dim);
                for (v, sum) in sums.iter_mut().enumerate().take(vectors) {
                    // SAFETY: within row `i` of `values`.
                    let values = unsafe { T::load(s, row.wrapping_add(v * LANES)) };
                    *sum = s.fma(weight, values, *sum);
                }
            }
        }
        for (v, sum) in sums.into_iter().enumerate().take(vectors) {
            // SAFETY: within `out`.
            unsafe { s.store(sum, out.as_mut_ptr().add(first + v * LANES)) };
        }
        first += vectors * LANES;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::SharedSlice;
    use crate::kernels::cache::append;

    fn value(i: usize) -> f32 {
        ((i.wrapping_mul(2_654_435_761) >> 7) % 1000) as f32 / 500.0 - 1.0
    }

    /// Attention by its formula in `f64`.
    fn expected(
        shape: CacheShape,
        kv: &[(Vec<f32>, Vec<f32>)],
        head: usize,
        position: usize,
        query: &[f32],
        window: Option<usize>,
    ) -> Vec<f64> {
        let d = shape.head_dim;
        let narrow = |x: f32| f16::from_f32(x).to_f64();
        let first = window.map_or(0, |w| (position + 1).saturating_sub(w));
        let weights: Vec<f64> = (first..=position)
            .map(|p| {
                let key = &kv[p].0[head * d..][..d];
                let dot: f64 = (0..d).map(|i| f64::from(query[i]) * narrow(key[i])).sum();
                (dot / (d as f64).sqrt()).exp()
            })
            .collect();
        let sum: f64 = weights.iter().sum();
        (0..d)
            .map(|i| {
                let all = weights.iter().enumerate();
                all.map(|(p, w)| w * narrow(kv[first + p].1[head * d + i]))
                    .sum::<f64>()
                    / sum
            })
            .collect()
    }

    #[test]
    fn matches_the_formula_and_one_query_equals_many_on_every_isa() {
        for (head_dim, window) in [(64, None), (40, Some(70)), (8, Some(3)), (128, Some(64))] {
            let shape = CacheShape {
                kv_heads: 2,
                head_dim,
                capacity: 192,
            };
            let width = 2 * head_dim;
            let mut keys = vec![f16::ZERO; shape.elements()];
            let mut values = vec![f16::ZERO; shape.elements()];
            let kv: Vec<(Vec<f32>, Vec<f32>)> = (0..150)
                .map(|p| {
                    let row = |salt| (0..width).map(|i| value(salt + p * width + i)).collect();
                    (row(1), row(90_001))
                })
                .collect();
            for (p, (k, v)) in kv.iter().enumerate() {
                // SAFETY: one thread.
                unsafe {
                    let (keys, values) =
                        (SharedSlice::new(&mut keys), SharedSlice::new(&mut values));
                    append(shape, p, shape.head_dim, k, v, keys, values);
                }
            }
            let query: Vec<Vec<f32>> = (0..150)
                .map(|p| (0..head_dim).map(|i| 3.0 * value(7 + 31 * p + i)).collect())
                .collect();
            let run = |isa, positions: Range<usize>| {
                let queries: Vec<_> = positions.map(|p| (p, query[p].as_slice())).collect();
                let mut out = vec![0.0; queries.len() * head_dim];
                Attend {
                    shape,
                    kv_head: 1,
                    keys: &keys,
                    values: &values,
                    window,
                    scale: 1.0 / (head_dim as f32).sqrt(),
                    queries: &queries,
                }
                .run(isa, &mut out);
                out
            };
            let all = run(Isa::SCALAR, 0..150);
            for isa in Isa::available() {
                assert_eq!(run(isa, 0..150), all, "{isa}");
                for p in [0, 1, 63, 64, 65, 127, 128, 149] {
                    assert_eq!(
                        run(isa, p..p + 1),
                        all[p * head_dim..][..head_dim],
                        "{isa} {p}"
                    );
                }
            }
            for p in [0, 5, 64, 149] {
                let want = expected(shape, &kv, 1, p, &query[p], window);
                for (i, want) in want.into_iter().enumerate() {
                    assert!((f64::from(all[p * head_dim + i]) - want).abs() < 1e-5);
                }
            }
        }
    }
}
