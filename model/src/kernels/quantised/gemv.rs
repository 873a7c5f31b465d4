//! The GEMV for one or a few positions: weights are read once, where they lie.

use std::ops::Range;

use super::super::activations::Factors;
use super::super::codec::Codec;
use super::super::simd::{ActivationBlock, LANES, Simd};
use super::{Multiply, for_each_sub, weights_of_rows};

/// Bytes of a lane's stretch of rows: long enough for prefetchers, and eight of them fit a
/// second-level cache, so that what is prefetched beyond a stretch is there already.
const STRETCH: usize = 16 * 1024;
/// Addresses so far apart share a set of a first-level cache.
const CACHE_PERIOD: usize = 4096;

/// How far ahead a stream of rows is prefetched, in bytes.
const PREFETCH_AHEAD: usize = 768;

impl<C: Codec> Multiply<'_, C> {
    /// A lane takes a stretch of its own of the rows: eight long streams of memory are read faster
    /// than one (on Zen 3 at 20 to 24 GB/s a thread in place of 13 to 15).
    #[inline(always)]
    pub(super) fn gemv<S: Simd, const N: usize>(&self, s: S, position: usize) {
        let mut x: [(&[ActivationBlock], &[Factors]); N] = [(&[], &[]); N];
        for (n, x) in x.iter_mut().enumerate() {
            *x = self.x.tile(position + n);
        }
        let row_bytes = self.w.row_bytes();
        let Range {
            start: mut first,
            end,
        } = self.rows.clone();
        let longest = longest_stretch(row_bytes);
        while end - first >= LANES {
            let each = longest.min((end - first) / LANES);
            let streams = self.w.bytes(first..first + LANES * each).as_ptr();
            let mut ahead = Ahead::new(streams, each * row_bytes);
            for row in 0..each {
                let at = streams.wrapping_add(row * row_bytes);
                // SAFETY: row `row` of eight stretches of `each` rows.
                let sums =
                    unsafe { eight_rows::<S, C, N>(s, at, each * row_bytes, &x, &mut ahead) };
                let first = first + row;
                let last = first + each * (LANES - 1);
                self.put(s, sums, position, first..last + 1, each);
            }
            first += LANES * each;
        }
        let left = end - first;
        if left > 0 {
            let (bytes, _) = self.w.eight(first);
            let mut ahead = Ahead::new(bytes.as_ptr(), row_bytes);
            // SAFETY: `bytes` are eight whole rows.
            let sums =
                unsafe { eight_rows::<S, C, N>(s, bytes.as_ptr(), row_bytes, &x, &mut ahead) };
            self.put(s, sums, position, first..end, 1);
        }
    }

    /// Stores lanes, which are of `rows` every `stride`th, for the positions from `position` on.
    #[inline(always)]
    fn put<S: Simd, const N: usize>(
        &self,
        s: S,
        sums: [S::F32; N],
        position: usize,
        rows: Range<usize>,
        stride: usize,
    ) {
        for (n, sum) in sums.into_iter().enumerate() {
            let start = (position + n) * self.w.rows();
            // SAFETY: the caller of `multiply` gave us these rows.
            let out = unsafe { self.y.part(start + rows.start..start + rows.end) };
            let mut lanes = [0.0; LANES];
            // SAFETY: eight lanes.
            unsafe { s.store(sum, lanes.as_mut_ptr()) };
            for (out, lane) in out.iter_mut().step_by(stride).zip(lanes) {
                *out = lane;
            }
        }
    }
}

/// Rows of a lane's stretch: up to [`STRETCH`] bytes, and so many that the eight lanes do not use
/// the same sets of a first-level cache, which repeat every [`CACHE_PERIOD`] bytes.
fn longest_stretch(row_bytes: usize) -> usize {
    let most = (STRETCH / row_bytes).max(1);
    let closest = |rows: usize| {
        let apart = |lane: usize| {
            let offset = lane * rows * row_bytes % CACHE_PERIOD;
            offset.min(CACHE_PERIOD - offset)
        };
        (1..LANES).map(apart).min().unwrap_or(0)
    };
    let candidates = most.saturating_sub(LANES).max(1)..=most;
    candidates.max_by_key(|&rows| closest(rows)).unwrap_or(1)
}

/// Eight rows times `N` positions.
///
/// # Safety
/// `rows` points at the first of eight rows, `stride` bytes apart, as many blocks wide as each of
/// `x`.
#[inline(always)]
unsafe fn eight_rows<S: Simd, C: Codec, const N: usize>(
    s: S,
    rows: *const u8,
    stride: usize,
    x: &[(&[ActivationBlock], &[Factors]); N],
    ahead: &mut Ahead,
) -> [S::F32; N] {
    let mut sums = [s.splat(0.0); N];
    for b in 0..x[0].0.len() / C::BLOCKS {
        // SAFETY: the caller promises the rows, and that every `x` has as many blocks.
        unsafe {
            let block = rows.add(b * C::BYTES);
            let scales = C::scales(s, block, stride);
            macro_rules! add {
                ($sub:literal) => {
                    ahead.prefetch::<S, C>(s, $sub);
                    let weights = weights_of_rows::<S, C, $sub>(s, block, stride);
                    let scale = C::scale::<S, $sub>(s, &scales);
                    let minimum = C::minimum::<S, $sub>(s, &scales);
                    for n in 0..N {
                        let at = b * C::BLOCKS + $sub;
                        let values = x[n].0.get_unchecked(at);
                        let factors = x[n].1.get_unchecked(at);
                        sums[n] = add_block::<S, C>(s, &weights, scale, values, factors, sums[n]);
                        if C::HAS_MINIMUM && C::HALVES {
                            let [first, second] = factors.scaled_sums_of_halves();
                            sums[n] = s.fma(minimum[0], s.splat(first), sums[n]);
                            sums[n] = s.fma(minimum[1], s.splat(second), sums[n]);
                        } else if C::HAS_MINIMUM {
                            sums[n] = s.fma(minimum[0], s.splat(factors.scaled_sum), sums[n]);
                        }
                    }
                };
            }
            for_each_sub!(C::BLOCKS, add);
        }
        ahead.next_block::<C>();
    }
    sums
}

/// Where memory is fetched ahead of its use: with each storage block, eight blocks of one of the
/// eight streams, in turn.
struct Ahead {
    at: *const u8,
    stride: usize,
    lane: usize,
}

impl Ahead {
    #[inline(always)]
    fn new(streams: *const u8, stride: usize) -> Self {
        Self {
            at: streams.wrapping_add(PREFETCH_AHEAD),
            stride,
            lane: 0,
        }
    }

    /// Prefetches the share of sub-block `sub`.
    #[inline(always)]
    fn prefetch<S: Simd, C: Codec>(&self, s: S, sub: usize) {
        let lines = (LANES * C::BYTES).div_ceil(64);
        for line in lines * sub / C::BLOCKS..lines * (sub + 1) / C::BLOCKS {
            s.prefetch(self.at.wrapping_add(64 * line));
        }
    }

    #[inline(always)]
    fn next_block<C: Codec>(&mut self) {
        self.at = self.at.wrapping_add(self.stride);
        self.lane += 1;
        if self.lane == LANES {
            self.lane = 0;
            let back = LANES * self.stride;
            self.at = self.at.wrapping_sub(back).wrapping_add(LANES * C::BYTES);
        }
    }
}

/// `sum + d_w · d_x · (Σ q · x − offset · Σ x)`, whole or by halves.
#[inline(always)]
fn add_block<S: Simd, C: Codec>(
    s: S,
    weights: &[S::Bytes; LANES],
    scale: [S::F32; 2],
    x: &ActivationBlock,
    factors: &Factors,
    sum: S::F32,
) -> S::F32 {
    let without_offset = |dot, sum: i32| {
        if C::OFFSET == 0 {
            dot
        } else {
            s.sub_i32(dot, s.splat_i32(C::OFFSET * sum))
        }
    };
    let d = s.splat(factors.scale);
    let sums = &factors.sums;
    if C::HALVES {
        let dots = s.dot_row_halves(C::FORM, weights, x, sums);
        let first = s.to_f32(without_offset(dots[0], sums.halves[0].value));
        let second = s.to_f32(without_offset(dots[1], sums.halves[1].value));
        let sum = s.fma(s.mul(scale[0], d), first, sum);
        s.fma(s.mul(scale[1], d), second, sum)
    } else {
        let dot = s.dot_rows(C::FORM, weights, x, sums);
        let whole = without_offset(dot, sums.whole.value);
        s.fma(s.mul(scale[0], d), s.to_f32(whole), sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_of_short_rows_lie_apart_in_the_cache() {
        for row_bytes in [340, 360, 440, 680, 960] {
            let rows = longest_stretch(row_bytes);
            assert!(rows * row_bytes <= STRETCH);
            let offsets = (0..LANES).map(|lane| lane * rows * row_bytes % CACHE_PERIOD);
            let mut offsets: Vec<_> = offsets.collect();
            offsets.sort_unstable();
            assert!(
                offsets.windows(2).all(|w| w[1] - w[0] >= 256),
                "{offsets:?}"
            );
        }
        assert_eq!(longest_stretch(2 * STRETCH), 1);
    }
}
