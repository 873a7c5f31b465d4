//! Random numbers that are the same on every machine, one stream for each purpose: for example, jitter of a
//! network does not change who asks when.

use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore as _, SeedableRng as _};

/// What random numbers are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Jitter and stalls of a network.
    Network = 1,
    /// When a request's questions are asked, and by which devices.
    Request = 2,
    /// When faults occur, and on which devices.
    Fault = 3,
    /// How long devices stay and are away.
    Mobility = 4,
    /// When devices dial each other.
    Dial = 5,
    /// Ids of sessions.
    Session = 6,
    /// Scenarios of the explorer.
    Explore = 7,
}

/// A generator for one purpose.
#[derive(Debug, Clone)]
pub(crate) struct Random(ChaCha8Rng);

impl Random {
    /// The numbers of a seed for a purpose, and for one of several things of that purpose.
    pub(crate) fn new(seed: u64, purpose: Purpose, number: u64) -> Self {
        let mut generator = ChaCha8Rng::seed_from_u64(seed);
        generator.set_stream(((purpose as u64) << 48) | number);
        Self(generator)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Evenly distributed in `0..1`.
    pub(crate) fn unit(&mut self) -> f64 {
        // 53 bits, all that a double has.
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Evenly distributed in `0..n`; 0 if `n` is.
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        let wide = u128::from(self.next()) * u128::from(n);
        (wide >> 64) as u64
    }

    /// Whether something of this probability happens.
    pub(crate) fn happens(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// Exponentially distributed with this mean.
    pub(crate) fn exponential(&mut self, mean: u64) -> u64 {
        let time = -(mean as f64) * libm::log(1.0 - self.unit());
        time as u64
    }

    /// Pareto distributed with exponent 1, `P(more than t) = least / t`, cut at `most`.
    pub(crate) fn heavy_tailed(&mut self, least: u64, most: u64) -> u64 {
        let time = least as f64 / (1.0 - self.unit());
        (time as u64).min(most)
    }

    /// One of these; `None` if there is none.
    pub(crate) fn one_of<T: Copy>(&mut self, of: &[T]) -> Option<T> {
        let at = self.below(of.len() as u64);
        of.get(at as usize).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn purposes_do_not_share_numbers_and_seeds_give_the_same_again() {
        let first = |purpose, number| Random::new(7, purpose, number).next();
        assert_eq!(first(Purpose::Fault, 1), first(Purpose::Fault, 1));
        assert_ne!(first(Purpose::Fault, 1), first(Purpose::Fault, 2));
        assert_ne!(first(Purpose::Fault, 1), first(Purpose::Network, 1));
        // Stays the same: seeds in the repository depend on it.
        assert_eq!(first(Purpose::Network, 0), 13_781_664_090_516_159_055);
    }

    #[test]
    fn who_has_stayed_for_long_stays_for_as_long_again() {
        let mut random = Random::new(1, Purpose::Mobility, 0);
        let stays: Vec<_> = (0..20_000)
            .map(|_| random.heavy_tailed(10, 1 << 40))
            .collect();
        let longer = |t: u64| stays.iter().filter(|stay| **stay > t).count() as f64;
        for t in [10, 40, 160] {
            let again = longer(2 * t) / longer(t);
            assert!((0.45..0.55).contains(&again), "{again}");
        }
        let mean = (0..20_000).map(|_| random.exponential(1_000)).sum::<u64>() / 20_000;
        assert!((970..1_030).contains(&mean), "{mean}");
    }
}
