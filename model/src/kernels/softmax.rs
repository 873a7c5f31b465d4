//! The online softmax of attention (see [`attention`](super::attention)), a block at a time.

use std::ops::Range;

use super::cache::BLOCK;
use super::float::fold;
use super::math::{exp, tile_exp};
use super::simd::{LANES, Simd, TILE_ROWS};

/// The running softmax of one query.
#[derive(Clone)]
pub(super) struct Softmax {
    max: f32,
    sum: f32,
    /// The positions of the block in hand that the query sees.
    pub(super) seen: Range<usize>,
    /// Multiplies the output so far before the block in hand is joined to it.
    pub(super) rescale: f32,
}

impl Softmax {
    pub(super) const NEW: Self = Self {
        max: f32::MIN,
        sum: 0.0,
        seen: 0..0,
        rescale: 1.0,
    };

    /// Joins a block's scores to those of up to eight queries. In their place come the weights
    /// `exp(score − max)` of the positions that each query sees, 0 for others. A query that sees
    /// none is left as it was.
    #[inline(always)]
    pub(super) fn join<S: Simd>(s: S, all: &mut [Self], scores: &mut [[f32; BLOCK]]) {
        assert!(all.len() == scores.len() && all.len() <= LANES);
        // Step by step for all, so that none waits for another's chain.
        let mut max = [0.0; LANES];
        let mut grown = [0.0; LANES];
        for (q, (softmax, scores)) in all.iter().zip(&mut *scores).enumerate() {
            max[q] = softmax.largest(s, scores);
            grown[q] = softmax.max - max[q];
        }
        for (q, (softmax, scores)) in all.iter().zip(&mut *scores).enumerate() {
            softmax.weigh(s, max[q], scores);
        }
        // SAFETY: eight values.
        unsafe {
            let rescale = exp(s, s.load(grown.as_ptr()));
            s.store(rescale, grown.as_mut_ptr());
        }
        for (q, (softmax, weights)) in all.iter_mut().zip(&*scores).enumerate() {
            softmax.max = max[q];
            softmax.rescale = grown[q];
            softmax.sum = softmax.sum * grown[q] + sum(s, weights);
        }
    }

    /// Divides the output by the sum of all weights.
    #[inline(always)]
    pub(super) fn finish(&self, out: &mut [f32]) {
        let inverse = 1.0 / self.sum;
        for value in out {
            *value *= inverse;
        }
    }

    /// The largest score so far, those of the block included; those of positions that the query does
    /// not see become tiny.
    #[inline(always)]
    fn largest<S: Simd>(&self, s: S, scores: &mut [f32; BLOCK]) -> f32 {
        self.hide(scores, f32::MIN);
        let mut largest = s.tile_splat(self.max);
        for first in (0..BLOCK).step_by(TILE_ROWS) {
            // SAFETY: sixteen of 64 values.
            let scores = unsafe { s.tile_load(scores.as_ptr().add(first)) };
            largest = s.tile_max(largest, scores);
        }
        let [low, high] = s.tile_halves(largest);
        let mut lanes = [0.0_f32; LANES];
        // SAFETY: eight lanes.
        unsafe { s.store(s.max(low, high), lanes.as_mut_ptr()) };
        let larger = |a: f32, b: f32| if a > b { a } else { b };
        let [a, b, c, d, e, f, g, h] = lanes;
        larger(
            larger(larger(a, b), larger(c, d)),
            larger(larger(e, f), larger(g, h)),
        )
    }

    /// The weights of scores, 0 where the query does not see the position.
    #[inline(always)]
    fn weigh<S: Simd>(&self, s: S, max: f32, scores: &mut [f32; BLOCK]) {
        for first in (0..BLOCK).step_by(TILE_ROWS) {
            // SAFETY: sixteen of 64 values.
            unsafe {
                let at = scores.as_mut_ptr().add(first);
                let weight = tile_exp(s, s.tile_sub(s.tile_load(at), s.tile_splat(max)));
                s.tile_store(weight, at);
            }
        }
        self.hide(scores, 0.0);
    }

    /// Replaces what belongs to positions that the query does not see.
    #[inline(always)]
    fn hide(&self, values: &mut [f32; BLOCK], by: f32) {
        if self.seen != (0..BLOCK) {
            values[..self.seen.start].fill(by);
            values[self.seen.end..].fill(by);
        }
    }
}

/// A block's weights, folded into sixteen lanes and one tree.
#[inline(always)]
fn sum<S: Simd>(s: S, weights: &[f32; BLOCK]) -> f32 {
    let mut sums = s.tile_splat(0.0);
    for first in (0..BLOCK).step_by(TILE_ROWS) {
        // SAFETY: sixteen of 64 values.
        sums = s.tile_add(sums, unsafe { s.tile_load(weights.as_ptr().add(first)) });
    }
    fold(s, s.tile_halves(sums))
}
