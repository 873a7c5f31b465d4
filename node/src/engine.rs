//! The engine as the node sees it: the one place that names what the model crate provides.
#![allow(
    missing_docs,
    unused_variables,
    reason = "a shim until the engine lands"
)]

use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

pub use potluck_model::tokenizer::{SpecialTokens, TokenId, Tokenizer};
pub use potluck_model::{Isa, ModelConfig, ModelError};

#[derive(Debug, Clone, Default)]
pub struct EngineOptions {
    pub threads: Option<NonZeroUsize>,
    pub context: usize,
}
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub role: String,
    pub content: String,
}
pub struct ChatTemplate;
impl ChatTemplate {
    pub fn render(
        &self,
        messages: &[Message],
        add_generation_prompt: bool,
    ) -> Result<String, ModelError> {
        unimplemented!()
    }
}
pub struct Engine;
pub struct Session;
impl Session {
    pub fn tokens(&self) -> &[TokenId] {
        unimplemented!()
    }
    pub fn capacity(&self) -> usize {
        unimplemented!()
    }
    pub fn truncate(&mut self, n: usize) {
        unimplemented!()
    }
}
#[derive(Debug, Clone)]
pub struct GenerateOptions {
    pub sampling: SamplerSettings,
    pub max_tokens: usize,
}
#[derive(Debug, Clone, Default)]
pub struct SamplerSettings {
    pub temperature: f32,
    pub top_k: usize,
    pub top_p: f32,
    pub min_p: f32,
    pub repetition_penalty: f32,
    pub repetition_window: usize,
    pub seed: u64,
}
impl SamplerSettings {
    pub fn greedy() -> Self {
        unimplemented!()
    }
}
pub enum Event<'a> {
    Prefill { done: usize, total: usize },
    Token { id: TokenId, text: &'a str },
}
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopReason {
    EndOfTurn,
    MaxTokens,
    ContextFull,
    Cancelled,
}
pub struct Generation {
    pub token_ids: Vec<TokenId>,
    pub text: String,
    pub stop_reason: StopReason,
    pub prompt_tokens: usize,
    pub prefill: Duration,
    pub decode: Duration,
    pub time_to_first_token: Duration,
}
pub struct Score {
    pub logprobs: Vec<f32>,
    pub top: Vec<Vec<(TokenId, f32)>>,
}
impl Engine {
    pub fn open(path: &Path, options: &EngineOptions) -> Result<Self, ModelError> {
        unimplemented!()
    }
    pub fn config(&self) -> &ModelConfig {
        unimplemented!()
    }
    pub fn tokenizer(&self) -> &Tokenizer {
        unimplemented!()
    }
    pub fn template(&self) -> Option<&ChatTemplate> {
        unimplemented!()
    }
    pub fn threads(&self) -> usize {
        unimplemented!()
    }
    pub fn isa(&self) -> Isa {
        unimplemented!()
    }
    pub fn weight_bytes_per_token(&self) -> u64 {
        unimplemented!()
    }
    pub fn new_session(&self) -> Result<Session, ModelError> {
        unimplemented!()
    }
    pub fn generate(
        &mut self,
        session: &mut Session,
        prompt: &[TokenId],
        options: &GenerateOptions,
        on_event: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
    ) -> Result<Generation, ModelError> {
        unimplemented!()
    }
    pub fn score(
        &mut self,
        session: &mut Session,
        ids: &[TokenId],
        top: usize,
        on_progress: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
    ) -> Result<Score, ModelError> {
        unimplemented!()
    }
}
