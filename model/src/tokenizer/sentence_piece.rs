//! SentencePiece-style encoding: merges neighbours whose joint text is a token, the token with the
//! highest score first. Remaining text that is not a token is encoded as byte tokens.
//!
//! Spaces are written as `▁` (U+2581). Text is not split into words: a token may span several.
//!
//! T. Kudo, J. Richardson, "SentencePiece", 2018, as implemented in llama.cpp.

use super::merge::{Merger, Pairing};
use super::vocabulary::Vocabulary;
use super::{SPACE_SIGN, TokenId};

/// SentencePiece-style encoding.
pub(super) struct SentencePieces {
    // The token of each byte.
    bytes: Box<[Option<TokenId>; 256]>,
    /// Whether to add a leading space, at the start and after a special token.
    pub(super) add_space: bool,
}

struct Scores<'v>(&'v Vocabulary);

impl Pairing for Scores<'_> {
    type Rank = u32;

    fn rank(&self, pair: &[u8], _: usize) -> Option<u32> {
        let token = self.0.find(pair)?;
        Some(!ascending(self.0.score(token)))
    }
}

/// An integer with the same order as the number. Both zeros are equal. Undefined for NaN.
fn ascending(score: f32) -> u32 {
    // −0 + 0 = 0
    let bits = (score + 0.0).to_bits();
    let sign = 1 << 31;
    if bits & sign == 0 { bits | sign } else { !bits }
}

impl SentencePieces {
    /// `unknown` replaces bytes without a token.
    pub(super) fn new(vocabulary: &Vocabulary, unknown: Option<TokenId>, add_space: bool) -> Self {
        let bytes = std::array::from_fn(|byte| {
            vocabulary
                .find(format!("<0x{byte:02X}>").as_bytes())
                .or_else(|| vocabulary.find(&[byte as u8]))
                .or(unknown)
        });
        Self {
            bytes: Box::new(bytes),
            add_space,
        }
    }

    /// Appends the tokens of a text without special tokens. The text need not be UTF-8.
    pub(super) fn encode(
        &self,
        text: &[u8],
        after_special: bool,
        vocabulary: &Vocabulary,
        out: &mut Vec<TokenId>,
    ) {
        let mut written = Vec::with_capacity(text.len() + text.len() / 2);
        if self.add_space && after_special {
            written.extend_from_slice(SPACE_SIGN.as_bytes());
        }
        for &byte in text {
            match byte {
                b' ' => written.extend_from_slice(SPACE_SIGN.as_bytes()),
                byte => written.push(byte),
            }
        }
        let mut merger = Merger::new();
        for range in merger.merge(&written, char_lens(&written), &Scores(vocabulary)) {
            let symbol = &written[range];
            match vocabulary.find(symbol) {
                Some(token) => out.push(token),
                None => out.extend(symbol.iter().filter_map(|&byte| self.bytes[byte as usize])),
            }
        }
    }
}

/// Lengths of the characters according to their first bytes; also defined for invalid UTF-8.
fn char_lens(text: &[u8]) -> impl Iterator<Item = usize> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let len = match rest.first()? {
            0xf0.. => 4,
            0xe0.. => 3,
            0xc0.. => 2,
            _ => 1,
        }
        .min(rest.len());
        rest = &rest[len..];
        Some(len)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_order_as_numbers_do() {
        let scores = [
            f32::NEG_INFINITY,
            -1e9,
            -2.5,
            -1e-40,
            0.0,
            1e-40,
            3.0,
            f32::INFINITY,
        ];
        assert!(scores.map(ascending).is_sorted_by(|a, b| a < b));
        assert_eq!(ascending(-0.0), ascending(0.0));
    }

    #[test]
    fn lengths_cover_any_bytes() {
        assert_eq!(
            char_lens("aü語🦀".as_bytes()).collect::<Vec<_>>(),
            [1, 2, 3, 4]
        );
        assert_eq!(char_lens(b"\x80\xff\xf0\x9f").collect::<Vec<_>>(), [1, 3]);
    }
}
