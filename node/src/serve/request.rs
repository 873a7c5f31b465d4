//! What a program asks of the node, in whatever dialect it says so.
//!
//! The dialects (`http`) translate into these types and nothing else; what is said here and cannot be
//! done is refused by name, with a [`RequestError`].

use std::time::{Duration, SystemTime};

use super::{Caller, until_next_day};
use crate::Private;
use crate::engine::{Message, SamplerSettings, TokenId};

/// A text that a model is to write.
pub struct Request {
    /// Who asks.
    pub caller: Caller,
    /// The model as the program names it; the default one if empty.
    pub model: String,
    /// What it goes on from.
    pub input: Input,
    /// How tokens are chosen.
    pub sampling: SamplerSettings,
    /// At most this many tokens; as many as the context has room for if `None`.
    pub max_tokens: Option<usize>,
    /// Texts at which the answer ends; they are not part of it.
    pub stop: Vec<Private<String>>,
    /// Tell each token's log-probability, and those of so many of the most likely ones.
    pub logprobs: Option<usize>,
    /// What the answer has to be.
    pub format: Format,
}

/// What a model goes on from.
pub enum Input {
    /// A conversation, written by the model's chat template.
    Chat(Chat),
    /// A text as it stands. Special tokens that are written in it are text.
    Text(Private<String>),
    /// Tokens as they are.
    Tokens(Private<Vec<TokenId>>),
}

/// A conversation whose next message the model writes.
pub struct Chat {
    /// What was said.
    pub messages: Private<Vec<Message>>,
    /// What the model may call.
    pub tools: Vec<Tool>,
    /// Whether it has to.
    pub tool_choice: ToolChoice,
    /// Whether an answer may have more than one call.
    pub parallel_tool_calls: bool,
    /// Whether the model thinks before it answers; as its template has it if `None`.
    pub thinking: Option<bool>,
}

/// A function that a model may call.
#[derive(Clone)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: Option<Private<String>>,
    /// A JSON schema of its arguments, an object.
    pub parameters: Private<serde_json::Value>,
    /// Whether arguments are kept to the schema.
    pub strict: bool,
}

/// Whether a model calls tools.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ToolChoice {
    /// As it likes.
    #[default]
    Auto,
    /// Not at all.
    None,
    /// One at least.
    Required,
    /// This one.
    Named(String),
}

/// What an answer has to be.
#[derive(Clone, Default)]
pub enum Format {
    /// Any text.
    #[default]
    Text,
    /// A JSON object.
    JsonObject,
    /// A JSON value of this schema.
    JsonSchema(Private<serde_json::Value>),
    /// A text of this grammar, in `llguidance`'s dialect of Lark.
    Lark(Private<String>),
    /// A text that this regular expression matches as a whole.
    Regex(Private<String>),
}

/// What happens to a request that was taken, in this order: any number of [`Self::Waiting`] and
/// [`Self::Loading`], one [`Self::Started`], the answer's pieces, and one [`Self::Done`] or
/// [`Self::Failed`].
pub enum Update {
    /// Others come first, or devices are waited for.
    Waiting {
        /// How many others.
        before: usize,
    },
    /// The model is made ready: here, or at a device that fetches its part.
    Loading {
        /// What is done of it, in bytes.
        done: u64,
        /// All of it; 0 if it is not known.
        total: u64,
    },
    /// The prompt is read from here on.
    Started {
        /// Its tokens.
        prompt_tokens: usize,
        /// Those of them that were kept from earlier requests.
        cached_tokens: usize,
    },
    /// A part of the prompt was read.
    Reading {
        /// Tokens of the prompt that are read.
        done: usize,
    },
    /// What the model thinks before it answers.
    Reasoning(Private<String>),
    /// A part of the answer. It never ends within a character.
    Content {
        /// Its text; empty where a token gave none.
        text: Private<String>,
        /// Its tokens, if they were asked for.
        tokens: Vec<TokenInfo>,
    },
    /// The model begins to call a tool. Calls come one after the other.
    ToolCall {
        /// From 0.
        index: usize,
        /// Unique among all calls of this node.
        id: String,
        /// The tool's name.
        name: String,
    },
    /// The next part of the arguments of the call at hand; together they are one JSON object.
    ToolArguments(Private<String>),
    /// The answer is whole.
    Done(Summary),
    /// It is not, and will not be.
    Failed(RequestError),
}

/// A token of an answer.
#[derive(Clone)]
pub struct TokenInfo {
    /// Its id.
    pub id: TokenId,
    /// Its bytes, which need not be whole characters.
    pub bytes: Private<Vec<u8>>,
    /// The natural logarithm of its probability, before any setting of the sampler.
    pub logprob: f32,
    /// The most likely tokens here, likewise, best first; as many as were asked for.
    pub top: Vec<(TokenId, Private<Vec<u8>>, f32)>,
}

/// How an answer ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// Why.
    pub finish: Finish,
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Those of them that were not computed for this request.
    pub cached_tokens: usize,
    /// Tokens that the model wrote, thoughts and calls included.
    pub completion_tokens: usize,
    /// Those of them that were thoughts.
    pub reasoning_tokens: usize,
    /// From the request to the start of reading.
    pub waited: Duration,
    /// To make the model ready.
    pub loading: Duration,
    /// To read the prompt.
    pub prefill: Duration,
    /// From the first token to the last.
    pub decode: Duration,
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// The model ended it.
    EndOfTurn,
    /// One of the texts to stop at came.
    Stop,
    /// As many tokens as were asked for, or as the context has room for.
    Length,
    /// The model calls tools.
    ToolCalls,
}

impl RequestError {
    /// A guest has no tokens left for this.
    pub(super) fn spent() -> Self {
        let retry_after = until_next_day(SystemTime::now());
        Self::Spent { retry_after }
    }
}

/// A request that is not answered. No text of a request or an answer is in it.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum RequestError {
    /// No such model.
    #[error("no model \"{model}\" here: `potluck models` and GET /v1/models list those there are")]
    UnknownModel {
        /// The name.
        model: String,
    },
    /// A model of the catalogue that is not on this device.
    #[error("{model} is not on this device: `potluck pull {model}` fetches it")]
    NotFetched {
        /// The name.
        model: &'static str,
    },
    /// The prompt does not fit.
    #[error("the prompt is {tokens} tokens long, but the context holds {context}")]
    TooLong {
        /// The prompt's tokens, or the fewest that they can be.
        tokens: usize,
        /// Positions.
        context: usize,
    },
    /// As many requests as may be wait already.
    #[error("the node is busy: {waiting} requests wait; try again in {} s", retry_after.as_secs())]
    Busy {
        /// How many wait.
        waiting: usize,
        /// When it is worth trying again, at least 1 s.
        retry_after: Duration,
    },
    /// A guest has used the day's tokens, or has too few left for this.
    #[error(
        "this guest's tokens for today are used up: a new day begins in {} min; the owner can allow more \
         with `potluck guests set`",
        retry_after.as_secs().div_ceil(60)
    )]
    Spent {
        /// When there are new ones.
        retry_after: Duration,
    },
    /// A guest may use this node no longer.
    #[error("the owner of this node has ended this guest's access, or its time is over")]
    Withdrawn,
    /// Something that was said is wrong.
    #[error("{message}")]
    Invalid {
        /// The field, as the request's dialect names it, if one is to blame.
        field: Option<&'static str>,
        /// What is wrong and what to do.
        message: String,
    },
    /// There is not enough memory.
    #[error("{message}")]
    NoMemory {
        /// What is needed and what there is.
        message: String,
    },
    /// The devices that are to compute are away, or have no room.
    #[error("the circle's devices cannot answer now: {message}")]
    NoDevices {
        /// Why.
        message: String,
    },
    /// The node failed.
    #[error("the node cannot answer: {message}")]
    Failed {
        /// Why.
        message: String,
    },
    /// The node ends.
    #[error("the node is stopping")]
    Stopping,
}
