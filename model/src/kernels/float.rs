//! Products of float weights (F32, F16, BF16) and `f32` activations, in sixteen fixed lanes.

use super::SharedSlice;
use super::isa::{Isa, Kernel, dispatch};
use super::rows::WeightRows;
use super::simd::{LANES, Simd};
use crate::TensorType;

/// Elements folded at a time.
const STEP: usize = 2 * LANES;

/// Computes `y[position, row] = Σ w[row, k] · x[position, k]` for the rows `rows`.
///
/// # Safety
/// No other thread touches these rows of `y`, `[positions, w.rows()]`.
pub(crate) unsafe fn multiply(
    isa: Isa,
    w: WeightRows<'_>,
    x: &[f32],
    rows: std::ops::Range<usize>,
    y: SharedSlice<'_, f32>,
) {
    let stride = w.rows();
    for row in rows {
        let weights = w.row(row);
        for (position, x) in x.chunks_exact(w.columns()).enumerate() {
            let tensor_type = w.tensor_type();
            let dot = dispatch(
                isa,
                Dot {
                    tensor_type,
                    weights,
                    x,
                },
            );
            let at = position * stride + row;
            // SAFETY: the caller gave us these rows.
            unsafe { set(y, at, dot) };
        }
    }
}

/// # Safety
/// No other thread touches element `at`.
unsafe fn set(y: SharedSlice<'_, f32>, at: usize, value: f32) {
    // SAFETY: the caller's promise is this function's.
    unsafe { y.part(at..at + 1)[0] = value };
}

struct Dot<'a> {
    tensor_type: TensorType,
    weights: &'a [u8],
    x: &'a [f32],
}

impl Kernel for Dot<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f32 {
        match self.tensor_type {
            TensorType::F32 => self.dot::<S, f32>(s, |s, w| {
                // SAFETY: `dot` gives eight values.
                unsafe { s.load(w) }
            }),
            TensorType::F16 => self.dot::<S, u16>(s, |s, w| {
                // SAFETY: as above.
                unsafe { s.load_f16(w) }
            }),
            TensorType::BF16 => self.dot::<S, u16>(s, |s, w| {
                // SAFETY: as above.
                unsafe { s.load_bf16(w) }
            }),
            _ => unreachable!("quantised weights are multiplied by `quantised`"),
        }
    }
}

impl Dot<'_> {
    #[inline(always)]
    fn dot<S: Simd, W: Copy + Default>(&self, s: S, load: impl Fn(S, *const W) -> S::F32) -> f32 {
        assert_eq!(self.weights.len(), self.x.len() * size_of::<W>());
        let w: *const W = self.weights.as_ptr().cast();
        let mut lanes = [s.splat(0.0); 2];
        let whole = self.x.len() / STEP * STEP;
        for i in (0..whole).step_by(STEP) {
            let (w, x) = (w.wrapping_add(i), self.x[i..i + STEP].as_ptr());
            // SAFETY: sixteen values of both; loads need no alignment.
            unsafe {
                lanes[0] = s.fma(load(s, w), s.load(x), lanes[0]);
                lanes[1] = s.fma(load(s, w.add(LANES)), s.load(x.add(LANES)), lanes[1]);
            }
        }
        let rest = self.x.len() - whole;
        if rest > 0 {
            let (mut last_w, mut last_x) = ([W::default(); STEP], [0.0; STEP]);
            last_x[..rest].copy_from_slice(&self.x[whole..]);
            for (i, last) in last_w.iter_mut().enumerate().take(rest) {
                // SAFETY: within the row.
                *last = unsafe { w.add(whole + i).read_unaligned() };
            }
            let (w, x) = (last_w.as_ptr(), last_x.as_ptr());
            // SAFETY: sixteen values of both.
            unsafe {
                lanes[0] = s.fma(load(s, w), s.load(x), lanes[0]);
                lanes[1] = s.fma(load(s, w.add(LANES)), s.load(x.add(LANES)), lanes[1]);
            }
        }
        fold(s, lanes)
    }
}

/// Sums sixteen lanes by the fixed tree.
#[inline(always)]
pub(crate) fn fold<S: Simd>(s: S, lanes: [S::F32; 2]) -> f32 {
    let mut v = [0.0_f32; LANES];
    // SAFETY: eight lanes.
    unsafe { s.store(s.add(lanes[0], lanes[1]), v.as_mut_ptr()) };
    let quads = [v[0] + v[4], v[1] + v[5], v[2] + v[6], v[3] + v[7]];
    (quads[0] + quads[2]) + (quads[1] + quads[3])
}
