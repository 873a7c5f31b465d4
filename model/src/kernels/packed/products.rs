//! The products of a sub-block, the same for all formats that add the same terms.

use std::marker::PhantomData;

use super::super::activations::Factors;
use super::super::packed_format::{Format, SubBlock, Terms};
use super::super::simd::{Part, WORDS, Words};

/// `N` activation blocks.
pub(super) trait Blocks<S: Words, const N: usize> {
    /// Their dot products with a sub-block's weights.
    ///
    /// # Safety
    /// The blocks are readable.
    unsafe fn dot(&self, s: S, part: Part, weights: &[S::Operand; WORDS]) -> [S::Ints; N];
}

/// Blocks anywhere.
pub(super) struct Apart<const N: usize>(pub(super) [*const i32; N]);

impl<S: Words, const N: usize> Blocks<S, N> for Apart<N> {
    #[inline(always)]
    unsafe fn dot(&self, s: S, part: Part, weights: &[S::Operand; WORDS]) -> [S::Ints; N] {
        // SAFETY: the caller's promise.
        unsafe { s.dot::<N, 1>(part, weights, &self.0) }
    }
}

/// The blocks of a tile, whose words lie side by side from here on; `N` is [`Words::TILE`].
pub(super) struct Tile(pub(super) *const i32);

impl<S: Words, const N: usize> Blocks<S, N> for Tile {
    #[inline(always)]
    unsafe fn dot(&self, s: S, part: Part, weights: &[S::Operand; WORDS]) -> [S::Ints; N] {
        // SAFETY: the caller's promise.
        unsafe { s.dot_tile(part, weights, self.0) }
    }
}

/// Adds sub-blocks' products to sums.
#[derive(Clone, Copy)]
pub(super) struct Products<S: Words, T> {
    /// Subtracted from every weight, unless there is a minimum.
    offset: S::Ints,
    terms: PhantomData<T>,
}

impl<S: Words, T: Terms> Products<S, T> {
    /// Those of a format.
    #[inline(always)]
    pub(super) fn of<F: Format<Terms = T>>(s: S) -> Self {
        Self {
            offset: s.offset(F::offset::<S>()),
            terms: PhantomData,
        }
    }

    /// Adds a sub-block's products with `N` activation blocks: see [`Terms`].
    ///
    /// # Safety
    /// The blocks are readable.
    #[inline(always)]
    pub(super) unsafe fn add<const N: usize>(
        &self,
        s: S,
        sub_block: &SubBlock<S>,
        x: impl Blocks<S, N>,
        factors: &[&Factors; N],
        sums: &mut [S::Floats; N],
    ) {
        let SubBlock { weights, scales } = sub_block;
        // SAFETY: the caller's promise is that of `dot`.
        unsafe {
            if T::HALVES {
                for (half, part) in [Part::First, Part::Second].into_iter().enumerate() {
                    let dots = x.dot(s, part, weights);
                    for n in 0..N {
                        let sum = &factors[n].sums.halves[half];
                        let dot = s.ints_minus(dots[n], self.offset, sum);
                        let d = s.floats_mul(scales.d[half], s.floats(factors[n].scale));
                        sums[n] = s.floats_fma(d, s.floats_from(dot), sums[n]);
                    }
                }
                return;
            }
            let dots = x.dot(s, Part::Whole, weights);
            for n in 0..N {
                let mut dot = dots[n];
                if !T::MINIMUM {
                    dot = s.ints_minus(dot, self.offset, &factors[n].sums.whole);
                }
                let d = s.floats_mul(scales.d[0], s.floats(factors[n].scale));
                sums[n] = s.floats_fma(d, s.floats_from(dot), sums[n]);
                if T::MINIMUM {
                    let sum = s.floats(factors[n].scaled_sum);
                    sums[n] = s.floats_fma(scales.m, sum, sums[n]);
                }
            }
        }
    }
}
