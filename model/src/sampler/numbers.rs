//! Passes over a vocabulary's logits that compilers can vectorise, with the same result on every
//! processor: only correctly rounded operations, and sums in a fixed order.

const LANES: usize = 8;

/// The greatest logit, or `None` if one is NaN or +∞. Returns −∞ if there are no logits.
pub(super) fn greatest(logits: &[f32]) -> Option<f32> {
    let mut best = [f32::NEG_INFINITY; LANES];
    let mut usable = [true; LANES];
    let mut visit = |block: &[f32]| {
        for ((best, usable), &logit) in best.iter_mut().zip(&mut usable).zip(block) {
            *best = if logit > *best { logit } else { *best };
            *usable &= logit < f32::INFINITY;
        }
    };
    let (blocks, rest) = logits.as_chunks::<LANES>();
    for block in blocks {
        visit(block);
    }
    visit(rest);
    let best = best.into_iter().fold(f32::NEG_INFINITY, f32::max);
    usable.into_iter().all(|usable| usable).then_some(best)
}

/// `Σ exp(logit − best)`, where no logit exceeds `best`.
///
/// Computes eight partial sums, each of every eighth logit, and adds them in order.
pub(super) fn exp_sum(logits: &[f32], best: f32) -> f64 {
    // Long enough that the compiler vectorises the loop over a block.
    const BLOCK: usize = 8 * LANES;
    let mut sums = [0.0_f64; LANES];
    for block in logits.chunks(BLOCK) {
        let mut terms = [0.0_f32; BLOCK];
        for (term, &logit) in terms.iter_mut().zip(block) {
            *term = exp(logit - best);
        }
        for terms in terms.as_chunks::<LANES>().0 {
            for (sum, &term) in sums.iter_mut().zip(terms) {
                *sum += f64::from(term);
            }
        }
    }
    sums.into_iter().sum()
}

/// `exp(x)` for `x ≤ 0`, within 3·10⁻⁷ of its value; 0 below −87.
///
/// `x = n · ln 2 + r` with `|r| ≤ ln 2 / 2`; `exp(r)` by its Taylor polynomial of degree 7, whose
/// remainder is below 2⁻²⁷; ln 2 in two parts (Cody and Waite) keeps `r` accurate.
pub(super) fn exp(x: f32) -> f32 {
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    // Adding 1.5 · 2²³ leaves the nearest integer in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let within = x.max(-87.0);
    let shifted = within * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = within - n * LN_2_HIGH - n * LN_2_LOW;
    let mut p = 1.0 / 5040.0;
    for coefficient in [
        1.0 / 720.0,
        1.0 / 120.0,
        1.0 / 24.0,
        1.0 / 6.0,
        0.5,
        1.0,
        1.0,
    ] {
        p = p * r + coefficient;
    }
    // −126 ≤ n ≤ 0
    let power = f32::from_bits(
        shifted
            .to_bits()
            .wrapping_sub(ROUND.to_bits())
            .wrapping_add(127)
            << 23,
    );
    // Branch-free, so that the compiler can vectorise it.
    let kept = u32::from(x > -87.0).wrapping_neg();
    f32::from_bits((p * power).to_bits() & kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exponential_is_close_to_the_true_one() {
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(-0.0), 1.0);
        assert_eq!(exp(-87.0), 0.0);
        assert_eq!(exp(-1e30), 0.0);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(-1e-40), 1.0);
        for step in 0..870_000 {
            let x = -(step as f32) * 1e-4;
            let error = f64::from(exp(x)) / libm::exp(x.into()) - 1.0;
            assert!(error.abs() < 3e-7, "exp({x}): {error}");
        }
    }

    #[test]
    fn the_greatest_is_found_and_what_is_no_number_too() {
        for len in [0, 1, 15, 16, 17, 40] {
            let mut logits: Vec<f32> = (0..len).map(|i| (i as f32 * 7.0) % 11.0 - 20.0).collect();
            let expected = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            assert_eq!(greatest(&logits), Some(expected));
            for at in 0..len {
                for bad in [f32::NAN, f32::INFINITY] {
                    let before = std::mem::replace(&mut logits[at], bad);
                    assert_eq!(greatest(&logits), None);
                    logits[at] = before;
                }
            }
        }
    }

    #[test]
    fn sums_are_those_of_the_terms() {
        for len in [0, 1, 15, 16, 17, 100] {
            let logits: Vec<f32> = (0..len).map(|i| -((i * 13 % 29) as f32) * 0.3).collect();
            let expected: f64 = logits.iter().map(|&l| libm::exp(l.into())).sum();
            let sum = exp_sum(&logits, 0.0);
            assert!(
                (sum - expected).abs() <= 1e-6 * expected,
                "{sum} {expected}"
            );
        }
    }
}
