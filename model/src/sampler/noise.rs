//! Noise for sampling: a pure function of seed, position and token.
//!
//! The generator uses SplitMix64 in counter mode: the key of a position is the start of a
//! SplitMix64 stream, and a token's number is the element of that stream at the token's index. (G.
//! Steele, D. Lea, C. Flood, "Fast splittable pseudorandom number generators", 2014; the
//! finaliser's constants are D. Stafford's variant 13.)

use std::f64::consts::LN_2;

use crate::tokenizer::TokenId;

const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

const fn finalise(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

const fn element(start: u64, index: u64) -> u64 {
    finalise(start.wrapping_add(GAMMA.wrapping_mul(index.wrapping_add(1))))
}

/// Used bits of a token's number.
const BITS: u32 = 52;

/// The noise of one position.
#[derive(Clone, Copy)]
pub(super) struct Noise {
    start: u64,
}

impl Noise {
    pub(super) fn new(seed: u64, position: u64) -> Self {
        Self {
            start: element(element(seed, 0), position),
        }
    }

    fn bits(self, token: TokenId) -> u64 {
        element(self.start, token.into()) >> (u64::BITS - BITS)
    }

    /// The token's noise from the standard Gumbel distribution: `−ln(−ln u)`, where `u` is uniform
    /// over the 2⁵² midpoints `(k + ½) / 2⁵²`, which are exact.
    pub(super) fn gumbel(self, token: TokenId) -> f64 {
        let u = (self.bits(token) as f64 + 0.5) / (1_u64 << BITS) as f64;
        -libm::log(-libm::log(u))
    }

    /// An upper bound of [`Self::gumbel`], computed without logarithms.
    ///
    /// `−ln u ≥ 1 − u`, so the noise is at most `−ln(1 − u)`; and `1 − u ≥ 2^−(z + 1)`, where `z`
    /// is the number of leading ones of the token's number.
    pub(super) fn gumbel_bound(self, token: TokenId) -> f64 {
        let ones = (!(self.bits(token) << (u64::BITS - BITS))).leading_zeros();
        // The margin covers the rounding of the logarithms.
        f64::from(ones + 1) * LN_2 + 1e-9
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generator_is_splitmix64() {
        // First outputs for seed 1234567, as published with the reference implementation.
        let outputs = [0, 1, 2].map(|index| element(1_234_567, index));
        assert_eq!(
            outputs,
            [
                6_457_827_717_110_365_317,
                3_203_168_211_198_807_973,
                9_817_491_932_198_370_423
            ]
        );
    }

    #[test]
    fn the_bound_holds_and_is_near() {
        let noise = Noise::new(3, 14);
        for token in 0..100_000 {
            let (gumbel, bound) = (noise.gumbel(token), noise.gumbel_bound(token));
            assert!(gumbel <= bound);
            assert!(bound < gumbel.max(0.0) + 1.5);
        }
    }

    #[test]
    fn noise_has_the_moments_of_the_gumbel_distribution() {
        // Mean: Euler's constant. Variance: π² / 6.
        let noise = Noise::new(1, 2);
        let count = 200_000;
        let values = (0..count).map(|token| noise.gumbel(token));
        let mean = values.clone().sum::<f64>() / f64::from(count);
        let variance = values.map(|v| (v - mean).powi(2)).sum::<f64>() / f64::from(count);
        assert!((mean - 0.577_216).abs() < 0.01, "{mean}");
        assert!((variance - 1.644_934).abs() < 0.03, "{variance}");
    }

    #[test]
    fn seeds_positions_and_tokens_give_other_noise() {
        let mut all = std::collections::HashSet::new();
        for seed in 0..20 {
            for position in 0..20 {
                for token in 0..20 {
                    all.insert(Noise::new(seed, position).gumbel(token).to_bits());
                }
            }
        }
        assert_eq!(all.len(), 8000);
    }
}
