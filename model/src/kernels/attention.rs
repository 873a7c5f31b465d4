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

use super::attention_tile::{Ahead, Element, Join, Products, QUERIES, widen};
use super::cache::{BLOCK, CacheShape};
use super::isa::{Isa, Kernel, dispatch};
use super::simd::{LANES, Simd};
use super::softmax::Softmax;

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
        assert!(self.queries.iter().all(|(_, q)| q.len() == head_dim));
        self.check();
        dispatch(isa, AttendKernel { attend: self, out });
    }

    /// # Panics
    /// If sizes do not match the shape.
    pub(super) fn check(&self) {
        assert!(self.shape.head_dim.is_multiple_of(LANES));
        assert_eq!(self.keys.len(), self.shape.elements());
        assert_eq!(self.values.len(), self.shape.elements());
        assert!(self.blocks().len() <= self.shape.blocks());
    }

    /// The first position a query at `position` sees.
    fn first(&self, position: usize) -> usize {
        self.window.map_or(0, |w| (position + 1).saturating_sub(w))
    }

    /// Block `block` of the cache.
    pub(super) fn block(&self, block: usize) -> Block<'_> {
        let first = block * BLOCK;
        Block {
            first,
            keys: self.keys(self.kv_head, block),
            values: &self.values[self.shape.value_rows(self.kv_head, first, BLOCK)],
        }
    }

    /// The keys of a block of a head.
    fn keys(&self, kv_head: usize, block: usize) -> &[f16] {
        &self.keys[self.shape.key_block(kv_head, block)]
    }

    /// The blocks that some query sees.
    pub(super) fn blocks(&self) -> Range<usize> {
        let first = self.queries.iter().map(|&(p, _)| self.first(p)).min();
        let last = self.queries.last().map(|&(p, _)| p / BLOCK + 1);
        first.map_or(0, |first| first / BLOCK)..last.unwrap_or(0)
    }

    /// Which of the positions `first..first + 64` a query at `position` sees, counted from `first`.
    pub(super) fn seen(&self, position: usize, first: usize) -> Range<usize> {
        let to = (position + 1).saturating_sub(first).min(BLOCK);
        let from = self.first(position).saturating_sub(first).min(to);
        from..to
    }

    /// How many queries share a load: parts of about the same size.
    pub(super) fn share(&self) -> usize {
        let queries = self.queries.len().max(1);
        queries.div_ceil(queries.div_ceil(QUERIES))
    }

    /// The weights of a block's positions for every query.
    #[inline(always)]
    fn weigh<S: Simd, E: Element>(
        &self,
        s: S,
        keys: &[E],
        mut ahead: Ahead,
        softmax: &mut [Softmax],
        weights: &mut [[f32; BLOCK]],
    ) {
        let share = self.share();
        let parts = softmax.chunks_mut(share).zip(weights.chunks_mut(share));
        for (queries, (softmax, weights)) in self.queries.chunks(share).zip(parts) {
            Products {
                queries,
                keys,
                scale: self.scale,
                ahead,
            }
            .run(s, weights);
            Softmax::join(s, softmax, weights);
            ahead = Ahead::NOTHING;
        }
    }

    /// Joins a block's values, by their weights, to every query's output.
    #[inline(always)]
    fn join<S: Simd, E: Element>(
        &self,
        s: S,
        values: &[E],
        mut ahead: Ahead,
        softmax: &[Softmax],
        weights: &[[f32; BLOCK]],
        out: &mut [f32],
    ) {
        let (share, head_dim) = (self.share(), self.shape.head_dim);
        let parts = softmax.chunks(share).zip(weights.chunks(share));
        for (out, (softmax, weights)) in out.chunks_mut(share * head_dim).zip(parts) {
            Join {
                softmax,
                weights,
                values,
                first: 0,
                stride: head_dim,
                ahead,
            }
            .run(s, out);
            ahead = Ahead::NOTHING;
        }
    }
}

/// The positions `first..first + 64` of one head: keys `[head_dim, 64]`, values `[64, head_dim]`.
pub(super) struct Block<'a> {
    pub(super) first: usize,
    pub(super) keys: &'a [f16],
    pub(super) values: &'a [f16],
}

struct AttendKernel<'a, 'b> {
    attend: Attend<'a>,
    out: &'b mut [f32],
}

impl Kernel for AttendKernel<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { attend, out } = self;
        let head_dim = attend.shape.head_dim;
        out.fill(0.0);
        let queries = attend.queries.len();
        let blocks = attend.blocks();
        let mut softmax = SmallVec::<[_; QUERIES]>::from_elem(Softmax::NEW, queries);
        let mut weights = SmallVec::<[_; QUERIES]>::from_elem([0.0; BLOCK], queries);
        // Few queries read the cache as it is; more of them share one widened copy of a block's keys,
        // then of its values: as much as stays in a first-level cache.
        let mut wide = (queries > QUERIES).then(|| vec![0.0; BLOCK * head_dim]);
        for block in blocks.clone() {
            let here = attend.block(block);
            if block == blocks.start {
                prefetch(s, here.keys);
            }
            // Both lie in memory as long stretches, of which the processor learns too late. Behind the
            // last block, most often, comes the next head.
            let next = if block + 1 < blocks.end {
                attend.keys(attend.kv_head, block + 1)
            } else {
                let heads = attend.shape.kv_heads;
                attend.keys((attend.kv_head + 1).min(heads - 1), blocks.start)
            };
            let ahead = [Ahead::new(here.values), Ahead::new(next)];
            for (softmax, &(position, _)) in softmax.iter_mut().zip(attend.queries) {
                softmax.seen = attend.seen(position, here.first);
            }
            match &mut wide {
                None => {
                    attend.weigh(s, here.keys, ahead[0], &mut softmax, &mut weights);
                    attend.join(s, here.values, ahead[1], &softmax, &weights, out);
                }
                Some(wide) => {
                    widen(s, here.keys, wide);
                    attend.weigh(s, &*wide, ahead[0], &mut softmax, &mut weights);
                    widen(s, here.values, wide);
                    attend.join(s, &*wide, ahead[1], &softmax, &weights, out);
                }
            }
        }
        for (softmax, out) in softmax.iter().zip(out.chunks_exact_mut(head_dim)) {
            softmax.finish(out);
        }
    }
}

#[inline(always)]
pub(super) fn prefetch<S: Simd>(s: S, values: &[f16]) {
    for line in values.chunks(64 / size_of::<f16>()) {
        s.prefetch(line.as_ptr().cast());
    }
}
