//! Packed weights: the layout that products read fastest, and the products.
//!
//! A packed matrix holds the weights of a stored one, rearranged: sixteen rows are a group, and a
//! vector holds four weights of each row of a group, or its scale. A row's sums stay in its lane,
//! so that nothing is added across lanes, and scales need no gathering. The layout is the same for
//! every instruction set; where vectors are narrower, two have a group, or each has a half of it in turn.
//!
//! | part | bytes |
//! |---|---|
//! | group: its storage blocks, one after the other | |
//! | storage block: head, then one or eight sub-blocks of 32 weights a row | |
//! | sub-block: scales, then planes | |
//! | plane of nibbles, 4 · 64 bytes | byte `4 · row + i` of vector `v`: weight `4 v + i`, and `4 v + i + 16` in the high half |
//! | plane of fifth bits, 64 bytes | bit `v` of byte `4 · row + i`: the fifth bit of weight `4 v + i` |
//! | plane of fifth and sixth bits, 2 · 64 bytes | the same with bits `2 v` and `2 v + 1`, for `v` below 4, then from 4 on |
//! | plane of twos, 2 · 64 bytes | bits `2 v` and `2 v + 1` of byte `4 · row + i`: weight `4 v + i`, for `v` below 4, then from 4 on |
//! | plane of third bits, 64 bytes | as that of fifth bits |
//! | plane of bytes, 8 · 64 bytes | byte `4 · row + i` of vector `v`: weight `4 v + i` |
//!
//! Scales are those of the file: sixteen `f16` are the rows' `d`, then, for types with a minimum,
//! their `m`. Types with 256 weights a block have these in the head, and a byte each in the
//! sub-block: scales, then minimums (Q4_K, Q5_K), or the scales of the two halves (Q6_K, Q3_K, and in
//! Q2_K a nibble of scale and one of minimum). MXFP4's scale is a byte of exponent. Rows that fill up
//! the last group are zeros.
//!
//! Weights of IQ4_NL, IQ4_XS and MXFP4 are numbers of a table of sixteen values, in a plane of
//! nibbles. So are, when packed, those of the IQ3, IQ2 and TQ types: their weights have at most sixteen
//! values, which the head of a storage block tells after `d`, with the unit of scales as an `f32`.
//! Products are the same for all of these. They have no kernels that read the file's layout: stored,
//! each group is packed before it is multiplied.
//!
//! Products follow the canonical arithmetic (see [`kernels`](super)), and so have the bits of those
//! that read the file's layout.

mod gemm;
mod gemv;
mod pack;
mod products;

use std::ops::Range;

use super::activations::Activations;
use super::grids;
use super::isa::{Kernel, dispatch};
use super::packed_format::{
    Coded, Format, GROUP, Iq4Nl, Iq4Xs, Mxfp4, Q2K, Q3K, Q4_0, Q4_1, Q4K, Q5_0, Q5_1, Q5K, Q6K,
    Q8_0, of_packed_type,
};
use super::rows::WeightRows;
use super::simd::{Simd, Words};
use super::{Isa, SharedSlice};
use crate::TensorType;
pub(crate) use pack::pack;

/// How far ahead packed weights are fetched from memory, in bytes.
const PREFETCH_AHEAD: usize = 1920;
/// Bytes of a cache line.
const LINE: usize = 64;

/// Fetches what lies [`PREFETCH_AHEAD`] of the `bytes` from `from` on.
#[inline(always)]
fn prefetch<S: Simd>(s: S, from: *const u8, bytes: usize) {
    for line in (0..bytes).step_by(LINE) {
        s.prefetch(from.wrapping_add(PREFETCH_AHEAD + line));
    }
}

/// Computes the outputs of the row groups `groups` (of sixteen rows) of quantised weights for the
/// tiles `tiles` of the positions of `x`, or for all where a tile is one position:
/// `y[position, row] = Σ w[row, k] · x[position, k]`.
///
/// # Safety
/// No other thread touches these rows of `y`, `[positions, w.rows()]`, for these positions.
pub(crate) unsafe fn multiply(
    isa: Isa,
    w: WeightRows<'_>,
    x: &Activations,
    positions: usize,
    tiles: Range<usize>,
    groups: Range<usize>,
    y: SharedSlice<'_, f32>,
) {
    macro_rules! with {
        ($format:ty) => {
            dispatch(
                isa,
                Multiply::<$format> {
                    w,
                    x,
                    positions,
                    tiles,
                    groups,
                    y,
                    format: std::marker::PhantomData,
                },
            )
        };
    }
    of_packed_type!(w.tensor_type(), with)
}

struct Multiply<'a, F> {
    w: WeightRows<'a>,
    x: &'a Activations,
    positions: usize,
    /// Of the GEMM.
    tiles: Range<usize>,
    groups: Range<usize>,
    y: SharedSlice<'a, f32>,
    format: std::marker::PhantomData<F>,
}

impl<F: Format> Kernel for Multiply<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        debug_assert_eq!(self.x.blocks() * 32, self.w.columns());
        if self.x.tile_positions() == 1 {
            self.gemv(s);
        } else {
            self.gemm(s);
        }
    }
}

impl<F: Format> Multiply<'_, F> {
    fn output(&self) -> Output<'_> {
        Output {
            y: self.y,
            positions: self.positions,
            rows: self.w.rows(),
        }
    }
}

/// Where sums go: `[positions, rows]`.
#[derive(Clone, Copy)]
struct Output<'a> {
    y: SharedSlice<'a, f32>,
    positions: usize,
    rows: usize,
}

impl Output<'_> {
    /// Stores the sums of the rows from `row` on that exist.
    #[inline(always)]
    fn store<S: Words>(&self, s: S, position: usize, row: usize, sums: S::Floats) {
        if row >= self.rows {
            return;
        }
        let count = S::ROWS.min(self.rows - row);
        let start = position * self.rows + row;
        // SAFETY: the caller of `multiply` gave us these rows.
        let out = unsafe { self.y.part(start..start + count) };
        if count == S::ROWS {
            // SAFETY: as many values as a vector has.
            return unsafe { s.floats_store(sums, out.as_mut_ptr()) };
        }
        let mut lanes = [0.0; GROUP];
        // SAFETY: a vector has at most so many.
        unsafe { s.floats_store(sums, lanes.as_mut_ptr()) };
        out.copy_from_slice(&lanes[..count]);
    }
}
