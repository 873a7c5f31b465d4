//! The exponential and hyperbolic tangent, the same bits on every instruction set: only correctly
//! rounded additions, multiplications, fused multiply-adds and divisions.

use super::simd::Simd;

/// Arguments of [`exp`] are clamped to these.
const EXP_LEAST: f32 = -87.3;
const EXP_MOST: f32 = 88.3;
/// ln 2 in two parts.
const LN_2_HIGH: f32 = 0.693_359_4;
const LN_2_LOW: f32 = -2.121_944_4e-4;
/// The coefficients of [`exp`]'s polynomial, of the highest power first.
const EXP_FIRST: f32 = 1.0 / 5040.0;
const EXP_OTHERS: [f32; 7] = [
    1.0 / 720.0,
    1.0 / 120.0,
    1.0 / 24.0,
    1.0 / 6.0,
    0.5,
    1.0,
    1.0,
];

/// `exp(x)`, within 2 units in the last place for −87.3 ≤ x ≤ 88.3, clamped outside (so never
/// infinite, and 0 only through later rounding).
///
/// `x = n · ln 2 + r` with `|r| ≤ ln 2 / 2`; `exp(r)` by its Taylor polynomial of degree 7, whose
/// remainder is below 2⁻²⁹; ln 2 in two parts (Cody and Waite) keeps `r` accurate.
#[inline(always)]
pub(crate) fn exp<S: Simd>(s: S, x: S::F32) -> S::F32 {
    let x = s.min(s.max(x, s.splat(EXP_LEAST)), s.splat(EXP_MOST));
    let n = s.round_to_i32(s.mul(x, s.splat(std::f32::consts::LOG2_E)));
    let whole = s.to_f32(n);
    let r = s.fma(whole, s.splat(-LN_2_HIGH), x);
    let r = s.fma(whole, s.splat(-LN_2_LOW), r);
    let mut p = s.splat(EXP_FIRST);
    for coefficient in EXP_OTHERS {
        p = s.fma(p, r, s.splat(coefficient));
    }
    let power = s.shl_i32::<23>(s.add_i32(n, s.splat_i32(127)));
    s.mul(p, s.f32_from_bits(power))
}

/// [`exp`] of sixteen lanes, the same bits.
#[inline(always)]
pub(crate) fn tile_exp<S: Simd>(s: S, x: S::TileF32) -> S::TileF32 {
    let x = s.tile_max(x, s.tile_splat(EXP_LEAST));
    let x = s.tile_min(x, s.tile_splat(EXP_MOST));
    let whole = s.tile_round(s.tile_mul(x, s.tile_splat(std::f32::consts::LOG2_E)));
    let r = s.tile_fma(whole, s.tile_splat(-LN_2_HIGH), x);
    let r = s.tile_fma(whole, s.tile_splat(-LN_2_LOW), r);
    let mut p = s.tile_splat(EXP_FIRST);
    for coefficient in EXP_OTHERS {
        p = s.tile_fma(p, r, s.tile_splat(coefficient));
    }
    s.tile_scale(p, whole)
}

/// `tanh(x) = 1 − 2 / (exp(2x) + 1)`; exact enough for activations (absolute error below 2⁻²²),
/// and ±1 for large arguments.
#[inline(always)]
pub(crate) fn tanh<S: Simd>(s: S, x: S::F32) -> S::F32 {
    let one = s.splat(1.0);
    let e = exp(s, s.add(x, x));
    s.sub(one, s.div(s.splat(2.0), s.add(e, one)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::isa::{Isa, Kernel, dispatch};

    struct Both([f32; 8]);

    impl Kernel for Both {
        type Output = [[f32; 8]; 3];

        #[inline(always)]
        fn run<S: Simd>(self, s: S) -> Self::Output {
            let mut out = [[0.0; 8]; 3];
            // SAFETY: eight values each.
            unsafe {
                let x = s.load(self.0.as_ptr());
                s.store(exp(s, x), out[0].as_mut_ptr());
                s.store(tanh(s, x), out[1].as_mut_ptr());
                let [_, sixteen] = s.tile_halves(tile_exp(s, s.tile_of([s.splat(0.0), x])));
                s.store(sixteen, out[2].as_mut_ptr());
            }
            out
        }
    }

    #[test]
    fn close_to_the_true_functions_and_equal_on_every_isa() {
        for i in -880..880 {
            let x: [f32; 8] = std::array::from_fn(|l| i as f32 * 0.1 + l as f32 * 0.013);
            let expected = dispatch(Isa::SCALAR, Both(x));
            assert_eq!(expected[2], expected[0], "sixteen lanes and eight");
            for isa in Isa::available() {
                let got = dispatch(isa, Both(x));
                assert_eq!(
                    got.map(|a| a.map(f32::to_bits)),
                    expected.map(|a| a.map(f32::to_bits))
                );
            }
            for (l, &x) in x.iter().enumerate() {
                let x = f64::from(x);
                if (-87.0..88.0).contains(&x) {
                    let error = f64::from(expected[0][l]) / x.exp() - 1.0;
                    assert!(error.abs() < 2.5e-7, "exp({x}): {error}");
                }
                let error = f64::from(expected[1][l]) - x.tanh();
                assert!(error.abs() < 2.5e-7, "tanh({x}): {error}");
            }
        }
    }
}
