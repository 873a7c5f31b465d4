//! The index for masks: a trie of the tokens' bytes.

use std::sync::Arc;

use llguidance::toktrie::{ApproximateTokEnv, TokEnv, TokRxInfo, TokTrie};

use super::GrammarError;
use crate::tokenizer::{TokenId, Tokenizer};

/// Longer tokens are never allowed, because the trie is limited. Real tokens have up to 256 bytes.
const LONGEST: usize = 512;
/// Maximum total bytes of all tokens, which limits the nodes of the trie. Vocabularies of 262,144
/// tokens have 2 MiB.
const MOST_BYTES: usize = (1 << 22) - 1;
/// Maximum number of tokens, for the same reason.
const MOST_TOKENS: usize = 1 << 22;

/// Builds the trie of a tokenizer's tokens. Control tokens have no bytes that a grammar could
/// spell; grammars name them by id.
pub(super) fn environment(tokenizer: &Tokenizer) -> Result<TokEnv, GrammarError> {
    let refused = |reason: &str| GrammarError::Vocabulary {
        reason: reason.to_owned(),
    };
    let size = tokenizer.vocabulary_size();
    let Some(&end) = tokenizer.ends().first() else {
        return Err(refused("its vocabulary has no token that ends an answer"));
    };
    if size > MOST_TOKENS {
        return Err(refused("it has more than 4,194,304 tokens"));
    }
    let words: Vec<Vec<u8>> = (0..size as TokenId).map(|id| word(tokenizer, id)).collect();
    if words.iter().map(Vec::len).sum::<usize>() > MOST_BYTES {
        return Err(refused("the texts of its tokens have more than 4 MiB"));
    }
    let trie = TokTrie::from(&TokRxInfo::new(size as u32, end), &words);
    let trie = trie.with_eos_tokens(tokenizer.ends());
    Ok(Arc::new(ApproximateTokEnv::new(trie)))
}

/// The trie's bytes for a token; empty for one that is never allowed.
fn word(tokenizer: &Tokenizer, id: TokenId) -> Vec<u8> {
    let bytes = tokenizer.token_bytes(id);
    if bytes.len() > LONGEST {
        return Vec::new();
    }
    if !tokenizer.is_structure(id) && !tokenizer.is_end(id) {
        return bytes.into_owned();
    }
    // A leading byte that no text starts with marks control tokens.
    let mut marked = vec![TokTrie::SPECIAL_TOKEN_MARKER];
    marked.extend_from_slice(&bytes);
    marked
}
