//! A made-up model for tests and simulations, in which a lost, repeated or reordered row shows.
//!
//! A hidden row is one word. The cache of a layer folds all rows before it, in whole numbers:
//!
//! ```text
//! fold[p] = mix(fold[p - 1], x)      y = mix(layer, fold[p])
//! ```
//!
//! So a token depends on every row that went through any layer, and on the order of the layers: the
//! tokens are those of [`generate`] only if every stage computed what one device would have computed.

use crate::LayerRange;

/// Tokens are below this.
pub const VOCABULARY: u64 = 32_768;

/// Mixes two words (the finaliser of MurmurHash3, Appleby 2011).
pub fn mix(a: u64, b: u64) -> u64 {
    let mut x = a ^ b.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 33)).wrapping_mul(0xFF51_AFD7_ED55_8CCD);
    x = (x ^ (x >> 33)).wrapping_mul(0xC4CE_B9FE_1A85_EC53);
    x ^ (x >> 33)
}

/// A word whose halves are finite numbers if they are read as floats, as hidden states are.
fn numbers(word: u64) -> u64 {
    word & !0x4000_0000_4000_0000
}

/// The hidden row of a token before the first layer.
pub fn embed(token: u64) -> u64 {
    numbers(mix(token, 77))
}

/// The token of a hidden row behind the last layer.
pub fn sample(word: u64) -> u64 {
    word % VOCABULARY
}

/// A prompt of so many tokens, another one for each seed.
pub fn prompt(seed: u64, length: u32) -> Vec<u64> {
    let token = |at: u32| mix(seed, u64::from(at)) % VOCABULARY;
    (0..length).map(token).collect()
}

/// A row through one layer: `fold` is that of the rows before it, and becomes its own.
fn layer(layer: u32, fold: &mut u64, word: u64) -> u64 {
    *fold = mix(*fold, word);
    numbers(mix(u64::from(layer), *fold))
}

/// The tokens that one device with all layers generates behind a prompt.
pub fn generate(layers: u32, prompt: &[u64], wanted: usize) -> Vec<u64> {
    // Only the last fold of each layer is needed here.
    let mut folds = vec![0; usize::try_from(layers).unwrap_or(0)];
    let mut pass = |token: u64| {
        let through = |word, (number, fold)| layer(number, fold, word);
        sample((0..).zip(&mut folds).fold(embed(token), through))
    };
    let mut next = prompt.iter().fold(0, |_, &token| pass(token));
    let mut tokens = Vec::with_capacity(wanted);
    while tokens.len() < wanted {
        tokens.push(next);
        next = pass(next);
    }
    tokens
}

/// A session's caches of some layers: of each layer, the fold of the rows up to each position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folds {
    layers: LayerRange,
    folds: Vec<Vec<u64>>,
}

impl Folds {
    /// Of which nothing is filled.
    pub fn new(layers: LayerRange) -> Self {
        Self {
            layers,
            folds: (0..layers.len()).map(|_| Vec::new()).collect(),
        }
    }

    /// Of which layers.
    pub fn layers(&self) -> LayerRange {
        self.layers
    }

    /// The positions that all layers hold.
    pub fn held(&self) -> usize {
        self.folds.iter().map(Vec::len).min().unwrap_or(0)
    }

    /// Sends rows, from position `start` on, through those of `layers` that are here; what these held
    /// from `start` on is dropped.
    pub fn pass(&mut self, layers: LayerRange, start: usize, words: &mut [u64]) {
        for (number, folds) in (self.layers.first()..).zip(&mut self.folds) {
            if !(layers.first()..layers.end()).contains(&number) {
                continue;
            }
            folds.truncate(start);
            let mut fold = folds.last().copied().unwrap_or(0);
            for word in words.iter_mut() {
                *word = layer(number, &mut fold, *word);
                folds.push(fold);
            }
        }
    }

    /// The caches of other layers of the session: layers that stay hold what they held.
    pub fn of_layers(self, layers: LayerRange) -> Self {
        let mut new = Self::new(layers);
        for (number, held) in (self.layers.first()..).zip(self.folds) {
            let at = number.checked_sub(layers.first());
            let at = at.and_then(|at| usize::try_from(at).ok());
            if let Some(folds) = at.and_then(|at| new.folds.get_mut(at)) {
                *folds = held;
            }
        }
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAYERS: u32 = 12;

    fn range(first: u32, end: u32) -> LayerRange {
        LayerRange::new(first, end).expect("forwards")
    }

    /// The tokens that stages generate which are split before this layer.
    fn split(layer: u32, prompt: &[u64], wanted: usize) -> Vec<u64> {
        let mut stages = [range(0, layer), range(layer, LAYERS)].map(Folds::new);
        let mut tokens = prompt.to_vec();
        while tokens.len() < prompt.len() + wanted {
            let start = stages[0].held();
            let mut words: Vec<_> = tokens[start..].iter().map(|&token| embed(token)).collect();
            for stage in &mut stages {
                stage.pass(stage.layers(), start, &mut words);
            }
            tokens.extend(words.last().map(|&word| sample(word)));
        }
        tokens.split_off(prompt.len())
    }

    #[test]
    fn split_layers_give_the_tokens_of_one_device() {
        let prompt = prompt(9, 20);
        let whole = generate(LAYERS, &prompt, 16);
        for layer in [1, 5, 11] {
            assert_eq!(split(layer, &prompt, 16), whole);
        }
        // Rows in another order, one too few, or a layer too few are another text.
        let mut other = prompt.clone();
        other.swap(3, 4);
        assert_ne!(generate(LAYERS, &other, 16), whole);
        assert_ne!(generate(LAYERS, &prompt[1..], 16), whole);
        assert_ne!(generate(LAYERS - 1, &prompt, 16), whole);
    }

    #[test]
    fn layers_that_stay_hold_what_they_held() {
        let mut words: Vec<_> = prompt(9, 20).into_iter().map(embed).collect();
        let mut few = Folds::new(range(4, 8));
        few.pass(range(4, 8), 0, &mut words);
        let mut more = few.clone().of_layers(range(4, LAYERS));
        assert_eq!((few.held(), more.held()), (20, 0));
        more.pass(range(8, LAYERS), 0, &mut words);
        assert_eq!(more.held(), 20);
        assert_eq!(more.of_layers(range(4, 8)), few);
    }
}
