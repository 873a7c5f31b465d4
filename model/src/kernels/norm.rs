//! Root-mean-square norm (Zhang and Sennrich 2019, arXiv:1910.07467).

use super::float::fold;
use super::isa::{Isa, Kernel, dispatch};
use super::simd::{LANES, Simd};

/// `y = x / sqrt(mean(x²) + eps) · gamma` over one row.
///
/// # Panics
/// If the lengths differ.
pub(crate) fn rms_norm(isa: Isa, x: &[f32], gamma: &[f32], eps: f32, y: &mut [f32]) {
    assert!(x.len() == gamma.len() && x.len() == y.len());
    dispatch(isa, RmsNorm { x, gamma, eps, y });
}

/// `x += residual` over one row, and its [`rms_norm`].
///
/// # Panics
/// If the lengths differ.
pub(crate) fn add_rms_norm(
    isa: Isa,
    x: &mut [f32],
    residual: &[f32],
    gamma: &[f32],
    eps: f32,
    y: &mut [f32],
) {
    assert_eq!(x.len(), residual.len());
    dispatch(isa, Add { x, residual });
    rms_norm(isa, x, gamma, eps, y);
}

struct Add<'a> {
    x: &'a mut [f32],
    residual: &'a [f32],
}

impl Kernel for Add<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _s: S) {
        for (x, &residual) in self.x.iter_mut().zip(self.residual) {
            *x += residual;
        }
    }
}

struct RmsNorm<'a> {
    x: &'a [f32],
    gamma: &'a [f32],
    eps: f32,
    y: &'a mut [f32],
}

impl Kernel for RmsNorm<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let mean = sum_of_squares(s, self.x) / self.x.len() as f32;
        let factor = 1.0 / (mean + self.eps).sqrt();
        for ((y, &x), &gamma) in self.y.iter_mut().zip(self.x).zip(self.gamma) {
            *y = x * factor * gamma;
        }
    }
}

#[inline(always)]
fn sum_of_squares<S: Simd>(s: S, x: &[f32]) -> f32 {
    let mut lanes = [s.splat(0.0); 2];
    let whole = x.len() / (2 * LANES) * (2 * LANES);
    let mut add = |from: *const f32| {
        // SAFETY: both callers give sixteen values.
        unsafe {
            let (a, b) = (s.load(from), s.load(from.add(LANES)));
            lanes[0] = s.fma(a, a, lanes[0]);
            lanes[1] = s.fma(b, b, lanes[1]);
        }
    };
    for i in (0..whole).step_by(2 * LANES) {
        add(x[i..i + 2 * LANES].as_ptr());
    }
    if whole < x.len() {
        let mut rest = [0.0; 2 * LANES];
        rest[..x.len() - whole].copy_from_slice(&x[whole..]);
        add(rest.as_ptr());
    }
    fold(s, lanes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_the_formula_and_every_isa_agrees() {
        for len in [1, 15, 16, 17, 64, 576] {
            let x: Vec<f32> = (0..len)
                .map(|i| ((i * 7919) % 101) as f32 * 0.02 - 1.0)
                .collect();
            let gamma: Vec<f32> = (0..len).map(|i| 0.5 + i as f32 / len as f32).collect();
            let mut expected = vec![0.0; len];
            rms_norm(Isa::SCALAR, &x, &gamma, 1e-5, &mut expected);
            let mean = x.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / len as f64;
            for i in 0..len {
                let want = f64::from(x[i]) / (mean + 1e-5).sqrt() * f64::from(gamma[i]);
                assert!((f64::from(expected[i]) - want).abs() < 1e-5);
            }
            for isa in Isa::available() {
                let mut y = vec![0.0; len];
                rms_norm(isa, &x, &gamma, 1e-5, &mut y);
                assert_eq!(y, expected, "{isa} {len}");
            }
        }
    }
}
