//! Rotary position embedding (Su et al. 2021, arXiv:2104.09864): angles and rotation.

/// How the two coordinates of a rotated pair lie in a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RopePairs {
    /// Coordinates `2i` and `2i + 1` (llama's GGUF files).
    Adjacent,
    /// Coordinates `i` and `i + d/2` (qwen and gemma).
    Halves,
}

/// Rotates one head of `2 · cos.len()` coordinates in place: each pair `(a, b)` becomes
/// `(a cos − b sin, a sin + b cos)`. Products and differences are rounded one by one.
///
/// # Panics
/// If the lengths do not match.
pub(crate) fn rotate(pairs: RopePairs, head: &mut [f32], cos: &[f32], sin: &[f32]) {
    assert!(head.len() == 2 * cos.len() && cos.len() == sin.len());
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
        let (cos, sin) = ([0.0, 1.0], [1.0, 0.0]);
        let mut head = [1.0, 2.0, 3.0, 4.0];
        rotate(RopePairs::Adjacent, &mut head, &cos, &sin);
        assert_eq!(head, [-2.0, 1.0, 3.0, 4.0]);
        let mut head = [1.0, 2.0, 3.0, 4.0];
        rotate(RopePairs::Halves, &mut head, &cos, &sin);
        assert_eq!(head, [-3.0, 2.0, 1.0, 4.0]);
    }
}
