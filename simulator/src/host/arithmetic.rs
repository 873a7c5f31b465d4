//! A made-up model, in which a lost, repeated or reordered row shows.
//!
//! A hidden row is one word, and of every layer's cache each row folds all rows before it, in whole
//! numbers. So a token depends on every row that ever went through any layer, and on the order of the
//! layers; and a text is the same only if all was computed as one device would have.
//!
//! As bytes, a row is as long as the real model's: the word, then for the checkers the placement and
//! the position that it was made for, then zeros.

use std::ops::Range;

use potluck_protocol::LayerRange;

/// Bytes of a row that mean something.
pub(crate) const MEANT: usize = 16;
/// Tokens are below this.
const VOCABULARY: u64 = 32_768;

/// Mixes two words (the finaliser of MurmurHash3, Appleby 2011).
pub(crate) fn mix(a: u64, b: u64) -> u64 {
    let mut x = a ^ b.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 33)).wrapping_mul(0xFF51_AFD7_ED55_8CCD);
    x = (x ^ (x >> 33)).wrapping_mul(0xC4CE_B9FE_1A85_EC53);
    x ^ (x >> 33)
}

/// The token of what comes from the last layer.
pub(crate) fn sample(word: u64) -> u64 {
    word % VOCABULARY
}

/// A prompt: so many tokens, of what a session is named by.
pub(crate) fn prompt(session: u64, rows: u32) -> Vec<u64> {
    let token = |at: u32| mix(session, u64::from(at)) % VOCABULARY;
    (0..rows).map(token).collect()
}

/// What a row is, beside its zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) word: u64,
    /// The placement that it was made for.
    pub(crate) epoch: u32,
    pub(crate) position: u32,
}

impl Row {
    /// What a token is to the first layer.
    pub(crate) fn embed(token: u64, epoch: u32, position: u32) -> Self {
        Self {
            word: mix(token, 77),
            epoch,
            position,
        }
    }

    /// Of the first bytes of a row.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let (head, _) = bytes.split_first_chunk::<MEANT>()?;
        let (word, rest) = head.split_first_chunk::<8>()?;
        let (epoch, rest) = rest.split_first_chunk::<4>()?;
        let (position, _) = rest.split_first_chunk::<4>()?;
        Some(Self {
            word: u64::from_le_bytes(*word),
            epoch: u32::from_le_bytes(*epoch),
            position: u32::from_le_bytes(*position),
        })
    }

    /// Over the first bytes of a row.
    pub(crate) fn write(self, bytes: &mut [u8]) {
        if let Some((head, _)) = bytes.split_first_chunk_mut::<MEANT>() {
            head[..8].copy_from_slice(&self.word.to_le_bytes());
            head[8..12].copy_from_slice(&self.epoch.to_le_bytes());
            head[12..].copy_from_slice(&self.position.to_le_bytes());
        }
    }
}

/// Caches of some layers.
#[derive(Debug)]
pub(crate) struct Caches {
    first: u32,
    /// Of each layer, the fold of the rows up to each position.
    folds: Vec<Vec<u64>>,
}

impl Caches {
    pub(crate) fn new(layers: LayerRange) -> Self {
        Self {
            first: layers.first(),
            folds: (0..layers.len()).map(|_| Vec::new()).collect(),
        }
    }

    /// Of other layers: those that stay keep what they hold.
    pub(crate) fn for_layers(mut self, layers: LayerRange) -> Self {
        let mut other = Self::new(layers);
        for (layer, folds) in (layers.first()..).zip(&mut other.folds) {
            let held = layer.checked_sub(self.first);
            if let Some(held) = held.and_then(|at| self.folds.get_mut(at as usize)) {
                *folds = std::mem::take(held);
            }
        }
        other
    }

    /// Rows from position `start` on through some of the layers, which hold those before; what they
    /// held of later ones is dropped.
    pub(crate) fn through(&mut self, layers: Range<u32>, start: usize, words: &mut [u64]) {
        let at = layers.start.saturating_sub(self.first) as usize;
        let count = layers.end.saturating_sub(layers.start) as usize;
        for (layer, folds) in layers.zip(self.folds.iter_mut().skip(at).take(count)) {
            folds.truncate(start);
            for word in &mut *words {
                let fold = mix(folds.last().copied().unwrap_or(0), *word);
                folds.push(fold);
                *word = mix(u64::from(layer), fold);
            }
        }
    }
}

/// The tokens that one device gives.
pub(crate) fn alone(layers: u32, prompt: &[u64], wanted: u32) -> Vec<u64> {
    let Some(range) = LayerRange::new(0, layers) else {
        return Vec::new();
    };
    // Only the last fold of each layer is ever needed here.
    let mut folds = vec![0; range.len() as usize];
    let mut pass = |token: u64| {
        let mut word = Row::embed(token, 0, 0).word;
        for (layer, fold) in (0_u64..).zip(&mut folds) {
            *fold = mix(*fold, word);
            word = mix(layer, *fold);
        }
        sample(word)
    };
    let mut next = prompt.iter().fold(0, |_, &token| pass(token));
    let mut tokens = Vec::with_capacity(wanted as usize);
    while tokens.len() < wanted as usize {
        tokens.push(next);
        next = pass(next);
    }
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split_at(layer: u32, prompt: &[u64], wanted: usize) -> Vec<u64> {
        let range = |first, end| LayerRange::new(first, end).expect("forwards");
        let (mut first, mut second) = (Caches::new(range(0, layer)), Caches::new(range(layer, 12)));
        let mut position = 0;
        let mut pass = |token| {
            let mut word = [Row::embed(token, 1, 2).word];
            first.through(0..layer, position, &mut word);
            second.through(layer..12, position, &mut word);
            position += 1;
            sample(word[0])
        };
        let mut next = 0;
        prompt.iter().for_each(|&token| next = pass(token));
        let mut tokens = Vec::new();
        while tokens.len() < wanted {
            tokens.push(next);
            next = pass(next);
        }
        tokens
    }

    #[test]
    fn split_layers_give_the_tokens_of_one_device() {
        let prompt = prompt(9, 20);
        let whole = alone(12, &prompt, 16);
        for layer in [1, 5, 11] {
            assert_eq!(split_at(layer, &prompt, 16), whole);
        }
        // A row too few, too many, or two in another order are another text.
        let mut other = prompt.clone();
        other.swap(3, 4);
        assert_ne!(alone(12, &other, 16), whole);
        assert_ne!(alone(12, &prompt[1..], 16), whole);
        assert_ne!(alone(11, &prompt, 16), whole);
    }

    #[test]
    fn a_row_is_read_as_it_was_written() {
        let mut bytes = vec![0; 64];
        let row = Row::embed(5, 6, 7);
        row.write(&mut bytes);
        assert_eq!(Row::read(&bytes), Some(row));
        assert_eq!(Row::read(&bytes[..MEANT - 1]), None);
    }
}
