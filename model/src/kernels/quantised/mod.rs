//! Products of quantised weights and quantised activations: the GEMV that reads blocks where they
//! lie, and the tiled GEMM that unpacks each weight once for many positions.
//!
//! Both follow the canonical order (see [`kernels`](super)): one `f32` accumulator an output,
//! ascending blocks.

mod gemm;
mod gemv;

use super::activations::Activations;
use super::codec::{Codec, Q4_0, Q4_1, Q4K, Q5_0, Q5_1, Q5K, Q6K, Q8_0};
use super::isa::{Kernel, dispatch};
use super::rows::WeightRows;
use super::simd::{BlockOrder, LANES, Simd};
use super::{Isa, SharedSlice};
use crate::TensorType;

/// Positions up to which the GEMV is used, a few at a time: for fewer than some twenty, unpacking
/// into panels costs more than it saves.
pub(crate) const GEMV_POSITIONS: usize = 16;
/// Positions that a pass of the GEMV takes.
const GEMV_AT_ONCE: usize = 4;

/// Which layout of activations `positions` need.
pub(crate) fn order_for(positions: usize) -> BlockOrder {
    if positions <= GEMV_POSITIONS {
        BlockOrder::Gemv
    } else {
        BlockOrder::Gemm
    }
}

/// Computes the outputs of the row groups `groups` (of eight rows; for the GEMM an even start) for
/// all positions of `x`: `y[position, row] = Σ w[row, k] · x[position, k]`.
///
/// # Safety
/// No other thread touches these rows of `y`, `[positions, w.rows()]`.
pub(crate) unsafe fn multiply(
    isa: Isa,
    w: WeightRows<'_>,
    x: &Activations,
    positions: usize,
    groups: std::ops::Range<usize>,
    y: SharedSlice<'_, f32>,
) {
    macro_rules! with {
        ($codec:ty) => {
            dispatch(
                isa,
                Multiply::<$codec> {
                    w,
                    x,
                    positions,
                    groups,
                    y,
                    codec: std::marker::PhantomData,
                },
            )
        };
    }
    match w.tensor_type() {
        TensorType::Q4_0 => with!(Q4_0),
        TensorType::Q4_1 => with!(Q4_1),
        TensorType::Q5_0 => with!(Q5_0),
        TensorType::Q5_1 => with!(Q5_1),
        TensorType::Q8_0 => with!(Q8_0),
        TensorType::Q4_K => with!(Q4K),
        TensorType::Q5_K => with!(Q5K),
        TensorType::Q6_K => with!(Q6K),
        TensorType::F32 | TensorType::F16 | TensorType::BF16 => {
            unreachable!("float weights are multiplied by `float`")
        }
    }
}

struct Multiply<'a, C> {
    w: WeightRows<'a>,
    x: &'a Activations,
    positions: usize,
    groups: std::ops::Range<usize>,
    y: SharedSlice<'a, f32>,
    codec: std::marker::PhantomData<C>,
}

impl<C: Codec> Kernel for Multiply<'_, C> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        debug_assert_eq!(self.x.order(), order_for(self.positions));
        debug_assert_eq!(self.x.blocks() * 32, self.w.columns());
        if self.positions > GEMV_POSITIONS {
            return self.gemm(s);
        }
        for first in (0..self.positions).step_by(GEMV_AT_ONCE) {
            match self.positions - first {
                1 => self.gemv::<S, 1>(s, first),
                2 => self.gemv::<S, 2>(s, first),
                3 => self.gemv::<S, 3>(s, first),
                _ => self.gemv::<S, GEMV_AT_ONCE>(s, first),
            }
        }
    }
}

/// Calls `$block!(SUB)` for each sub-block of a storage block, `SUB` a constant.
macro_rules! for_each_sub {
    ($blocks:expr, $block:ident) => {
        $block!(0);
        if $blocks == 8 {
            $block!(1);
            $block!(2);
            $block!(3);
            $block!(4);
            $block!(5);
            $block!(6);
            $block!(7);
        }
    };
}
use for_each_sub;

/// The weights of sub-block `SUB` of eight rows.
///
/// # Safety
/// `block` points at a storage block of the first of eight rows, `row_bytes` apart.
#[inline(always)]
unsafe fn weights_of_rows<S: Simd, C: Codec, const SUB: usize>(
    s: S,
    block: *const u8,
    row_bytes: usize,
) -> [S::Bytes; LANES] {
    let mut rows = [s.zero_bytes(); LANES];
    for (r, row) in rows.iter_mut().enumerate().take(LANES / S::ROWS_PER_BYTES) {
        // SAFETY: the caller promises eight rows.
        *row = unsafe {
            let pair_stride = LANES / S::ROWS_PER_BYTES * row_bytes;
            C::weights::<S, SUB>(s, block.add(r * row_bytes), pair_stride)
        };
    }
    rows
}
