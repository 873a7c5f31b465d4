//! Pre-tokenizers: split a text into words before byte pair encoding.
//!
//! A file names its pre-tokenizer in `tokenizer.ggml.pre`. Each is a sequence of patterns published
//! with its model. Here, hand-written scanners ([`Stage`]) match them instead of a regular
//! expression engine: the patterns need look-ahead, which linear-time engines lack; a backtracking
//! engine limits the length of a match; and both would spend most of a tokenizer's start-up time
//! and memory budget on compiling Unicode classes. The tests compare every scanner with its pattern
//! in such an engine.
//!
//! Names, patterns and their quirks are those of llama.cpp's `llama-vocab.cpp`.

mod glyph;
mod known;
mod stage;
#[cfg(test)]
mod tests;

use glyph::glyphs;
use stage::Stage;

/// A named way to split text into words.
#[derive(Debug, Clone, Copy)]
pub(super) struct PreTokenizer {
    stages: &'static [Stage],
    whole_words: bool,
    adds_bos: bool,
}

impl PreTokenizer {
    const fn new(stages: &'static [Stage]) -> Self {
        Self {
            stages,
            whole_words: false,
            adds_bos: false,
        }
    }

    const fn with_whole_words(self) -> Self {
        Self {
            whole_words: true,
            ..self
        }
    }

    const fn with_bos(self) -> Self {
        Self {
            adds_bos: true,
            ..self
        }
    }

    /// Whether a word that is a token is used as it is, without merging.
    pub(super) const fn prefers_whole_words(self) -> bool {
        self.whole_words
    }

    /// Whether prompts start with BOS if the file does not specify it.
    pub(super) const fn adds_bos(self) -> bool {
        self.adds_bos
    }

    /// Splits a text into words, and passes the characters of each to `word` in order.
    ///
    /// Bytes that are not part of valid UTF-8 count as U+FFFD each.
    pub(super) fn split(self, text: &[u8], mut word: impl FnMut(&mut dyn Iterator<Item = char>)) {
        let glyphs = glyphs(text);
        let mut lens = vec![glyphs.len()];
        let mut next = Vec::new();
        for stage in self.stages {
            next.clear();
            let mut rest = &glyphs[..];
            for &len in &lens {
                let (fragment, after) = rest.split_at(len);
                stage.cut(fragment, |len| next.push(len));
                rest = after;
            }
            std::mem::swap(&mut lens, &mut next);
        }
        let mut rest = &glyphs[..];
        for &len in &lens {
            let (fragment, after) = rest.split_at(len);
            word(&mut fragment.iter().map(|glyph| glyph.char));
            rest = after;
        }
    }
}
