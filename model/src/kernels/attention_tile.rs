//! Attention's products for a few queries at once, so that each key and each value is loaded, and
//! widened, once for all of them. Every score and every output is the chain that one query alone
//! gives (see [`attention`](super::attention)): the bits are the same.

use std::ops::Range;

use half::f16;

use super::cache::BLOCK;
use super::simd::{LANES, Simd, TILE_ROWS};
use super::softmax::Softmax;

/// The most queries that share a load.
pub(super) const QUERIES: usize = 4;

/// Tiles of sixteen keys, or coordinates, that a wide strip takes.
const WIDE: usize = BLOCK / TILE_ROWS;

/// Bytes of a cache line.
const LINE: usize = 64;

/// How keys and values are stored.
pub(super) trait Element: Copy {
    /// Eight consecutive elements.
    ///
    /// # Safety
    /// `from` is valid for reading eight elements.
    unsafe fn load<S: Simd>(s: S, from: *const Self) -> S::F32;
    /// Sixteen consecutive elements.
    ///
    /// # Safety
    /// `from` is valid for reading sixteen elements.
    unsafe fn load_tile<S: Simd>(s: S, from: *const Self) -> S::TileF32;
}

impl Element for f16 {
    #[inline(always)]
    unsafe fn load<S: Simd>(s: S, from: *const Self) -> S::F32 {
        // SAFETY: the caller's promise is this function's.
        unsafe { s.load_f16(from.cast()) }
    }
    #[inline(always)]
    unsafe fn load_tile<S: Simd>(s: S, from: *const Self) -> S::TileF32 {
        // SAFETY: the caller's promise is this function's.
        unsafe { s.tile_load_f16(from.cast()) }
    }
}

impl Element for f32 {
    #[inline(always)]
    unsafe fn load<S: Simd>(s: S, from: *const Self) -> S::F32 {
        // SAFETY: the caller's promise is this function's.
        unsafe { s.load(from) }
    }
    #[inline(always)]
    unsafe fn load_tile<S: Simd>(s: S, from: *const Self) -> S::TileF32 {
        // SAFETY: the caller's promise is this function's.
        unsafe { s.tile_load(from) }
    }
}

/// A stretch of the cache that is needed next, as long as what is read now: it is fetched line by
/// line meanwhile.
#[derive(Clone, Copy)]
pub(super) struct Ahead(Option<*const u8>);

impl Ahead {
    pub(super) const NOTHING: Self = Self(None);

    pub(super) fn new(values: &[f16]) -> Self {
        Self(Some(values.as_ptr().cast()))
    }

    /// Hints at the lines of the `count` elements from element `at` on.
    #[inline(always)]
    fn fetch<S: Simd>(self, s: S, at: usize, count: usize) {
        let Some(values) = self.0 else {
            return;
        };
        let start = at * size_of::<f16>();
        // Of stretches shorter than a line, those where one starts.
        if count * size_of::<f16>() >= LINE || start.is_multiple_of(LINE) {
            for line in (0..count * size_of::<f16>()).step_by(LINE) {
                s.prefetch(values.wrapping_add(start + line));
            }
        }
    }
}

/// Widens a block's keys or values.
#[inline(always)]
pub(super) fn widen<S: Simd>(s: S, from: &[f16], to: &mut [f32]) {
    assert!(from.len() == to.len() && from.len().is_multiple_of(TILE_ROWS));
    for i in (0..from.len()).step_by(TILE_ROWS) {
        // SAFETY: sixteen values of both.
        unsafe {
            let wide = s.tile_load_f16(from.as_ptr().add(i).cast());
            s.tile_store(wide, to.as_mut_ptr().add(i));
        }
    }
}

/// Up to four queries, each with its position, and a block of 64 keys, `[dimension, 64]`.
pub(super) struct Products<'a, E> {
    pub(super) queries: &'a [(usize, &'a [f32])],
    pub(super) keys: &'a [E],
    pub(super) scale: f32,
    pub(super) ahead: Ahead,
}

impl<E: Element> Products<'_, E> {
    /// The queries' products with the keys, times `scale`, into `scores`.
    #[inline(always)]
    pub(super) fn run<S: Simd>(&self, s: S, scores: &mut [[f32; BLOCK]]) {
        assert_eq!(scores.len(), self.queries.len());
        for (_, query) in self.queries {
            assert_eq!(self.keys.len(), query.len() * BLOCK);
        }
        match self.queries.len() {
            0 => (),
            1 => self.run_some::<S, 1>(s, scores),
            2 => self.run_some::<S, 2>(s, scores),
            3 => self.run_some::<S, 3>(s, scores),
            QUERIES => self.run_some::<S, QUERIES>(s, scores),
            _ => unreachable!("four queries at most"),
        }
    }

    /// As many tiles at once as registers hold, so that as few passes go over the keys.
    #[inline(always)]
    fn run_some<S: Simd, const Q: usize>(&self, s: S, scores: &mut [[f32; BLOCK]]) {
        if S::HAS_WIDE_TILES || Q == 1 {
            self.strip::<S, Q, WIDE>(s, 0, scores);
        } else if Q == 2 {
            self.strip::<S, Q, 2>(s, 0, scores);
            self.strip::<S, Q, 2>(s, 2 * TILE_ROWS, scores);
        } else {
            for first in (0..BLOCK).step_by(TILE_ROWS) {
                self.strip::<S, Q, 1>(s, first, scores);
            }
        }
    }

    /// The products with the `16 · T` keys from `first` on.
    #[inline(always)]
    fn strip<S: Simd, const Q: usize, const T: usize>(
        &self,
        s: S,
        first: usize,
        scores: &mut [[f32; BLOCK]],
    ) {
        assert!(first + T * TILE_ROWS <= BLOCK);
        let mut vectors = [std::ptr::null(); Q];
        for (vector, (_, query)) in vectors.iter_mut().zip(self.queries) {
            *vector = query.as_ptr();
        }
        let mut sums = [[s.tile_splat(0.0); T]; Q];
        let dimensions = self.keys.len() / BLOCK;
        for d in 0..dimensions {
            let at = d * BLOCK + first;
            // In the order of memory, evenly over all strips.
            let done = first * dimensions + d * T * TILE_ROWS;
            self.ahead.fetch(s, done, T * TILE_ROWS);
            let mut keys = [s.tile_splat(0.0); T];
            for (t, keys) in keys.iter_mut().enumerate() {
                let from = self.keys.as_ptr().wrapping_add(at + t * TILE_ROWS);
                // SAFETY: within row `d` of 64 keys.
                *keys = unsafe { E::load_tile(s, from) };
            }
            for (vector, sums) in vectors.iter().zip(&mut sums) {
                // SAFETY: `run` checked that every query has these dimensions.
                let x = s.tile_splat(unsafe { *vector.add(d) });
                for (sum, keys) in sums.iter_mut().zip(keys) {
                    *sum = s.tile_fma(x, keys, *sum);
                }
            }
        }
        for (scores, sums) in scores.iter_mut().zip(sums) {
            for (t, sum) in sums.into_iter().enumerate() {
                let to = scores.as_mut_ptr().wrapping_add(first + t * TILE_ROWS);
                // SAFETY: sixteen of 64 values.
                unsafe { s.tile_store(s.tile_mul(sum, s.tile_splat(self.scale)), to) };
            }
        }
    }
}

/// A block's weights for up to four queries, and its values, `[64, stride]`, of which the
/// coordinates from `first` on are joined to the outputs.
pub(super) struct Join<'a, E> {
    pub(super) softmax: &'a [Softmax],
    pub(super) weights: &'a [[f32; BLOCK]],
    pub(super) values: &'a [E],
    pub(super) first: usize,
    pub(super) stride: usize,
    pub(super) ahead: Ahead,
}

impl<E: Element> Join<'_, E> {
    /// `out = out · rescale`, then for the ascending positions that each query sees
    /// `out = fma(weight, value, out)`: outputs `[queries, coordinates]`.
    ///
    /// # Panics
    /// If there are none or more than four queries, or sizes do not match.
    #[inline(always)]
    pub(super) fn run<S: Simd>(&self, s: S, out: &mut [f32]) {
        let queries = self.softmax.len();
        let width = out.len() / queries;
        assert!(self.weights.len() == queries && out.len() == queries * width);
        assert!(self.values.len() == BLOCK * self.stride && self.first + width <= self.stride);
        assert!(width.is_multiple_of(LANES));
        assert!(self.softmax.iter().all(|softmax| softmax.seen.end <= BLOCK));
        match queries {
            1 => self.all::<S, 1>(s, out),
            2 => self.all::<S, 2>(s, out),
            3 => self.all::<S, 3>(s, out),
            QUERIES => self.all::<S, QUERIES>(s, out),
            _ => unreachable!("four queries at most"),
        }
    }

    /// Positions in ascending order: those before the ones that all see, these, the others.
    #[inline(always)]
    fn all<S: Simd, const Q: usize>(&self, s: S, out: &mut [f32]) {
        let width = out.len() / Q;
        let mut all = 0..BLOCK;
        let mut rescale = [1.0; Q];
        for (rescale, softmax) in rescale.iter_mut().zip(self.softmax) {
            all = all.start.max(softmax.seen.start)..all.end.min(softmax.seen.end);
            *rescale = softmax.rescale;
        }
        if all.is_empty() {
            all = BLOCK..BLOCK;
        }
        for behind in [false, true] {
            for q in 0..Q {
                let seen = &self.softmax[q].seen;
                let own = match behind {
                    false => seen.start..seen.end.min(all.start),
                    true => seen.start.max(all.end)..seen.end,
                };
                if Q > 1 && !own.is_empty() {
                    let out = &mut out[q * width..][..width];
                    self.positions(q, own, [rescale[q]]).run(s, out);
                    rescale[q] = 1.0;
                }
            }
            if !behind && !all.is_empty() {
                self.positions(0, all.clone(), rescale).run(s, out);
                rescale = [1.0; Q];
            }
        }
    }

    /// The positions `seen` for the `Q` queries from `query` on.
    #[inline(always)]
    fn positions<const Q: usize>(
        &self,
        query: usize,
        seen: Range<usize>,
        rescale: [f32; Q],
    ) -> Positions<'_, E, Q> {
        let mut weights = [std::ptr::null(); Q];
        for (to, from) in weights.iter_mut().zip(&self.weights[query..query + Q]) {
            *to = from.as_ptr();
        }
        Positions {
            join: self,
            weights,
            rescale,
            seen,
        }
    }
}

/// Positions of a block that all of `Q` queries see.
struct Positions<'a, E, const Q: usize> {
    join: &'a Join<'a, E>,
    /// 64 weights each.
    weights: [*const f32; Q],
    rescale: [f32; Q],
    /// Within the block.
    seen: Range<usize>,
}

impl<E: Element, const Q: usize> Positions<'_, E, Q> {
    /// As many tiles at once as registers hold.
    #[inline(always)]
    fn run<S: Simd>(&self, s: S, out: &mut [f32]) {
        let width = out.len() / Q;
        let mut first = 0;
        if S::HAS_WIDE_TILES || Q == 1 {
            while first + WIDE * TILE_ROWS <= width {
                self.strip::<S, WIDE>(s, first, out);
                first += WIDE * TILE_ROWS;
            }
        }
        if S::HAS_WIDE_TILES || Q <= 2 {
            while first + 2 * TILE_ROWS <= width {
                self.strip::<S, 2>(s, first, out);
                first += 2 * TILE_ROWS;
            }
        }
        while first + TILE_ROWS <= width {
            self.strip::<S, 1>(s, first, out);
            first += TILE_ROWS;
        }
        if first < width {
            self.last_lanes(s, first, out);
        }
    }

    /// The `16 · T` coordinates from `first` on.
    #[inline(always)]
    fn strip<S: Simd, const T: usize>(&self, s: S, first: usize, out: &mut [f32]) {
        let width = out.len() / Q;
        assert!(first + T * TILE_ROWS <= width);
        let mut sums = [[s.tile_splat(0.0); T]; Q];
        for (q, sums) in sums.iter_mut().enumerate() {
            let rescale = s.tile_splat(self.rescale[q]);
            for (t, sum) in sums.iter_mut().enumerate() {
                let from = out.as_ptr().wrapping_add(q * width + first + t * TILE_ROWS);
                // SAFETY: within query `q` of `out`.
                *sum = s.tile_mul(unsafe { s.tile_load(from) }, rescale);
            }
        }
        let join = self.join;
        for i in self.seen.clone() {
            let at = i * join.stride + join.first + first;
            // In the order of memory, evenly over all strips, where these are all coordinates.
            let done = match width == join.stride {
                true => first * BLOCK + i * T * TILE_ROWS,
                false => at,
            };
            join.ahead.fetch(s, done, T * TILE_ROWS);
            let mut values = [s.tile_splat(0.0); T];
            for (t, values) in values.iter_mut().enumerate() {
                let from = join.values.as_ptr().wrapping_add(at + t * TILE_ROWS);
                // SAFETY: within row `i` of 64, by the checks of `Join::run`.
                *values = unsafe { E::load_tile(s, from) };
            }
            for (weights, sums) in self.weights.iter().zip(&mut sums) {
                // SAFETY: positions are below 64, by the checks of `Join::run`.
                let weight = s.tile_splat(unsafe { *weights.add(i) });
                for (sum, values) in sums.iter_mut().zip(values) {
                    *sum = s.tile_fma(weight, values, *sum);
                }
            }
        }
        for (q, sums) in sums.into_iter().enumerate() {
            for (t, sum) in sums.into_iter().enumerate() {
                let to = out
                    .as_mut_ptr()
                    .wrapping_add(q * width + first + t * TILE_ROWS);
                // SAFETY: within query `q` of `out`.
                unsafe { s.tile_store(sum, to) };
            }
        }
    }

    /// The eight coordinates from `first` on, where there are no more.
    #[inline(always)]
    fn last_lanes<S: Simd>(&self, s: S, first: usize, out: &mut [f32]) {
        let width = out.len() / Q;
        assert!(first + LANES <= width);
        let mut sums = [s.splat(0.0); Q];
        for (q, sum) in sums.iter_mut().enumerate() {
            // SAFETY: within query `q` of `out`.
            let before = unsafe { s.load(out.as_ptr().add(q * width + first)) };
            *sum = s.mul(before, s.splat(self.rescale[q]));
        }
        let join = self.join;
        for i in self.seen.clone() {
            let at = i * join.stride + join.first + first;
            // SAFETY: within row `i` of 64, by the checks of `Join::run`.
            let values = unsafe { E::load(s, join.values.as_ptr().add(at)) };
            for (weights, sum) in self.weights.iter().zip(&mut sums) {
                // SAFETY: positions are below 64, by the checks of `Join::run`.
                *sum = s.fma(s.splat(unsafe { *weights.add(i) }), values, *sum);
            }
        }
        for (q, sum) in sums.into_iter().enumerate() {
            // SAFETY: within query `q` of `out`.
            unsafe { s.store(sum, out.as_mut_ptr().add(q * width + first)) };
        }
    }
}
