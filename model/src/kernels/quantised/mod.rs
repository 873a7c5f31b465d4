//! The GEMV of quantised weights as the file stores them: blocks are read where they lie. Many
//! positions take the GEMM of [`packed`](super::packed), which packs a group at a time; so do rare
//! types ([`TensorType::has_own_products`]) for few positions.

mod gemv;

use super::activations::Activations;
use super::codec::{
    Codec, Iq4Nl, Iq4Xs, Mxfp4, Q2K, Q3K, Q4_0, Q4_1, Q4K, Q5_0, Q5_1, Q5K, Q6K, Q8_0,
};
use super::isa::{Kernel, dispatch};
use super::rows::WeightRows;
use super::simd::{LANES, Simd};
use super::{Isa, SharedSlice};
use crate::TensorType;

/// Positions that a pass takes. Code for more would take long to compile, and weights are soon
/// [packed](super::packed).
const AT_ONCE: usize = 2;

/// Computes the outputs of `rows`, from a multiple of eight on, for the few positions of `x`:
/// `y[position, row] = Σ w[row, k] · x[position, k]`.
///
/// # Safety
/// No other thread touches these rows of `y`, `[positions, w.rows()]`.
pub(crate) unsafe fn multiply(
    isa: Isa,
    w: WeightRows<'_>,
    x: &Activations,
    positions: usize,
    rows: std::ops::Range<usize>,
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
                    rows,
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
        TensorType::Q2_K => with!(Q2K),
        TensorType::Q3_K => with!(Q3K),
        TensorType::Q4_K => with!(Q4K),
        TensorType::Q5_K => with!(Q5K),
        TensorType::Q6_K => with!(Q6K),
        TensorType::IQ4_NL => with!(Iq4Nl),
        TensorType::IQ4_XS => with!(Iq4Xs),
        TensorType::MXFP4 => with!(Mxfp4),
        TensorType::F32 | TensorType::F16 | TensorType::BF16 => {
            unreachable!("float weights are multiplied by `float`")
        }
        TensorType::IQ3_S
        | TensorType::IQ3_XXS
        | TensorType::IQ2_S
        | TensorType::IQ2_XS
        | TensorType::IQ2_XXS
        | TensorType::TQ2_0
        | TensorType::TQ1_0 => unreachable!("these are packed first"),
    }
}

struct Multiply<'a, C> {
    w: WeightRows<'a>,
    x: &'a Activations,
    positions: usize,
    rows: std::ops::Range<usize>,
    y: SharedSlice<'a, f32>,
    codec: std::marker::PhantomData<C>,
}

impl<C: Codec> Kernel for Multiply<'_, C> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        debug_assert_eq!(self.x.blocks() * 32, self.w.columns());
        for first in (0..self.positions).step_by(AT_ONCE) {
            match self.positions - first {
                1 => self.gemv::<S, 1>(s, first),
                _ => self.gemv::<S, AT_ONCE>(s, first),
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
