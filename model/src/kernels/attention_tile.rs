//! Attention's products for four queries at once, so that each key and each value is loaded once for
//! four. Every score and every output is the chain that one query alone gives (see
//! [`attention`](super::attention)): the bits are the same.

use std::ops::Range;

use super::cache::BLOCK;
use super::simd::{LANES, Simd, TILE_ROWS};

/// Queries that share a load.
pub(super) const QUERIES: usize = 4;

/// Tiles of sixteen keys, or coordinates, that a wide strip takes.
const WIDE: usize = BLOCK / TILE_ROWS;

/// The queries' products with 64 keys, `[dimension, 64]`, times `scale`, into `scores`.
#[inline(always)]
pub(super) fn scores<S: Simd>(
    s: S,
    queries: [&[f32]; QUERIES],
    keys: &[f32],
    scale: f32,
    mut scores: [&mut [f32; BLOCK]; QUERIES],
) {
    for query in queries {
        assert_eq!(keys.len(), query.len() * BLOCK);
    }
    if S::HAS_WIDE_TILES {
        strip_of_scores::<S, WIDE>(s, queries, keys, scale, 0, &mut scores);
    } else {
        for first in (0..BLOCK).step_by(TILE_ROWS) {
            strip_of_scores::<S, 1>(s, queries, keys, scale, first, &mut scores);
        }
    }
}

/// The products with the `16 · T` keys from `first` on.
#[inline(always)]
fn strip_of_scores<S: Simd, const T: usize>(
    s: S,
    queries: [&[f32]; QUERIES],
    keys: &[f32],
    scale: f32,
    first: usize,
    scores: &mut [&mut [f32; BLOCK]; QUERIES],
) {
    assert!(first + T * TILE_ROWS <= BLOCK);
    let dimensions = keys.len() / BLOCK;
    let mut sums = [[s.tile_splat(0.0); T]; QUERIES];
    for d in 0..dimensions {
        let row = keys.as_ptr().wrapping_add(d * BLOCK + first);
        // SAFETY: within row `d` of 64 keys.
        let keys: [_; T] =
            std::array::from_fn(|t| unsafe { s.tile_load(row.wrapping_add(t * TILE_ROWS)) });
        for (query, sums) in queries.iter().zip(&mut sums) {
            // SAFETY: `scores` checked that every query has these dimensions.
            let q = s.tile_splat(unsafe { *query.get_unchecked(d) });
            for (sum, keys) in sums.iter_mut().zip(keys) {
                *sum = s.tile_fma(q, keys, *sum);
            }
        }
    }
    for (scores, sums) in scores.iter_mut().zip(sums) {
        for (t, sum) in sums.into_iter().enumerate() {
            let to = scores.as_mut_ptr().wrapping_add(first + t * TILE_ROWS);
            // SAFETY: sixteen of 64 values.
            unsafe { s.tile_store(s.tile_mul(sum, s.tile_splat(scale)), to) };
        }
    }
}

/// The positions of a block that four queries join to their outputs, `[4, head_dim]`.
pub(super) struct Join<'a> {
    pub(super) weights: [&'a [f32; BLOCK]; QUERIES],
    /// Positions that all four see.
    pub(super) seen: Range<usize>,
    pub(super) rescale: [f32; QUERIES],
    /// `[64, head_dim]`.
    pub(super) values: &'a [f32],
}

impl Join<'_> {
    /// `out = out · rescale`, then for ascending positions `out = fma(weight, value, out)`.
    #[inline(always)]
    pub(super) fn run<S: Simd>(&self, s: S, out: &mut [f32]) {
        let head_dim = out.len() / QUERIES;
        assert!(out.len() == QUERIES * head_dim && self.values.len() == BLOCK * head_dim);
        assert!(self.seen.end <= BLOCK && head_dim.is_multiple_of(LANES));
        let mut first = 0;
        while S::HAS_WIDE_TILES && first + WIDE * TILE_ROWS <= head_dim {
            self.strip::<S, WIDE>(s, first, out);
            first += WIDE * TILE_ROWS;
        }
        while first + TILE_ROWS <= head_dim {
            self.strip::<S, 1>(s, first, out);
            first += TILE_ROWS;
        }
        if first < head_dim {
            self.last_lanes(s, first, out);
        }
    }

    /// The `16 · T` coordinates from `first` on.
    #[inline(always)]
    fn strip<S: Simd, const T: usize>(&self, s: S, first: usize, out: &mut [f32]) {
        let head_dim = out.len() / QUERIES;
        assert!(first + T * TILE_ROWS <= head_dim);
        let at = |q: usize, t: usize| q * head_dim + first + t * TILE_ROWS;
        let mut sums = [[s.tile_splat(0.0); T]; QUERIES];
        for (q, sums) in sums.iter_mut().enumerate() {
            let rescale = s.tile_splat(self.rescale[q]);
            for (t, sum) in sums.iter_mut().enumerate() {
                // SAFETY: within query `q` of `out`.
                let before = unsafe { s.tile_load(out.as_ptr().add(at(q, t))) };
                *sum = s.tile_mul(before, rescale);
            }
        }
        for i in self.seen.clone() {
            let row = self.values.as_ptr().wrapping_add(i * head_dim + first);
            // SAFETY: within row `i` of 64, by `run`'s checks.
            let values: [_; T] =
                std::array::from_fn(|t| unsafe { s.tile_load(row.wrapping_add(t * TILE_ROWS)) });
            for (weights, sums) in self.weights.iter().zip(&mut sums) {
                // SAFETY: `run` checked that positions are below 64.
                let weight = s.tile_splat(unsafe { *weights.get_unchecked(i) });
                for (sum, values) in sums.iter_mut().zip(values) {
                    *sum = s.tile_fma(weight, values, *sum);
                }
            }
        }
        for (q, sums) in sums.into_iter().enumerate() {
            for (t, sum) in sums.into_iter().enumerate() {
                // SAFETY: within query `q` of `out`.
                unsafe { s.tile_store(sum, out.as_mut_ptr().add(at(q, t))) };
            }
        }
    }

    /// The eight coordinates from `first` on, where a head has no more.
    #[inline(always)]
    fn last_lanes<S: Simd>(&self, s: S, first: usize, out: &mut [f32]) {
        let head_dim = out.len() / QUERIES;
        assert!(first + LANES <= head_dim);
        let mut sums = [s.splat(0.0); QUERIES];
        for (q, sum) in sums.iter_mut().enumerate() {
            // SAFETY: within query `q` of `out`.
            let before = unsafe { s.load(out.as_ptr().add(q * head_dim + first)) };
            *sum = s.mul(before, s.splat(self.rescale[q]));
        }
        for i in self.seen.clone() {
            let row = self.values.as_ptr().wrapping_add(i * head_dim + first);
            // SAFETY: within row `i` of 64, by `run`'s checks.
            let values = unsafe { s.load(row) };
            for (weights, sum) in self.weights.iter().zip(&mut sums) {
                *sum = s.fma(s.splat(weights[i]), values, *sum);
            }
        }
        for (q, sum) in sums.into_iter().enumerate() {
            // SAFETY: within query `q` of `out`.
            unsafe { s.store(sum, out.as_mut_ptr().add(q * head_dim + first)) };
        }
    }
}
