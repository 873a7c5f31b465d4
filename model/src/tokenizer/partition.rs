//! Matches special tokens in a text before any other processing.
//!
//! Longer texts take precedence: all occurrences of the longest special token are cut out from left
//! to right, then those of the next in the remaining text. (This is neither the leftmost nor the
//! longest match at each position; it is what llama.cpp does.) Tokens of equal length are ordered
//! by id.

use std::cmp::Reverse;
use std::ops::Range;

use memchr::memmem::Finder;

use super::TokenId;
use super::vocabulary::Vocabulary;

/// A fragment of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fragment {
    /// Bytes without special tokens.
    Text(Range<usize>),
    /// A special token.
    Token(TokenId),
}

/// Whether spelled-out control tokens in a text become those tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpecialTokens {
    /// Yes, for a rendered chat template.
    Parse,
    /// No, they are ordinary text, for user input. (Tokens that the vocabulary declares as text to
    /// be matched whole are still matched.)
    AsText,
}

/// The places of message content in a rendered conversation, which stays text whatever it spells.
#[derive(Debug, Clone, Copy, Default)]
pub struct Said<'a> {
    /// Places of bytes that no control token may contain, ascending.
    pub places: &'a [usize],
    /// The subset that is not from the model's own messages, ascending.
    pub to_model: &'a [usize],
    /// Tokens of text that are matched whole, but not in messages to the model; the result of
    /// `written_by`, ascending.
    pub written: &'a [TokenId],
}

/// The special tokens of a vocabulary, indexed for search.
pub(super) struct SpecialIndex {
    // Ordered by text.
    tokens: Box<[TokenId]>,
    // For each first byte, the index of its first token; then the end.
    first: Box<[u32; 257]>,
    /// Tokens after which white space is dropped, ascending.
    strips_right: Box<[TokenId]>,
}

impl SpecialIndex {
    pub(super) fn new(vocabulary: &Vocabulary, strips_right: Box<[TokenId]>) -> Self {
        let mut tokens: Vec<TokenId> = vocabulary
            .special()
            .filter(|&id| !vocabulary.text(id).is_empty())
            .collect();
        tokens.sort_unstable_by_key(|&id| vocabulary.text(id));
        let first = std::array::from_fn(|byte| {
            tokens.partition_point(|&id| usize::from(vocabulary.text(id)[0]) < byte) as u32
        });
        Self {
            tokens: tokens.into(),
            first: Box::new(first),
            strips_right,
        }
    }

    /// Splits a text into fragments, in order. No fragment is empty.
    ///
    /// No token contains a byte that `said` bars for it.
    pub(super) fn split(
        &self,
        text: &[u8],
        special: SpecialTokens,
        said: Said<'_>,
        vocabulary: &Vocabulary,
    ) -> Vec<Fragment> {
        if text.is_empty() {
            return Vec::new();
        }
        let mut fragments = vec![Fragment::Text(0..text.len())];
        let mut present = self.occurring(text, vocabulary);
        if special == SpecialTokens::AsText {
            present.retain(|&id| !vocabulary.kinds(id).is_structure());
        }
        present.sort_unstable_by_key(|&id| (Reverse(vocabulary.text(id).len()), id));
        for id in present {
            let barred = if vocabulary.kinds(id).is_structure() {
                said.places
            } else if said.written.binary_search(&id).is_ok() {
                said.to_model
            } else {
                // Other text tokens are matched in message content too.
                &[]
            };
            fragments = self.cut_out(id, text, barred, fragments, vocabulary);
        }
        fragments
    }

    /// The special tokens whose texts occur anywhere, in no particular order.
    pub(super) fn occurring(&self, text: &[u8], vocabulary: &Vocabulary) -> Vec<TokenId> {
        let mut met = vec![false; self.tokens.len()];
        for start in 0..text.len() {
            let byte = usize::from(text[start]);
            let mut low = self.first[byte] as usize;
            let mut high = self.first[byte + 1] as usize;
            // Texts `low..high` start with the `depth` bytes from `start`.
            let mut depth = 1;
            while low < high {
                // The shortest text sorts first, and texts are distinct.
                if vocabulary.text(self.tokens[low]).len() == depth {
                    met[low] = true;
                    low += 1;
                }
                let Some(&next) = text.get(start + depth) else {
                    break;
                };
                let candidates = &self.tokens[low..high];
                let from = candidates.partition_point(|&id| vocabulary.text(id)[depth] < next);
                let to = candidates.partition_point(|&id| vocabulary.text(id)[depth] <= next);
                (low, high) = (low + from, low + to);
                depth += 1;
            }
        }
        let tokens = self.tokens.iter().zip(met);
        tokens.filter_map(|(&id, met)| met.then_some(id)).collect()
    }

    fn cut_out(
        &self,
        id: TokenId,
        text: &[u8],
        barred: &[usize],
        fragments: Vec<Fragment>,
        vocabulary: &Vocabulary,
    ) -> Vec<Fragment> {
        let needle = vocabulary.text(id);
        let finder = Finder::new(needle);
        let strips_right = self.strips_right.binary_search(&id).is_ok();
        let mut cut = Vec::with_capacity(fragments.len());
        for fragment in fragments {
            let Fragment::Text(mut range) = fragment else {
                cut.push(fragment);
                continue;
            };
            let mut searched = range.start;
            while let Some(found) = finder.find(&text[searched..range.end]) {
                let start = searched + found;
                if let Some(place) = first_within(barred, start..start + needle.len()) {
                    // Matches that start up to there contain that byte too.
                    searched = place + 1;
                    continue;
                }
                cut.extend((start > range.start).then_some(Fragment::Text(range.start..start)));
                cut.push(Fragment::Token(id));
                range.start = start + needle.len();
                if strips_right {
                    range.start += leading_space(&text[range.clone()]);
                }
                searched = range.start;
            }
            cut.extend((!range.is_empty()).then_some(Fragment::Text(range)));
        }
        cut
    }
}

/// The first of the ascending places that is in the range.
fn first_within(places: &[usize], range: Range<usize>) -> Option<usize> {
    let first = places.partition_point(|&place| place < range.start);
    places
        .get(first)
        .copied()
        .filter(|place| range.contains(place))
}

fn leading_space(text: &[u8]) -> usize {
    // C's `isspace`, which includes the vertical tab.
    let is_space = |byte: &&u8| byte.is_ascii_whitespace() || **byte == b'\x0b';
    text.iter().take_while(is_space).count()
}
