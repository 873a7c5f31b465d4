//! Byte-level byte pair encoding: builds words from bytes by a ranked list of merges.
//!
//! Bytes are written in the printable alphabet of [`super::alphabet`], so that a merge is two texts
//! separated by a space. Its rank is its position in the list. The result for a word may differ
//! from what the vocabulary alone would allow, so merges are looked up by text, as the list has
//! them, whether or not the parts are tokens.
//!
//! R. Sennrich, B. Haddow, A. Birch, "Neural machine translation of rare words with subword units",
//! 2016; the byte alphabet is GPT-2's.

use super::merge::{Merger, Pairing};
use super::pre::PreTokenizer;
use super::texts::{TextIndex, Texts};
use super::vocabulary::Vocabulary;
use super::{TokenId, alphabet};

/// The ranked list of merges.
struct Merges {
    texts: Texts,
    index: TextIndex,
}

impl Merges {
    fn new(texts: Texts) -> Self {
        let mut index = TextIndex::with_capacity(texts.len());
        for rank in 0..texts.len() as u32 {
            // The first of equal merges counts. Merges without a space can never be looked up.
            if parts(texts.get(rank)).is_some() {
                index.insert(rank, |rank| parts(texts.get(rank)).unwrap_or_default());
            }
        }
        Self { texts, index }
    }
}

/// The two texts that a merge joins. The first may itself start with a space.
fn parts(merge: &[u8]) -> Option<[&[u8]; 2]> {
    let space = 1 + memchr::memchr(b' ', merge.get(1..)?)?;
    Some([&merge[..space], &merge[space + 1..]])
}

impl Pairing for Merges {
    type Rank = u32;

    fn rank(&self, pair: &[u8], left: usize) -> Option<u32> {
        self.index.find([&pair[..left], &pair[left..]], |rank| {
            parts(self.texts.get(rank)).unwrap_or_default()
        })
    }
}

/// Byte-level byte pair encoding.
pub(super) struct BytePairs {
    merges: Merges,
    pre: PreTokenizer,
}

impl BytePairs {
    pub(super) fn new(merges: Texts, pre: PreTokenizer) -> Self {
        Self {
            merges: Merges::new(merges),
            pre,
        }
    }

    /// Appends the tokens of a text without special tokens.
    ///
    /// Bytes that are not part of valid UTF-8 count as U+FFFD each.
    pub(super) fn encode(&self, text: &[u8], vocabulary: &Vocabulary, out: &mut Vec<TokenId>) {
        let mut merger = Merger::new();
        let mut written = String::new();
        let mut utf8 = [0; 4];
        self.pre.split(text, |word| {
            written.clear();
            for char in word {
                let bytes = char.encode_utf8(&mut utf8).bytes();
                written.extend(bytes.map(alphabet::char_of));
            }
            if self.pre.prefers_whole_words()
                && let Some(token) = vocabulary.find(written.as_bytes())
            {
                out.push(token);
                return;
            }
            let lens = written.chars().map(char::len_utf8);
            for range in merger.merge(written.as_bytes(), lens, &self.merges) {
                push_symbol(&written.as_bytes()[range], vocabulary, out);
            }
        });
    }
}

/// Appends a symbol's token. Symbols that the vocabulary lacks are left out, except for their ASCII
/// characters that are tokens.
fn push_symbol(symbol: &[u8], vocabulary: &Vocabulary, out: &mut Vec<TokenId>) {
    match vocabulary.find(symbol) {
        Some(token) => out.push(token),
        None => out.extend(
            symbol
                .chunks(1)
                .filter(|byte| byte.is_ascii())
                .filter_map(|byte| vocabulary.find(byte)),
        ),
    }
}
