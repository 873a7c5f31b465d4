//! Gated activation of the feed-forward part: `act(gate) · up`.

use super::isa::{Isa, Kernel, dispatch};
use super::math::{exp, tanh};
use super::simd::{LANES, Simd};

/// The activation of the gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// `x / (1 + exp(−x))`.
    Silu,
    /// `x / 2 · (1 + tanh(√(2/π) · (x + 0.044715 x³)))`.
    GeluTanh,
}

/// `gate = act(gate) · up`, elementwise.
///
/// # Panics
/// If the lengths differ.
pub(crate) fn gate(isa: Isa, activation: Activation, gate: &mut [f32], up: &[f32]) {
    assert_eq!(gate.len(), up.len());
    dispatch(
        isa,
        Gate {
            activation,
            gate,
            up,
        },
    );
}

struct Gate<'a> {
    activation: Activation,
    gate: &'a mut [f32],
    up: &'a [f32],
}

impl Kernel for Gate<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let whole = self.gate.len() / LANES * LANES;
        for i in (0..whole).step_by(LANES) {
            let at = self.gate[i..].as_mut_ptr();
            // SAFETY: eight values from `i` on are within the equally long slices.
            unsafe {
                let (g, u) = (s.load(at), s.load(self.up.as_ptr().add(i)));
                s.store(gated(s, self.activation, g, u), at);
            }
        }
        let rest = self.gate.len() - whole;
        if rest > 0 {
            let mut lanes = [[0.0; LANES]; 2];
            lanes[0][..rest].copy_from_slice(&self.gate[whole..]);
            lanes[1][..rest].copy_from_slice(&self.up[whole..]);
            let mut out = [0.0; LANES];
            // SAFETY: eight lanes each.
            unsafe {
                let (g, u) = (s.load(lanes[0].as_ptr()), s.load(lanes[1].as_ptr()));
                s.store(gated(s, self.activation, g, u), out.as_mut_ptr());
            }
            self.gate[whole..].copy_from_slice(&out[..rest]);
        }
    }
}

#[inline(always)]
fn gated<S: Simd>(s: S, activation: Activation, gate: S::F32, up: S::F32) -> S::F32 {
    let one = s.splat(1.0);
    let activated = match activation {
        Activation::Silu => {
            let e = exp(s, s.mul(gate, s.splat(-1.0)));
            s.div(gate, s.add(one, e))
        }
        Activation::GeluTanh => {
            const ROOT_2_OVER_PI: f32 = 0.797_884_6;
            let cube = s.mul(s.mul(gate, gate), gate);
            let inner = s.fma(cube, s.splat(0.044_715), gate);
            let t = tanh(s, s.mul(inner, s.splat(ROOT_2_OVER_PI)));
            s.mul(s.mul(gate, s.splat(0.5)), s.add(one, t))
        }
    };
    s.mul(activated, up)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_the_formulas_on_every_isa_and_length() {
        for len in [1, 7, 8, 9, 17, 64] {
            let g: Vec<f32> = (0..len).map(|i| (i as f32 - 20.0) * 0.3).collect();
            let u: Vec<f32> = (0..len).map(|i| 1.0 - i as f32 * 0.1).collect();
            for activation in [Activation::Silu, Activation::GeluTanh] {
                let mut expected = g.clone();
                gate(Isa::SCALAR, activation, &mut expected, &u);
                for isa in Isa::available() {
                    let mut out = g.clone();
                    gate(isa, activation, &mut out, &u);
                    assert_eq!(out, expected, "{isa}");
                }
                for i in 0..len {
                    let x = f64::from(g[i]);
                    let act = match activation {
                        Activation::Silu => x / (1.0 + (-x).exp()),
                        Activation::GeluTanh => {
                            let c = (2.0 / std::f64::consts::PI).sqrt();
                            0.5 * x * (1.0 + (c * (x + 0.044715 * x * x * x)).tanh())
                        }
                    };
                    let want = act * f64::from(u[i]);
                    assert!((f64::from(expected[i]) - want).abs() < 2e-5);
                }
            }
        }
    }
}
