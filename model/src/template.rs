//! temporary
use crate::{gguf::Metadata, tokenizer::Tokenizer};
#[derive(Debug)]
pub struct ChatTemplate;
#[derive(Debug, thiserror::Error)]
#[error("template")]
pub struct TemplateError;
impl ChatTemplate { pub fn from_metadata(_m: &Metadata, _t: &Tokenizer) -> Result<Option<Self>, TemplateError> { Ok(None) } }
