//! The node's request and answer types, independent of any API dialect.
//!
//! The dialects (`http`) only translate into these types. A request that cannot be served is
//! refused with a specific [`RequestError`].

use std::time::{Duration, SystemTime};

use super::{Caller, until_next_day};
use crate::Private;
use crate::engine::{Message, SamplerSettings, TokenId};

/// A request to generate text.
pub struct Request {
    /// The sender of the request.
    pub caller: Caller,
    /// The model name from the request; empty for the default model.
    pub model: String,
    /// The prompt.
    pub input: Input,
    /// Sampling settings.
    pub sampling: SamplerSettings,
    /// The maximum number of tokens to generate; `None` for as many as fit in the context.
    pub max_tokens: Option<usize>,
    /// Stop sequences; they are not part of the answer.
    pub stop: Vec<Private<String>>,
    /// If set, report each token's log-probability and those of this many most likely tokens.
    pub logprobs: Option<usize>,
    /// The required format of the answer.
    pub format: Format,
}

/// A prompt.
pub enum Input {
    /// A conversation, rendered with the model's chat template.
    Chat(Chat),
    /// Raw text. Special tokens spelled out in it are treated as plain text.
    Text(Private<String>),
    /// Token ids, used unchanged.
    Tokens(Private<Vec<TokenId>>),
}

/// A conversation for which the model writes the next message.
pub struct Chat {
    /// The messages so far.
    pub messages: Private<Vec<Message>>,
    /// The tools that the model may call.
    pub tools: Vec<Tool>,
    /// Whether the model must call a tool.
    pub tool_choice: ToolChoice,
    /// Whether an answer may contain more than one call.
    pub parallel_tool_calls: bool,
    /// Whether the model thinks before it answers; `None` for the template's default.
    pub thinking: Option<bool>,
}

/// A function that a model may call.
#[derive(Clone)]
pub struct Tool {
    /// The function name.
    pub name: String,
    /// A description for the model.
    pub description: Option<Private<String>>,
    /// The JSON schema of the arguments, which are an object.
    pub parameters: Private<serde_json::Value>,
    /// Whether the arguments are constrained to the schema.
    pub strict: bool,
}

/// Whether a model calls tools.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ToolChoice {
    /// The model decides.
    #[default]
    Auto,
    /// The model calls no tool.
    None,
    /// The model calls at least one tool.
    Required,
    /// The model calls this tool.
    Named(String),
}

/// The required format of an answer.
#[derive(Clone, Default)]
pub enum Format {
    /// Unconstrained text.
    #[default]
    Text,
    /// A JSON object.
    JsonObject,
    /// A JSON value that matches this schema.
    JsonSchema(Private<serde_json::Value>),
    /// Text that matches this grammar, in `llguidance`'s dialect of Lark.
    Lark(Private<String>),
    /// Text that this regular expression matches from start to end.
    Regex(Private<String>),
}

/// Progress of an accepted request. The order is: any number of [`Self::Waiting`] and
/// [`Self::Loading`], one [`Self::Started`], the pieces of the answer, and one [`Self::Done`] or
/// [`Self::Failed`].
pub enum Update {
    /// The request is queued behind others, or waits for devices.
    Waiting {
        /// The number of requests ahead of it.
        before: usize,
    },
    /// The model is being loaded here, or another device is fetching its part.
    Loading {
        /// Bytes loaded so far.
        done: u64,
        /// Total bytes; 0 if unknown.
        total: u64,
    },
    /// Prompt processing starts.
    Started {
        /// The number of prompt tokens.
        prompt_tokens: usize,
        /// How many of them come from a cached prefix.
        cached_tokens: usize,
    },
    /// A part of the prompt was processed.
    Reading {
        /// Prompt tokens processed so far.
        done: usize,
    },
    /// A piece of the model's reasoning.
    Reasoning(Private<String>),
    /// A piece of the answer. It never splits a character.
    Content {
        /// The text; empty if a token produced none.
        text: Private<String>,
        /// The tokens, if log-probabilities were requested.
        tokens: Vec<TokenInfo>,
    },
    /// The model starts a tool call. Calls arrive one after the other.
    ToolCall {
        /// The index of the call, from 0.
        index: usize,
        /// Unique among all calls of this node.
        id: String,
        /// The name of the tool.
        name: String,
    },
    /// The next piece of the current call's arguments. Together the pieces form one JSON object.
    ToolArguments(Private<String>),
    /// The answer is complete.
    Done(Summary),
    /// The request failed.
    Failed(RequestError),
}

/// A token of an answer.
#[derive(Clone)]
pub struct TokenInfo {
    /// The token id.
    pub id: TokenId,
    /// The token's bytes; not necessarily whole characters.
    pub bytes: Private<Vec<u8>>,
    /// The natural logarithm of its probability, before the sampler settings are applied.
    pub logprob: f32,
    /// The most likely tokens at this position in the same form, best first, as many as requested.
    pub top: Vec<(TokenId, Private<Vec<u8>>, f32)>,
}

/// How an answer ended, and what it cost.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// Why it ended.
    pub finish: Finish,
    /// The number of prompt tokens.
    pub prompt_tokens: usize,
    /// Prompt tokens that were not computed for this request.
    pub cached_tokens: usize,
    /// Tokens that the model generated, including reasoning and calls.
    pub completion_tokens: usize,
    /// Generated tokens that were reasoning.
    pub reasoning_tokens: usize,
    /// Time from the request to the start of prompt processing.
    pub waited: Duration,
    /// Time spent loading the model.
    pub loading: Duration,
    /// Time spent processing the prompt.
    pub prefill: Duration,
    /// Time from the first token to the last.
    pub decode: Duration,
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// The model ended its turn.
    EndOfTurn,
    /// The model wrote a stop sequence.
    Stop,
    /// The answer reached `max_tokens` or the end of the context.
    Length,
    /// The model calls tools.
    ToolCalls,
}

impl RequestError {
    /// The error for a guest without enough tokens left today.
    pub(super) fn spent() -> Self {
        let retry_after = until_next_day(SystemTime::now());
        Self::Spent { retry_after }
    }
}

/// Why a request was not answered. It contains no text of a request or an answer.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum RequestError {
    /// There is no model with this name.
    #[error(
        "there is no model \"{model}\": GET /v1/models and `potluck models` list models, and `potluck serve \
         --alias` gives one of them another name"
    )]
    UnknownModel {
        /// The requested name.
        model: String,
    },
    /// A model of the catalogue that has not been downloaded.
    #[error("{model} is not on this device: `potluck pull {model}` fetches it")]
    NotFetched {
        /// The requested name.
        model: &'static str,
    },
    /// The prompt does not fit in the context.
    #[error("the prompt is {tokens} tokens long, but the context holds {context}")]
    TooLong {
        /// The number of prompt tokens, or a lower bound of it.
        tokens: usize,
        /// The context length in positions.
        context: usize,
    },
    /// The queue is full.
    #[error("the node is busy: {waiting} requests wait; try again in {} s", retry_after.as_secs())]
    Busy {
        /// The number of queued requests.
        waiting: usize,
        /// When to retry; at least 1 s.
        retry_after: Duration,
    },
    /// The guest has used its tokens for today, or has too few left for this request.
    #[error(
        "this guest's tokens for today are used up: a new day begins in {} min; the owner can allow more \
         with `potluck guests set`",
        retry_after.as_secs().div_ceil(60)
    )]
    Spent {
        /// Time until the guest gets new tokens.
        retry_after: Duration,
    },
    /// The guest no longer has access to this node.
    #[error("the owner of this node has ended this guest's access, or its time is over")]
    Withdrawn,
    /// The request is invalid.
    #[error("{message}")]
    Invalid {
        /// The field at fault as the request's dialect names it, if there is one.
        field: Option<&'static str>,
        /// What is wrong and how to fix it.
        message: String,
    },
    /// There is not enough memory.
    #[error("{message}")]
    NoMemory {
        /// How much is needed and how much is available.
        message: String,
    },
    /// The devices that should compute are away or have no room.
    #[error("the circle's devices cannot answer now: {message}")]
    NoDevices {
        /// The cause.
        message: String,
    },
    /// The node failed.
    #[error("the node cannot answer: {message}")]
    Failed {
        /// The cause.
        message: String,
    },
    /// The node is shutting down.
    #[error("the node is stopping")]
    Stopping,
}
