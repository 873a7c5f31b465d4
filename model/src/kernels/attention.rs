//! Causal grouped-query attention over an f16 KV cache, with an optional sliding window.
//!
//! Canonical order, for a query at absolute position `p`: a score is one fused chain over
//! ascending dimensions, then times `1/√d`. Blocks of 64 absolute positions are taken in ascending
//! order with an online softmax (Milakov and Gimelshein 2018, arXiv:1805.02867): the block's
//! maximum is joined first, the running sum and output are scaled once, the block's weights fold
//! into sixteen lanes and one tree, and the output is one fused chain over ascending positions.

#[cfg(test)]
#[path = "attention_tests.rs"]
mod tests;

use std::array;
use std::ops::Range;

use half::f16;
use smallvec::SmallVec;

use super::attention_tile::{self, Join, QUERIES};
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

    /// Which of the positions `first..first + 64` a query at `position` sees, counted from `first`.
    fn seen(&self, position: usize, first: usize) -> Range<usize> {
        let from = self.first(position).saturating_sub(first);
        let to = (position + 1).saturating_sub(first).min(BLOCK);
        from..to
    }

    /// Joins a block into every query's softmax and output.
    #[inline(always)]
    fn join<S: Simd>(
        &self,
        s: S,
        block: &Block<'_, f32>,
        softmax: &mut [Softmax],
        out: &mut [f32],
    ) {
        let head_dim = self.shape.head_dim;
        let seen = |at: usize| self.seen(self.queries[at].0, block.first);
        let mut at = 0;
        while at < self.queries.len() {
            let end = at + QUERIES;
            let four = (end <= self.queries.len()).then(|| array::from_fn(|q| seen(at + q)));
            if let Some(seen) = four.filter(|seen| !common(seen).is_empty()) {
                let queries = array::from_fn(|q| self.queries[at + q].1);
                let out = &mut out[at * head_dim..end * head_dim];
                block.four(s, queries, &seen, &mut softmax[at..end], out);
                at = end;
            } else {
                let out = &mut out[at * head_dim..][..head_dim];
                block.one(s, self.queries[at].1, seen(at), &mut softmax[at], out);
                at += 1;
            }
        }
    }
}

/// The positions `first..first + 64` of one head: keys `[head_dim, 64]`, values `[64, head_dim]`.
struct Block<'a, T> {
    first: usize,
    keys: &'a [T],
    values: &'a [T],
    /// Multiplies scores.
    scale: f32,
}

impl<T: Element> Block<'_, T> {
    /// Joins the positions `seen` of the block into one query's softmax and output.
    #[inline(always)]
    fn one<S: Simd>(
        &self,
        s: S,
        query: &[f32],
        seen: Range<usize>,
        softmax: &mut Softmax,
        out: &mut [f32],
    ) {
        if !seen.is_empty() {
            let mut weights = scores(s, query, self.keys, self.scale);
            let rescale = softmax.join(s, &mut weights, seen.clone());
            accumulate(s, &weights, seen, rescale, self.values, out);
        }
    }
}

impl Block<'_, f32> {
    /// As [`Self::one`] for four queries, some positions of which all see; `out` is
    /// `[4, head_dim]`.
    #[inline(always)]
    fn four<S: Simd>(
        &self,
        s: S,
        queries: [&[f32]; QUERIES],
        seen: &[Range<usize>; QUERIES],
        softmax: &mut [Softmax],
        out: &mut [f32],
    ) {
        let head_dim = out.len() / QUERIES;
        let mut weights = attention_tile::scores(s, queries, self.keys, self.scale);
        let mut rescale = [1.0; QUERIES];
        for q in 0..QUERIES {
            rescale[q] = softmax[q].join(s, &mut weights[q], seen[q].clone());
        }
        let all = common(seen);
        // A query's positions are joined in ascending order: those before the common ones,
        for q in 0..QUERIES {
            let own = seen[q].start..all.start;
            if !own.is_empty() {
                let out = &mut out[q * head_dim..][..head_dim];
                accumulate(s, &weights[q], own, rescale[q], self.values, out);
                rescale[q] = 1.0;
            }
        }
        Join {
            weights: &weights,
            seen: all.clone(),
            rescale,
            values: self.values,
        }
        .run(s, out);
        // then those behind them.
        for q in 0..QUERIES {
            let own = all.end..seen[q].end;
            if !own.is_empty() {
                let out = &mut out[q * head_dim..][..head_dim];
                accumulate(s, &weights[q], own, 1.0, self.values, out);
            }
        }
    }
}

/// What all of them see.
fn common(seen: &[Range<usize>; QUERIES]) -> Range<usize> {
    seen.iter().fold(0..BLOCK, |all, one| {
        all.start.max(one.start)..all.end.min(one.end)
    })
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
        let (head_dim, scale) = (attend.shape.head_dim, attend.scale);
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
                let (keys, values) = (&*wide_keys, &*wide_values);
                let block = Block {
                    first,
                    keys,
                    values,
                    scale,
                };
                attend.join(s, &block, &mut softmax, out);
            } else {
                let block = Block {
                    first,
                    keys,
                    values,
                    scale,
                };
                for (&(position, query), softmax) in attend.queries.iter().zip(&mut softmax) {
                    let seen = attend.seen(position, first);
                    block.one(s, query, seen, softmax, out);
                }
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

/// The query's products with 64 keys, `[dimension, 64]`, times `scale`.
#[inline(always)]
fn scores<S: Simd, T: Element>(s: S, query: &[f32], keys: &[T], scale: f32) -> [f32; BLOCK] {
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
    let mut scores = [0.0_f32; BLOCK];
    for (v, sum) in sums.into_iter().enumerate() {
        let to = scores.as_mut_ptr().wrapping_add(v * LANES);
        // SAFETY: eight of 64 values.
        unsafe { s.store(s.mul(sum, s.splat(scale)), to) };
    }
    scores
}

impl Softmax {
    /// Joins a block's scores, in whose place come the weights of the positions `seen` (others 0).
    /// Returns what the output so far must be multiplied with.
    #[inline(always)]
    fn join<S: Simd>(&mut self, s: S, values: &mut [f32; BLOCK], seen: Range<usize>) -> f32 {
        values[..seen.start].fill(f32::MIN);
        values[seen.end..].fill(f32::MIN);
        let mut largest = s.splat(self.max);
        let at = |values: &[f32; BLOCK], v: usize| {
            // SAFETY: eight of 64 values.
            unsafe { s.load(values.as_ptr().add(v * LANES)) }
        };
        for v in 0..VECTORS {
            largest = s.max(largest, at(values, v));
        }
        let mut lanes = [0.0_f32; LANES];
        // SAFETY: eight lanes.
        unsafe { s.store(largest, lanes.as_mut_ptr()) };
        let mut max = lanes[0];
        for lane in lanes {
            max = if lane > max { lane } else { max };
        }
        for v in 0..VECTORS {
            let weight = exp(s, s.sub(at(values, v), s.splat(max)));
            // SAFETY: eight of 64 values.
            unsafe { s.store(weight, values.as_mut_ptr().add(v * LANES)) };
        }
        values[..seen.start].fill(0.0);
        values[seen.end..].fill(0.0);
        let mut sums = [s.splat(0.0); 2];
        for v in 0..VECTORS {
            sums[v % 2] = s.add(sums[v % 2], at(values, v));
        }
        // SAFETY: eight lanes.
        unsafe { s.store(exp(s, s.splat(self.max - max)), lanes.as_mut_ptr()) };
        let rescale = lanes[0];
        self.sum = self.sum * rescale + fold(s, sums);
        self.max = max;
        rescale
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
