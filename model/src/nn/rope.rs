//! Angles of rotary embeddings, in `f64` with pure-Rust functions, so that they are the same bits
//! everywhere.

use burn::tensor::{Device, Tensor, TensorData};

use super::Source;
use crate::config::RopeConfig;
use crate::{ModelConfig, ModelError};

/// The frequencies of each of a model's rotary embeddings.
#[derive(Debug, Clone)]
pub(crate) struct RopeTables {
    /// For each embedding, radians a position of each pair.
    frequencies: Vec<Vec<f64>>,
}

impl RopeTables {
    pub(crate) fn load(config: &ModelConfig, source: &Source<'_>) -> Result<Self, ModelError> {
        let angles = config.rope_dim / 2;
        let divisors = if source.has("rope_freqs.weight") {
            let divisors: Vec<f32> = source
                .vector("rope_freqs.weight", angles)?
                .into_data()
                .iter()
                .collect();
            if let Some(bad) = divisors.iter().find(|d| !(**d > 0.0 && d.is_finite())) {
                return Err(ModelError::Setting {
                    key: "rope_freqs.weight".to_owned(),
                    value: bad.to_string(),
                    problem: "frequency divisors must be positive",
                });
            }
            Some(divisors)
        } else {
            None
        };
        let of = |rope: &RopeConfig| {
            let divisors = divisors.as_ref().filter(|_| rope.file_factors);
            frequencies(rope, config.rope_dim, divisors.map(Vec::as_slice))
        };
        Ok(Self {
            frequencies: config.ropes.iter().map(of).collect(),
        })
    }

    /// Cosines and sines at `positions`: `[positions, rope_dim / 2]` each, for each embedding.
    pub(crate) fn angles(&self, positions: &[usize]) -> Vec<[Tensor<2>; 2]> {
        let device = Device::flex();
        let table = |frequencies: &[f64], f: fn(f64) -> f64| {
            let values: Vec<f32> = positions
                .iter()
                .flat_map(|&p| frequencies.iter().map(move |w| f(p as f64 * w) as f32))
                .collect();
            let data = TensorData::new(values, [positions.len(), frequencies.len()]);
            Tensor::from_data(data, &device)
        };
        self.frequencies
            .iter()
            .map(|w| [table(w, libm::cos), table(w, libm::sin)])
            .collect()
    }
}

/// `base^(−2i/d) / divisor_i / linear_factor` for pair `i`.
fn frequencies(rope: &RopeConfig, rope_dim: usize, divisors: Option<&[f32]>) -> Vec<f64> {
    (0..rope_dim / 2)
        .map(|i| {
            let exponent = -2.0 * i as f64 / rope_dim as f64;
            let divisor = divisors.map_or(1.0, |d| f64::from(d[i]));
            libm::pow(f64::from(rope.base), exponent) / divisor / f64::from(rope.linear_factor)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frequencies_fall_geometrically_and_are_scaled() {
        let rope = RopeConfig {
            base: 10_000.0,
            linear_factor: 4.0,
            file_factors: true,
        };
        let plain = frequencies(&rope, 4, None);
        assert_eq!(plain, [0.25, 0.0025]);
        assert_eq!(frequencies(&rope, 4, Some(&[1.0, 5.0])), [0.25, 0.0005]);
    }
}
