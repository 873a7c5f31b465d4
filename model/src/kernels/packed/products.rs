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
        // SAFETY: the caller's promise.
        unsafe {
            if T::HALVES {
                self.add_part(s, Part::First, sub_block, &x, factors, sums);
                self.add_part(s, Part::Second, sub_block, &x, factors, sums);
            } else {
                self.add_part(s, Part::Whole, sub_block, &x, factors, sums);
            }
        }
        if T::MINIMUM {
            let [first, second] = sub_block.scales.m;
            for n in 0..N {
                if T::HALVES {
                    let [of_first, of_second] = factors[n].scaled_sums_of_halves();
                    sums[n] = s.floats_fma(first, s.floats(of_first), sums[n]);
                    sums[n] = s.floats_fma(second, s.floats(of_second), sums[n]);
                } else {
                    sums[n] = s.floats_fma(first, s.floats(factors[n].scaled_sum), sums[n]);
                }
            }
        }
    }

    /// Adds `d_w · d_x · (Σ q · x − offset · Σ x)` of a part of a sub-block.
    ///
    /// # Safety
    /// The blocks are readable.
    #[inline(always)]
    unsafe fn add_part<const N: usize>(
        &self,
        s: S,
        part: Part,
        sub_block: &SubBlock<S>,
        x: &impl Blocks<S, N>,
        factors: &[&Factors; N],
        sums: &mut [S::Floats; N],
    ) {
        // SAFETY: the caller's promise.
        let dots = unsafe { x.dot(s, part, &sub_block.weights) };
        let [first, second] = sub_block.scales.d;
        for n in 0..N {
            let of_block = &factors[n].sums;
            let (scale, sum) = match part {
                Part::Whole => (first, &of_block.whole),
                Part::First => (first, &of_block.halves[0]),
                Part::Second => (second, &of_block.halves[1]),
            };
            let mut dot = dots[n];
            if !T::MINIMUM {
                dot = s.ints_minus(dot, self.offset, sum);
            }
            let d = s.floats_mul(scale, s.floats(factors[n].scale));
            sums[n] = s.floats_fma(d, s.floats_from(dot), sums[n]);
        }
    }
}
