//! Tokenizer fields of a GGUF file.

use super::{Texts, TokenId, TokenKind, TokenizerError};
use crate::gguf::Metadata;

/// A file's tokenizer fields: keys under `tokenizer.ggml.`, unless written in full.
#[derive(Debug, Clone, Default)]
pub struct VocabularyFields {
    /// `model`: `gpt2` for byte-level BPE, `llama` for SentencePiece.
    pub model: String,
    /// `pre`: how text is cut into words, for BPE.
    pub pre: Option<String>,
    /// `tokens`: one text per id.
    pub tokens: Texts,
    /// `token_type`: one entry per token, or none if all are normal. An entry is `None` if its
    /// number has no meaning.
    pub kinds: Vec<Option<TokenKind>>,
    /// `scores`: one entry per token, or none if all are 0.
    pub scores: Vec<f32>,
    /// `merges`: two texts separated by a space, best first, for BPE.
    pub merges: Option<Texts>,
    /// `bos_token_id`: the start of a text.
    pub bos: Option<TokenId>,
    /// `eos_token_id`: the end of a text.
    pub eos: Option<TokenId>,
    /// `eot_token_id`: the end of a turn.
    pub eot: Option<TokenId>,
    /// `eom_token_id`: the end of a message, after which a tool should answer.
    pub eom: Option<TokenId>,
    /// `unknown_token_id`: represents text that the vocabulary cannot express.
    pub unknown: Option<TokenId>,
    /// `fim_pad_token_id`
    pub fim_pad: Option<TokenId>,
    /// `fim_rep_token_id`
    pub fim_repo: Option<TokenId>,
    /// `fim_sep_token_id`
    pub fim_separator: Option<TokenId>,
    /// `add_bos_token`: whether prompts start with BOS.
    pub add_bos: Option<bool>,
    /// `add_space_prefix`: whether text gets a leading space, for SentencePiece.
    pub add_space_prefix: Option<bool>,
    /// `general.name`: the model's name, which selects a workaround.
    pub name: Option<String>,
}

const TOKENS: &str = "tokenizer.ggml.tokens";
const TOKEN_TYPE: &str = "tokenizer.ggml.token_type";
const SCORES: &str = "tokenizer.ggml.scores";
pub(super) const MERGES: &str = "tokenizer.ggml.merges";

impl VocabularyFields {
    /// Reads the fields of a file without copying its texts.
    ///
    /// # Errors
    /// [`TokenizerError::Field`] if a field has the wrong type, or if `model` or `tokens` is
    /// missing; [`TokenizerError::TooLarge`].
    pub fn from_metadata(metadata: &Metadata) -> Result<Self, TokenizerError> {
        let id = |name: &str| metadata.u32(&format!("tokenizer.ggml.{name}_token_id"));
        let text = |key: &str| Ok::<_, TokenizerError>(metadata.str(key)?.map(String::from));
        let merges = metadata.strings(MERGES)?;
        let kinds = metadata.i32s(TOKEN_TYPE)?;
        let scores = metadata.f32s(SCORES)?;
        Ok(Self {
            model: metadata.require_str("tokenizer.ggml.model")?.into(),
            pre: text("tokenizer.ggml.pre")?,
            tokens: Texts::view(&metadata.require_strings(TOKENS)?)?,
            kinds: kinds.map_or_else(Vec::new, |kinds| {
                kinds.iter().map(TokenKind::from_gguf).collect()
            }),
            scores: scores.map_or_else(Vec::new, |scores| scores.iter().collect()),
            merges: merges.as_ref().map(Texts::view).transpose()?,
            bos: id("bos")?,
            eos: id("eos")?,
            eot: id("eot")?,
            eom: id("eom")?,
            unknown: id("unknown")?,
            fim_pad: id("fim_pad")?,
            fim_repo: id("fim_rep")?,
            fim_separator: id("fim_sep")?,
            add_bos: metadata.bool("tokenizer.ggml.add_bos_token")?,
            add_space_prefix: metadata.bool("tokenizer.ggml.add_space_prefix")?,
            name: metadata.text("general.name"),
        })
    }

    /// Checks that a non-empty list has an entry per token, and drops surplus entries.
    pub(super) fn fit<T>(
        tokens: usize,
        mut list: Vec<T>,
        key: &'static str,
    ) -> Result<Vec<T>, TokenizerError> {
        if !list.is_empty() && list.len() < tokens {
            return Err(TokenizerError::TooFew {
                key,
                entries: list.len(),
                tokens,
            });
        }
        list.truncate(tokens);
        Ok(list)
    }

    /// Takes the kinds, one per token.
    pub(super) fn take_kinds(&mut self) -> Result<Vec<Option<TokenKind>>, TokenizerError> {
        let tokens = self.tokens.len();
        let mut kinds = Self::fit(tokens, std::mem::take(&mut self.kinds), TOKEN_TYPE)?;
        kinds.resize(tokens, Some(TokenKind::Normal));
        Ok(kinds)
    }

    /// Takes the scores: empty, or one per token.
    pub(super) fn take_scores(&mut self) -> Result<Vec<f32>, TokenizerError> {
        Self::fit(self.tokens.len(), std::mem::take(&mut self.scores), SCORES)
    }
}
