//! A made-up model, in which a missing or repeated row shows.

use std::collections::BTreeMap;

use crate::LayerRange;

/// Its layers.
pub(crate) const LAYERS: u32 = 12;

/// Mixes two words (the finaliser of MurmurHash3, Appleby 2011).
pub(crate) fn mix(a: u64, b: u64) -> u64 {
    let mut x = a ^ b.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 33)).wrapping_mul(0xFF51_AFD7_ED55_8CCD);
    x = (x ^ (x >> 33)).wrapping_mul(0xC4CE_B9FE_1A85_EC53);
    x ^ (x >> 33)
}

/// A word whose halves are finite numbers if they are read as floats, as hidden states are.
fn numbers(word: u64) -> u64 {
    word & !0x4000_0000_4000_0000
}

/// What a token is to the first layer.
pub(crate) fn embed(token: u64) -> u64 {
    numbers(mix(token, 77))
}

/// The token of what comes from the last layer.
pub(crate) fn sample(hidden: u64) -> u64 {
    hidden % 1_000
}

/// So many tokens to begin with.
pub(crate) fn prompt(length: usize) -> Vec<u64> {
    (0..length as u64).map(|i| mix(i, 5) % 1_000).collect()
}

/// The tokens that one device gives.
pub(crate) fn alone(prompt: &[u64], wanted: usize) -> Vec<u64> {
    let mut layers = Layers::default();
    let all = LayerRange::new(0, LAYERS).expect("forwards");
    let mut tokens = prompt.to_vec();
    let mut position = 0;
    while tokens.len() < prompt.len() + wanted {
        let mut hidden = 0;
        while position < tokens.len() {
            hidden = layers.row(all, position as u32, embed(tokens[position]));
            position += 1;
        }
        tokens.push(sample(hidden));
    }
    tokens
}

/// Layers that fold all rows so far.
#[derive(Debug, Default)]
pub(crate) struct Layers {
    /// For each layer, the fold of the rows up to each position.
    folds: BTreeMap<u32, Vec<u64>>,
}

impl Layers {
    /// One row through `layers`.
    ///
    /// # Panics
    /// If rows before it are missing.
    pub(crate) fn row(&mut self, layers: LayerRange, position: u32, mut x: u64) -> u64 {
        for layer in layers.first()..layers.end() {
            let folds = self.folds.entry(layer).or_default();
            assert!(
                folds.len() >= position as usize,
                "rows before {position} are missing"
            );
            folds.truncate(position as usize);
            let before = folds.last().copied().unwrap_or(0);
            folds.push(mix(before, x));
            x = numbers(mix(u64::from(layer), mix(before, x)));
        }
        x
    }
}
