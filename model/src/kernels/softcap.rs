//! Keeps numbers within bounds, smoothly: `y = cap · tanh(x / cap)`.

use super::isa::{Isa, Kernel, dispatch};
use super::math::tanh;
use super::simd::{LANES, Simd};

/// `x = cap · tanh(x · (1 / cap))` in place, each operation rounded; NaN where `x` is not finite.
pub(crate) fn softcap(isa: Isa, cap: f32, values: &mut [f32]) {
    dispatch(isa, Softcap { cap, values });
}

struct Softcap<'a> {
    cap: f32,
    values: &'a mut [f32],
}

impl Kernel for Softcap<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (cap, inverse) = (s.splat(self.cap), s.splat(1.0 / self.cap));
        // `x − x` is 0, or NaN where `x` is no number, which `tanh` would hide.
        let capped = |x| {
            let y = s.mul(tanh(s, s.mul(x, inverse)), cap);
            s.add(y, s.sub(x, x))
        };
        let mut vectors = self.values.chunks_exact_mut(LANES);
        for vector in &mut vectors {
            // SAFETY: eight values.
            unsafe { s.store(capped(s.load(vector.as_ptr())), vector.as_mut_ptr()) };
        }
        let rest = vectors.into_remainder();
        let mut lanes = [0.0; LANES];
        lanes[..rest.len()].copy_from_slice(rest);
        // SAFETY: eight lanes.
        unsafe { s.store(capped(s.load(lanes.as_ptr())), lanes.as_mut_ptr()) };
        rest.copy_from_slice(&lanes[..rest.len()]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_the_formula_on_every_isa_and_length() {
        for len in [0, 1, 7, 8, 9, 17] {
            let x: Vec<f32> = (0..len).map(|i| (i as f32 - 6.0) * 11.0).collect();
            let mut expected = x.clone();
            softcap(Isa::SCALAR, 30.0, &mut expected);
            for isa in Isa::available() {
                let mut found = x.clone();
                softcap(isa, 30.0, &mut found);
                assert_eq!(found, expected, "{isa}");
            }
            let mut none = vec![f32::NAN; len];
            softcap(Isa::SCALAR, 30.0, &mut none);
            assert!(none.iter().all(|x| x.is_nan()));
            for (x, found) in x.into_iter().zip(expected) {
                let want = 30.0 * (f64::from(x) / 30.0).tanh();
                assert!((f64::from(found) - want).abs() < 3e-5, "{x}: {found}");
            }
        }
    }
}
