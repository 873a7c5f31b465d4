//! Rotary position embedding (Su et al. 2021, arXiv:2104.09864): angles and rotation.

use super::isa::{Isa, Kernel, dispatch};
use super::simd::Simd;

/// How the two coordinates of a rotated pair lie in a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RopePairs {
    /// Coordinates `2i` and `2i + 1` (llama's GGUF files).
    Adjacent,
    /// Coordinates `i` and `i + d/2` (qwen and gemma).
    Halves,
}

/// One position's heads, `[heads, head_dim]`, of which the first `2 · cos.len()` coordinates each
/// are rotated in place: a pair `(a, b)` becomes `(a cos − b sin, a sin + b cos)`. Products and
/// differences are rounded one by one.
pub(crate) struct Rotate<'a> {
    pub(crate) pairs: RopePairs,
    pub(crate) heads: &'a mut [f32],
    pub(crate) head_dim: usize,
    pub(crate) cos: &'a [f32],
    pub(crate) sin: &'a [f32],
}

impl Rotate<'_> {
    /// # Panics
    /// If the lengths do not match.
    pub(crate) fn run(self, isa: Isa) {
        assert!(2 * self.cos.len() <= self.head_dim && self.cos.len() == self.sin.len());
        dispatch(isa, self);
    }
}

impl Kernel for Rotate<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _s: S) {
        for head in self.heads.chunks_exact_mut(self.head_dim) {
            let turned = &mut head[..2 * self.cos.len()];
            rotate(self.pairs, turned, self.cos, self.sin);
        }
    }
}

#[inline(always)]
fn rotate(pairs: RopePairs, head: &mut [f32], cos: &[f32], sin: &[f32]) {
    match pairs {
        RopePairs::Adjacent => {
            for ((pair, &c), &s) in head.chunks_exact_mut(2).zip(cos).zip(sin) {
                (pair[0], pair[1]) = (pair[0] * c - pair[1] * s, pair[0] * s + pair[1] * c);
            }
        }
        RopePairs::Halves => {
            let (first, second) = head.split_at_mut(cos.len());
            for (((a, b), &c), &s) in first.iter_mut().zip(second).zip(cos).zip(sin) {
                (*a, *b) = (*a * c - *b * s, *a * s + *b * c);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_turn_by_their_angle() {
        let expected = [
            (RopePairs::Adjacent, [-2.0, 1.0, 3.0, 4.0, 5.0]),
            (RopePairs::Halves, [-3.0, 2.0, 1.0, 4.0, 5.0]),
        ];
        for (pairs, turned) in expected {
            for isa in Isa::available() {
                let mut heads = [1.0, 2.0, 3.0, 4.0, 5.0].repeat(2);
                Rotate {
                    pairs,
                    heads: &mut heads,
                    head_dim: 5,
                    cos: &[0.0, 1.0],
                    sin: &[1.0, 0.0],
                }
                .run(isa);
                assert_eq!(heads, turned.repeat(2), "{isa}");
            }
        }
    }
}
