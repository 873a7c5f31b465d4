//! Rotary embedding angles, computed in `f64` with pure-Rust functions, so that they are
//! bit-identical on every device.

use burn::tensor::{Device, Tensor, TensorData};

use super::Source;
use crate::config::{RopeConfig, RopeDivisors, Yarn};
use crate::{ModelConfig, ModelError};

/// Frequencies of each of the model's rotary embeddings.
#[derive(Debug, Clone)]
pub(crate) struct RopeTables(Vec<Table>);

#[derive(Debug, Clone)]
struct Table {
    /// Radians per position for each pair.
    frequencies: Vec<f64>,
    /// Factor for cosines and sines.
    amplitude: f64,
}

impl RopeTables {
    pub(crate) fn load(config: &ModelConfig, source: &Source<'_, '_>) -> Result<Self, ModelError> {
        // Of the two sets of divisors, the unused one is for another context length.
        if config.ropes.iter().any(|rope| rope.divisors.is_of_length()) {
            source.pass_over(RopeDivisors::Short.tensor());
            source.pass_over(RopeDivisors::Long.tensor());
        }
        let of = |rope: &RopeConfig| {
            let name = rope.divisors.tensor();
            let divisors = match rope.divisors {
                RopeDivisors::None => None,
                RopeDivisors::IfGiven if !source.has(name) => None,
                _ => Some(source.floats(name, config.rope_dim / 2)?),
            };
            let bad = divisors.iter().flatten().find(|divisor| **divisor <= 0.0);
            if let Some(bad) = bad {
                return Err(ModelError::Setting {
                    key: name.to_owned(),
                    value: bad.to_string(),
                    problem: "frequency divisors must be positive",
                });
            }
            Ok(Table {
                frequencies: frequencies(rope, config.rope_dim, divisors.as_deref()),
                amplitude: f64::from(rope.amplitude),
            })
        };
        let tables: Result<_, ModelError> = config.ropes.iter().map(of).collect();
        Ok(Self(tables?))
    }

    /// Cosines and sines at `positions`: `[positions, rope_dim / 2]` each, one pair per embedding.
    pub(crate) fn angles(&self, positions: &[usize], device: &Device) -> Vec<[Tensor<2>; 2]> {
        let table = |table: &Table, f: fn(f64) -> f64| {
            let Table {
                frequencies,
                amplitude,
            } = table;
            let values: Vec<f32> = positions
                .iter()
                .flat_map(|&p| {
                    let turn = move |w: &f64| (f(p as f64 * w) * amplitude) as f32;
                    frequencies.iter().map(turn)
                })
                .collect();
            let data = TensorData::new(values, [positions.len(), frequencies.len()]);
            Tensor::from_data(data, device)
        };
        self.0
            .iter()
            .map(|w| [table(w, libm::cos), table(w, libm::sin)])
            .collect()
    }
}

/// For pair `i`, `w = base^(−2i/d) / divisor_i`, divided by the scaling factor. With YaRN
/// (arXiv:2309.00071), the slower a pair turns in the original context, the more it is scaled.
fn frequencies(rope: &RopeConfig, rope_dim: usize, divisors: Option<&[f32]>) -> Vec<f64> {
    let (base, factor) = (f64::from(rope.base), f64::from(rope.linear_factor));
    let kept = rope.yarn.map(|yarn| Ramp::new(yarn, rope_dim, base));
    (0..rope_dim / 2)
        .map(|i| {
            let exponent = -2.0 * i as f64 / rope_dim as f64;
            let divisor = divisors.map_or(1.0, |d| f64::from(d[i]));
            let own = libm::pow(base, exponent) / divisor;
            match &kept {
                None => own / factor,
                Some(ramp) => {
                    let kept = ramp.at(i);
                    own / factor * (1.0 - kept) + own * kept
                }
            }
        })
        .collect()
}

/// YaRN's ramp of unscaled pairs: 1 for pairs before `low`, falling to 0 from `high` on.
struct Ramp {
    low: f64,
    high: f64,
}

impl Ramp {
    /// Turns in the original context from which on a pair stays unscaled, and below which it is
    /// fully scaled: llama.cpp's values for these architectures, regardless of the file.
    const FAST: f64 = 32.0;
    const SLOW: f64 = 1.0;

    fn new(yarn: Yarn, rope_dim: usize, base: f64) -> Self {
        let context = yarn.original_context as f64;
        // The pair that makes this many turns in the original context.
        let pair = |turns: f64| {
            let wavelengths = context / (turns * std::f64::consts::TAU);
            rope_dim as f64 * libm::log(wavelengths) / (2.0 * libm::log(base))
        };
        Self {
            low: libm::floor(pair(Self::FAST)).max(0.0),
            high: libm::ceil(pair(Self::SLOW)).min((rope_dim - 1) as f64),
        }
    }

    fn at(&self, pair: usize) -> f64 {
        let along = (pair as f64 - self.low) / (self.high - self.low).max(0.001);
        1.0 - along.clamp(0.0, 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rope(linear_factor: f32, yarn: Option<Yarn>) -> RopeConfig {
        RopeConfig {
            base: 10_000.0,
            linear_factor,
            divisors: RopeDivisors::IfGiven,
            yarn,
            amplitude: 1.0,
        }
    }

    #[test]
    fn frequencies_fall_geometrically_and_are_scaled() {
        let rope = rope(4.0, None);
        let plain = frequencies(&rope, 4, None);
        assert_eq!(plain, [0.25, 0.0025]);
        assert_eq!(frequencies(&rope, 4, Some(&[1.0, 5.0])), [0.25, 0.0005]);
    }

    #[test]
    fn yarn_scales_slow_pairs_only() {
        // Of eight pairs at 2048 positions, pair 2.02 turns 32 times, and pair 5.03 once. So pairs
        // up to 2 are unscaled, pairs from 6 on are divided by 4, and those between are
        // interpolated.
        let yarn = Yarn {
            original_context: 2048,
        };
        let own = frequencies(&rope(1.0, None), 16, None);
        let found = frequencies(&rope(4.0, Some(yarn)), 16, None);
        for (i, kept) in [1.0, 1.0, 1.0, 0.75, 0.5, 0.25, 0.0, 0.0]
            .into_iter()
            .enumerate()
        {
            let want = own[i] * (kept + (1.0 - kept) / 4.0);
            assert!((found[i] / want - 1.0).abs() < 1e-12, "pair {i}");
        }
    }
}
