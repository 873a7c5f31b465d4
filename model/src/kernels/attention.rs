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

    /// Block `block` of the cache.
    fn block(&self, block: usize) -> Block<'_> {
        let first = block * BLOCK;
        Block {
            first,
            keys: &self.keys[self.shape.key_block(self.kv_head, block)],
            values: &self.values[self.shape.value_rows(self.kv_head, first, BLOCK)],
        }
    }

    /// Which of the positions `first..first + 64` a query at `position` sees, counted from `first`.
    fn seen(&self, position: usize, first: usize) -> Range<usize> {
        let from = self.first(position).saturating_sub(first);
        let to = (position + 1).saturating_sub(first).min(BLOCK);
        from..to
    }

    /// Joins the positions `first..first + 64` into the softmax and output of the only query.
    #[inline(always)]
    fn join_one<S: Simd>(&self, s: S, block: &Block<'_>, softmax: &mut [Softmax], out: &mut [f32]) {
        for (&(position, query), softmax) in self.queries.iter().zip(softmax) {
            let seen = self.seen(position, block.first);
            if !seen.is_empty() {
                let mut weights = scores(s, query, block.keys, self.scale);
                let rescale = softmax.join(s, &mut weights, &seen);
                accumulate(s, &weights, seen, rescale, block.values, out);
            }
        }
    }

    /// Joins the positions `first..first + 64` into every query's softmax and output, where four
    /// queries see them at once.
    #[inline(always)]
    fn join_shared<S: Simd>(
        &self,
        s: S,
        block: &Block<'_>,
        shared: &mut Shared,
        softmax: &mut [Softmax],
        out: &mut [f32],
    ) {
        let Shared { wide, own } = shared;
        for (own, &(position, _)) in own.iter_mut().zip(self.queries) {
            own.seen = self.seen(position, block.first);
        }
        widen(s, block.keys, wide);
        let queries = self.queries.chunks(QUERIES);
        for ((queries, own), softmax) in queries
            .zip(own.chunks_mut(QUERIES))
            .zip(softmax.chunks_mut(QUERIES))
        {
            self.weigh(s, queries, wide, own, softmax);
        }
        widen(s, block.values, wide);
        let outputs = out.chunks_mut(QUERIES * self.shape.head_dim);
        for (own, out) in own.chunks(QUERIES).zip(outputs) {
            accumulate_all(s, own, wide, out);
        }
    }

    /// The weights of a block's positions for some queries, at most four.
    #[inline(always)]
    fn weigh<S: Simd>(
        &self,
        s: S,
        queries: &[(usize, &[f32])],
        keys: &[f32],
        own: &mut [Own],
        softmax: &mut [Softmax],
    ) {
        let scale = self.scale;
        if let (&[a, b, c, d], [x, y, z, w]) = (queries, &mut *own)
            && [&x, &y, &z, &w].iter().all(|own| !own.seen.is_empty())
        {
            let weights = [
                &mut x.weights,
                &mut y.weights,
                &mut z.weights,
                &mut w.weights,
            ];
            attention_tile::scores(s, [a.1, b.1, c.1, d.1], keys, scale, weights);
            // Step by step for all, so that none waits for another's chain.
            let mut max = [0.0; QUERIES];
            for q in 0..QUERIES {
                let Own { weights, seen, .. } = &mut own[q];
                max[q] = softmax[q].largest(s, weights, seen);
            }
            for q in 0..QUERIES {
                weigh(s, &mut own[q].weights, max[q], &own[q].seen);
            }
            for q in 0..QUERIES {
                own[q].rescale = softmax[q].add(s, &own[q].weights, max[q]);
            }
            return;
        }
        for ((&(_, query), own), softmax) in queries.iter().zip(own).zip(softmax) {
            if !own.seen.is_empty() {
                own.weights = scores(s, query, keys, scale);
                own.rescale = softmax.join(s, &mut own.weights, &own.seen);
            }
        }
    }
}

/// The positions `first..first + 64` of one head: keys `[head_dim, 64]`, values `[64, head_dim]`.
struct Block<'a> {
    first: usize,
    keys: &'a [f16],
    values: &'a [f16],
}

/// What queries need that go through the blocks together.
struct Shared {
    /// A block's keys, then its values, widened: as little as stays in a first-level cache.
    wide: Vec<f32>,
    /// By query.
    own: Vec<Own>,
}

/// What a query makes of a block.
#[derive(Clone)]
struct Own {
    /// Its positions that the query sees.
    seen: Range<usize>,
    weights: [f32; BLOCK],
    /// Multiplies the output so far.
    rescale: f32,
}

impl Shared {
    fn new(queries: usize, head_dim: usize) -> Self {
        let none = Own {
            seen: 0..0,
            weights: [0.0; BLOCK],
            rescale: 1.0,
        };
        Self {
            wide: vec![0.0; BLOCK * head_dim],
            own: vec![none; queries],
        }
    }
}

/// Joins a block's values, `[64, head_dim]`, to the outputs of at most four queries.
#[inline(always)]
fn accumulate_all<S: Simd>(s: S, own: &[Own], values: &[f32], out: &mut [f32]) {
    let head_dim = out.len() / own.len();
    // Positions are joined in ascending order: those before the ones that all see, these, the others.
    let all = own.iter().fold(0..BLOCK, |all, own| {
        all.start.max(own.seen.start)..all.end.min(own.seen.end)
    });
    let four = <&[Own; QUERIES]>::try_from(own).ok();
    let Some(four) = four.filter(|_| !all.is_empty()) else {
        for (own, out) in own.iter().zip(out.chunks_exact_mut(head_dim)) {
            if !own.seen.is_empty() {
                accumulate(s, &own.weights, own.seen.clone(), own.rescale, values, out);
            }
        }
        return;
    };
    let mut rescale = four.each_ref().map(|own| own.rescale);
    for (q, own) in own.iter().enumerate() {
        let before = own.seen.start..all.start;
        if !before.is_empty() {
            let out = &mut out[q * head_dim..][..head_dim];
            accumulate(s, &own.weights, before, rescale[q], values, out);
            rescale[q] = 1.0;
        }
    }
    Join {
        weights: four.each_ref().map(|own| &own.weights),
        seen: all.clone(),
        rescale,
        values,
    }
    .run(s, out);
    for (q, own) in own.iter().enumerate() {
        let behind = all.end..own.seen.end;
        if !behind.is_empty() {
            let out = &mut out[q * head_dim..][..head_dim];
            accumulate(s, &own.weights, behind, 1.0, values, out);
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
        let count = attend.queries.len();
        let mut shared = (count > 1).then(|| Shared::new(count, head_dim));
        for block in start / BLOCK..=last / BLOCK {
            let here = attend.block(block);
            // Both lie in memory as long stretches, of which the processor learns too late.
            if block == start / BLOCK {
                prefetch(s, here.keys);
            }
            let seen = (last + 1 - here.first).min(BLOCK);
            prefetch(s, &here.values[..seen * head_dim]);
            if block < last / BLOCK {
                prefetch(s, attend.block(block + 1).keys);
            }
            match &mut shared {
                Some(shared) => attend.join_shared(s, &here, shared, &mut softmax, out),
                None => attend.join_one(s, &here, &mut softmax, out),
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
    fn join<S: Simd>(&mut self, s: S, values: &mut [f32; BLOCK], seen: &Range<usize>) -> f32 {
        let max = self.largest(s, values, seen);
        weigh(s, values, max, seen);
        self.add(s, values, max)
    }

    /// The largest score so far, those of the positions `seen` included; others become tiny.
    #[inline(always)]
    fn largest<S: Simd>(&self, s: S, scores: &mut [f32; BLOCK], seen: &Range<usize>) -> f32 {
        scores[..seen.start].fill(f32::MIN);
        scores[seen.end..].fill(f32::MIN);
        let mut largest = s.splat(self.max);
        for v in 0..VECTORS {
            largest = s.max(largest, vector(s, scores, v));
        }
        let mut lanes = [0.0_f32; LANES];
        // SAFETY: eight lanes.
        unsafe { s.store(largest, lanes.as_mut_ptr()) };
        let mut max = lanes[0];
        for lane in lanes {
            max = if lane > max { lane } else { max };
        }
        max
    }

    /// Adds a block's weights, made with `max`. Returns what the output so far must be multiplied
    /// with.
    #[inline(always)]
    fn add<S: Simd>(&mut self, s: S, weights: &[f32; BLOCK], max: f32) -> f32 {
        let mut sums = [s.splat(0.0); 2];
        for v in 0..VECTORS {
            sums[v % 2] = s.add(sums[v % 2], vector(s, weights, v));
        }
        let mut lanes = [0.0_f32; LANES];
        // SAFETY: eight lanes.
        unsafe { s.store(exp(s, s.splat(self.max - max)), lanes.as_mut_ptr()) };
        let rescale = lanes[0];
        self.sum = self.sum * rescale + fold(s, sums);
        self.max = max;
        rescale
    }
}

/// The weights `exp(score − max)` of the positions `seen`, others 0, in place of the scores.
#[inline(always)]
fn weigh<S: Simd>(s: S, values: &mut [f32; BLOCK], max: f32, seen: &Range<usize>) {
    for v in 0..VECTORS {
        let weight = exp(s, s.sub(vector(s, values, v), s.splat(max)));
        // SAFETY: eight of 64 values.
        unsafe { s.store(weight, values.as_mut_ptr().add(v * LANES)) };
    }
    values[..seen.start].fill(0.0);
    values[seen.end..].fill(0.0);
}

/// Eight of the values, `v < 8`.
#[inline(always)]
fn vector<S: Simd>(s: S, values: &[f32; BLOCK], v: usize) -> S::F32 {
    assert!(v < VECTORS);
    // SAFETY: eight of 64 values.
    unsafe { s.load(values.as_ptr().add(v * LANES)) }
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
