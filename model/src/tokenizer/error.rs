//! Errors of tokenizers.

use super::TokenId;
use crate::gguf::GgufError;

/// Why a file's tokenizer cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenizerError {
    /// A metadata field has the wrong type or is missing.
    #[error(transparent)]
    Field(#[from] GgufError),
    /// `tokenizer.ggml.model` names an unsupported algorithm.
    #[error(
        "tokenizer model `{model}` is not supported: choose a model file whose tokenizer is `gpt2` (byte-level BPE) or `llama` (SentencePiece)"
    )]
    UnknownModel {
        /// The unsupported name.
        model: String,
    },
    /// `tokenizer.ggml.pre` names an unsupported pre-tokenizer.
    #[error("pre-tokenizer `{pre}` is not supported: choose another model file")]
    UnknownPreTokenizer {
        /// The unsupported name.
        pre: String,
    },
    /// A list has fewer entries than there are tokens.
    #[error(
        "metadata key `{key}` has {entries} entries for {tokens} tokens: the file is corrupt, fetch it again"
    )]
    TooFew {
        /// The list's key.
        key: &'static str,
        /// Number of entries.
        entries: usize,
        /// Number of tokens in the vocabulary.
        tokens: usize,
    },
    /// The vocabulary is empty.
    #[error("the vocabulary is empty: choose another model file")]
    Empty,
    /// The texts exceed 4 GiB.
    #[error("the vocabulary's texts exceed 4 GiB: the file is corrupt, fetch it again")]
    TooLarge,
    /// Two tokens have the same text.
    #[error(
        "tokens {first} and {second} have the same text {text:?}, and a text may have one token only: \
         this vocabulary cannot be used (llama.cpp refuses it, too), choose another model file"
    )]
    DuplicateToken {
        /// The lower token id.
        first: TokenId,
        /// The higher token id.
        second: TokenId,
        /// Their text as in the file; invalid UTF-8 is replaced.
        text: String,
    },
    /// A score that is not a number.
    #[error(
        "metadata key `tokenizer.ggml.scores` must be numbers, and that of token {token} is NaN: \
         choose another model file"
    )]
    InvalidScore {
        /// The token id.
        token: TokenId,
    },
}
