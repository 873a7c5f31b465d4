//! Tokenizers from the fields of a GGUF file: convert text to token ids and back.
//!
//! Two algorithms cover the supported model families: byte-level BPE with a pre-tokenizer
//! (`tokenizer.ggml.model` = `gpt2`) and SentencePiece-style merging by score (`llama`). Both match
//! special tokens first, and produce the same ids as llama.cpp for the same file.
//!
//! **Why not the `tokenizers` crate?** It reads its own JSON, not GGUF. Its BPE needs ranked
//! merges, while SentencePiece vocabularies in GGUF have only scores, and the two differ in corner
//! cases. It copies every token and merge into hash tables of strings, which takes longer than we
//! can afford before the first token, and several times the memory. Here the texts stay in the
//! mapped file, are found through tables of a few bytes per token, and the merge loop is a page
//! long. Unicode classes, hash tables and substring search come from crates.
//!
//! Encoding takes O(n log n) for any text of n bytes, and never fails.

mod alphabet;
mod bpe;
mod decoder;
mod error;
mod fields;
mod merge;
mod partition;
mod pre;
mod same;
mod sentence_piece;
mod special;
#[cfg(test)]
pub(crate) mod tests;
mod texts;
mod vocabulary;

use std::borrow::Cow;
use std::fmt;

use bpe::BytePairs;
pub use decoder::TokenDecoder;
pub use error::TokenizerError;
pub use fields::VocabularyFields;
use partition::{Fragment, SpecialIndex};
pub use partition::{Said, SpecialTokens};
use pre::PreTokenizer;
pub use same::OtherVocabulary;
use sentence_piece::SentencePieces;
use special::GivenIds;
pub use texts::Texts;
pub use vocabulary::TokenKind;
use vocabulary::{Kinds, Vocabulary};

use crate::gguf::{GgufError, Metadata};

/// A token's number, from 0.
pub type TokenId = u32;

/// The space sign of SentencePiece vocabularies.
const SPACE_SIGN: &str = "▁";

/// Maximum bytes merged in one call; longer texts are cut here. Symbols are counted in 32 bits.
const PIECE_BYTES: usize = 1 << 30;

/// Converts text to tokens and back.
pub struct Tokenizer {
    vocabulary: Vocabulary,
    algorithm: Algorithm,
    special: SpecialIndex,
    bos: Option<TokenId>,
    eos: Option<TokenId>,
    // Ascending.
    ends: Box<[TokenId]>,
    adds_bos: bool,
}

enum Algorithm {
    BytePairs(BytePairs),
    SentencePieces(SentencePieces),
}

impl Tokenizer {
    /// Creates the tokenizer of a file.
    ///
    /// # Errors
    /// Returns a [`TokenizerError`] for fields that are missing, contradictory or unsupported.
    pub fn from_metadata(metadata: &Metadata) -> Result<Self, TokenizerError> {
        Self::from_fields(VocabularyFields::from_metadata(metadata)?)
    }

    /// Creates the tokenizer that these fields describe.
    ///
    /// # Errors
    /// Returns a [`TokenizerError`] for fields that are missing, contradictory or unsupported.
    pub fn from_fields(mut fields: VocabularyFields) -> Result<Self, TokenizerError> {
        let (pre, is_sentence_piece) = match &*fields.model {
            "gpt2" => (Some(PreTokenizer::named(fields.pre.as_deref())?), false),
            "llama" => (None, true),
            unknown => {
                return Err(TokenizerError::UnknownModel {
                    model: unknown.into(),
                });
            }
        };
        let kinds = fields.take_kinds()?.into_iter().map(Kinds::of).collect();
        let scores = fields.take_scores()?.into();
        let mut vocabulary = Vocabulary::new(fields.tokens, kinds, scores)?;

        // Use SentencePiece's own ids where the file names none. An id beyond the vocabulary counts
        // as missing.
        let id = |given: Option<TokenId>, usual: TokenId| {
            let within = |id: &TokenId| (*id as usize) < vocabulary.len();
            given
                .filter(within)
                .or(is_sentence_piece.then_some(usual).filter(within))
        };
        let known = |given: Option<TokenId>| given.filter(|&id| (id as usize) < vocabulary.len());
        let (bos, eos, unknown) = (id(fields.bos, 1), id(fields.eos, 2), id(fields.unknown, 0));
        let given = GivenIds {
            eos,
            eot: known(fields.eot),
            eom: known(fields.eom),
            fim_pad: known(fields.fim_pad),
            fim_repo: known(fields.fim_repo),
            fim_separator: known(fields.fim_separator),
        };
        let ends = special::find_ends(&mut vocabulary, given);
        let adds_bos = fields
            .add_bos
            .unwrap_or(pre.is_none_or(PreTokenizer::adds_bos));
        let algorithm = match pre {
            Some(pre) => {
                let merges = fields.merges.ok_or_else(|| GgufError::MissingKey {
                    key: fields::MERGES.into(),
                })?;
                Algorithm::BytePairs(BytePairs::new(merges, pre))
            }
            None => Algorithm::SentencePieces(SentencePieces::new(
                &vocabulary,
                unknown,
                fields.add_space_prefix.unwrap_or(true),
            )),
        };
        let strips_right = strips_right(&vocabulary, fields.name.as_deref());
        Ok(Self {
            special: SpecialIndex::new(&vocabulary, strips_right),
            vocabulary,
            algorithm,
            bos,
            eos,
            ends,
            adds_bos: adds_bos && bos.is_some(),
        })
    }

    /// Encodes a text, without BOS.
    pub fn encode(&self, text: &str, special: SpecialTokens) -> Vec<TokenId> {
        self.encode_bytes(text.as_bytes(), special)
    }

    /// Encodes a text that need not be UTF-8, without BOS.
    ///
    /// Invalid bytes become byte tokens where the vocabulary has them (SentencePiece), else U+FFFD
    /// each.
    pub fn encode_bytes(&self, text: &[u8], special: SpecialTokens) -> Vec<TokenId> {
        let mut tokens = Vec::new();
        let fragments = self
            .special
            .split(text, special, Said::default(), &self.vocabulary);
        self.append(text, fragments, &mut tokens);
        tokens
    }

    /// Encodes a complete prompt: BOS, if [`Self::adds_bos`], and the tokens of [`Self::encode`].
    pub fn encode_prompt(&self, text: &str, special: SpecialTokens) -> Vec<TokenId> {
        let mut tokens = Vec::new();
        tokens.extend(self.bos.filter(|_| self.adds_bos));
        tokens.extend(self.encode(text, special));
        tokens
    }

    /// Encodes a rendered chat template: matches special tokens, and adds a leading BOS if
    /// [`Self::adds_bos`], unless the template has written it.
    ///
    /// Message content stays text: see [`Said`].
    pub fn encode_rendered(&self, prompt: &str, said: Said<'_>) -> Vec<TokenId> {
        let mut tokens = Vec::new();
        tokens.extend(self.bos.filter(|_| self.adds_bos));
        let text = prompt.as_bytes();
        let fragments = self
            .special
            .split(text, SpecialTokens::Parse, said, &self.vocabulary);
        self.append(text, fragments, &mut tokens);
        if self.adds_bos && tokens.get(1) == tokens.first() {
            tokens.remove(0);
        }
        tokens
    }

    /// The tokens of [`Self::encode_rendered`] for which [`Self::is_structure`] is true, or that
    /// the template [writes](Self::written_by).
    pub(crate) fn structure_of(&self, prompt: &str, said: Said<'_>) -> Vec<TokenId> {
        let text = prompt.as_bytes();
        let fragments = self
            .special
            .split(text, SpecialTokens::Parse, said, &self.vocabulary);
        let tokens = fragments.into_iter().filter_map(|fragment| match fragment {
            Fragment::Token(token) => Some(token),
            Fragment::Text(_) => None,
        });
        let is_written = |token: TokenId| said.written.binary_search(&token).is_ok();
        tokens
            .filter(|&token| self.is_structure(token) || is_written(token))
            .collect()
    }

    /// The texts of the tokens for which [`Self::is_structure`] is true. No text is empty.
    pub(crate) fn structure_texts(&self) -> impl Iterator<Item = &[u8]> {
        let special = self.vocabulary.special();
        let structure = special.filter(|&id| self.is_structure(id));
        structure
            .map(|id| self.vocabulary.text(id))
            .filter(|text| !text.is_empty())
    }

    /// Tokens that a vocabulary declares as text, to be matched whole and shown, but that act as
    /// control tokens when a chat template writes them. These are texts with a sign at each end,
    /// such as `<think>` or `[INST]`, that occur in the template's source; and the tokens around
    /// the parts of a message, however a template assembles their names. Ascending.
    pub(crate) fn written_by(&self, source: &str) -> Box<[TokenId]> {
        let occurring = self.special.occurring(source.as_bytes(), &self.vocabulary);
        let parts = special::SHOWN.iter().chain([&special::PART_END]);
        let parts = parts.filter_map(|name| self.vocabulary.find(name.as_bytes()));
        let mut written: Vec<_> = occurring.into_iter().chain(parts).collect();
        written.retain(|&id| {
            let text = str::from_utf8(self.vocabulary.text(id)).unwrap_or_default();
            !self.is_structure(id) && special::is_markup(text)
        });
        written.sort_unstable();
        written.dedup();
        written.into()
    }

    /// Length in bytes of the longest token, and thus the maximum that a token can represent.
    pub fn longest_token(&self) -> usize {
        self.vocabulary.longest()
    }

    /// The token that starts a text, if any.
    pub fn bos(&self) -> Option<TokenId> {
        self.bos
    }

    /// The token that ends a text, if any.
    pub fn eos(&self) -> Option<TokenId> {
        self.eos
    }

    /// Whether prompts start with BOS. If the file does not specify it, this is the usual choice
    /// for its kind of tokenizer.
    pub fn adds_bos(&self) -> bool {
        self.adds_bos
    }

    /// Whether the token ends the model's output: the end of a text, a turn or a message.
    pub fn is_end(&self, token: TokenId) -> bool {
        self.ends.binary_search(&token).is_ok()
    }

    /// The tokens for which [`Self::is_end`] is true, ascending.
    pub fn ends(&self) -> &[TokenId] {
        &self.ends
    }

    /// The number of tokens.
    pub fn vocabulary_size(&self) -> usize {
        self.vocabulary.len()
    }

    /// Whether the token is structure, which is left out of shown text.
    pub fn is_structure(&self, token: TokenId) -> bool {
        self.vocabulary.kinds(token).is_structure()
    }

    /// The bytes that a token represents, possibly part of a character; special tokens in their
    /// spelling. Empty for reserved tokens and ids beyond the vocabulary.
    pub fn token_bytes(&self, token: TokenId) -> Cow<'_, [u8]> {
        let text = self.vocabulary.text(token);
        let kinds = self.vocabulary.kinds(token);
        if kinds.is_special() {
            return text.into();
        }
        if kinds.has(TokenKind::Normal) {
            return match self.algorithm {
                Algorithm::BytePairs(_) => bytes_of_written(text).into(),
                Algorithm::SentencePieces(_) => with_spaces(text),
            };
        }
        if kinds.has(TokenKind::Byte) {
            return byte_of_name(text).map_or_else(|| text.into(), |byte| vec![byte].into());
        }
        Cow::Borrowed(&[])
    }

    /// A token's text in readable form: invalid bytes and control characters are escaped.
    pub fn token_text(&self, token: TokenId) -> String {
        let mut readable = String::new();
        for chunk in self.token_bytes(token).utf8_chunks() {
            for char in chunk.valid().chars() {
                if char.is_control() {
                    readable.extend(char.escape_default());
                } else {
                    readable.push(char);
                }
            }
            readable.extend(chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}")));
        }
        readable
    }

    /// A decoder for tokens that continue a text.
    pub fn decoder(&self) -> TokenDecoder<'_> {
        TokenDecoder::new(self)
    }

    /// Decodes all these tokens, without control tokens and without the leading space that encoding
    /// added.
    pub fn decode(&self, tokens: &[TokenId]) -> String {
        let mut decoder = self.decoder();
        let mut text = String::new();
        for &token in tokens {
            text.push_str(decoder.push(token));
        }
        text.push_str(decoder.finish());
        match &self.algorithm {
            Algorithm::SentencePieces(pieces) if pieces.add_space && text.starts_with(' ') => {
                text.split_off(1)
            }
            _ => text,
        }
    }

    fn append(&self, text: &[u8], fragments: Vec<Fragment>, tokens: &mut Vec<TokenId>) {
        let mut after_special = true;
        for fragment in fragments {
            match fragment {
                Fragment::Token(token) => {
                    tokens.push(token);
                    after_special = true;
                }
                Fragment::Text(range) => {
                    for piece in text[range].chunks(PIECE_BYTES) {
                        self.append_plain(piece, after_special, tokens);
                        after_special = false;
                    }
                }
            }
        }
    }

    fn append_plain(&self, text: &[u8], after_special: bool, tokens: &mut Vec<TokenId>) {
        match &self.algorithm {
            Algorithm::BytePairs(pairs) => pairs.encode(text, &self.vocabulary, tokens),
            Algorithm::SentencePieces(pieces) => {
                pieces.encode(text, after_special, &self.vocabulary, tokens);
            }
        }
    }
}

impl fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokenizer")
            .field("tokens", &self.vocabulary.len())
            .field("bos", &self.bos)
            .field("eos", &self.eos)
            .finish_non_exhaustive()
    }
}

/// The tokens after which white space is dropped, ascending. For Phi 3 models these are all special
/// tokens but three; no field of the file specifies it.
fn strips_right(vocabulary: &Vocabulary, name: Option<&str>) -> Box<[TokenId]> {
    let name = name.unwrap_or_default().to_ascii_lowercase();
    if !name.contains("phi-3") && !name.contains("phi3") {
        return Box::default();
    }
    let kept: [&[u8]; 3] = [b"<unk>", b"<s>", b"<|endoftext|>"];
    vocabulary
        .special()
        .filter(|&id| !kept.contains(&vocabulary.text(id)))
        .collect()
}

/// Decodes the byte alphabet; characters outside it represent themselves.
fn bytes_of_written(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut utf8 = [0; 4];
    for char in String::from_utf8_lossy(text).chars() {
        match alphabet::byte_of(char) {
            Some(byte) => bytes.push(byte),
            None => bytes.extend_from_slice(char.encode_utf8(&mut utf8).as_bytes()),
        }
    }
    bytes
}

/// Replaces [`SPACE_SIGN`] by spaces.
fn with_spaces(text: &[u8]) -> Cow<'_, [u8]> {
    let finder = memchr::memmem::Finder::new(SPACE_SIGN);
    let Some(first) = finder.find(text) else {
        return text.into();
    };
    let mut spaced = text[..first].to_vec();
    let mut rest = &text[first..];
    while let Some(sign) = finder.find(rest) {
        spaced.extend_from_slice(&rest[..sign]);
        spaced.push(b' ');
        rest = &rest[sign + SPACE_SIGN.len()..];
    }
    spaced.extend_from_slice(rest);
    spaced.into()
}

/// The byte that a token named `<0xXX>` represents.
fn byte_of_name(name: &[u8]) -> Option<u8> {
    let digits = name.strip_prefix(b"<0x")?.strip_suffix(b">")?;
    u8::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()
}
