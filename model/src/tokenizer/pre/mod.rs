//! Pre-tokenizers: how a text is cut into words before byte pair encoding.
//!
//! A file names its pre-tokenizer in `tokenizer.ggml.pre`. Each is a sequence of patterns
//! published with the model it comes from; here they are matched by hand-written scanners
//! ([`Stage`]) rather than by a regular expression engine: the patterns need look-ahead, which
//! linear-time engines do not have, a backtracking engine limits the length of what it can match,
//! and both would spend most of the start-up time and memory allowed to a tokenizer on compiling
//! Unicode classes. The tests compare every scanner with its pattern in such an engine.
//!
//! Names, patterns and their quirks are those of llama.cpp's `llama-vocab.cpp`.

mod glyph;
mod known;
mod stage;
#[cfg(test)]
mod tests;

use glyph::glyphs;
use stage::Stage;

/// A named way to cut text into words.
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

    /// Whether a word that is a token is not looked at any further.
    pub(super) const fn prefers_whole_words(self) -> bool {
        self.whole_words
    }

    /// Whether prompts start with BOS if the file does not say.
    pub(super) const fn adds_bos(self) -> bool {
        self.adds_bos
    }

    /// Cuts a text into words, whose characters are given to `word` in order.
    ///
    /// Each byte that is not part of valid UTF-8 counts as U+FFFD.
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
