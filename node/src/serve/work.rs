//! Requests in a [`Lane`](super::lane::Lane), before and after preparation.

use super::client::Client;
use super::reader::Reader;
use super::{Input, Request};
use crate::engine::{GenerateOptions, Mask, TokenId};

/// A request as submitted.
pub(super) struct Raw {
    pub(super) client: Client,
    pub(super) work: RawWork,
}

/// The content of a request.
pub(super) enum RawWork {
    Answer(Box<Request>),
    Embed(Vec<Input>),
}

/// A request that is ready for the engine.
pub(super) struct Ready {
    pub(super) client: Client,
    pub(super) work: Work,
}

/// The work of a request.
pub(super) enum Work {
    Answer(Box<Answer>),
    /// Tokenised texts to embed, none of them empty.
    Embed(Vec<Vec<TokenId>>),
}

/// An answer to generate.
pub(super) struct Answer {
    /// The prompt. It fits in the context with room for one more token.
    pub(super) prompt: Vec<TokenId>,
    /// `max_tokens` is limited to the room in the context.
    pub(super) options: GenerateOptions,
    pub(super) mask: Option<Box<dyn Mask>>,
    /// Control tokens to include in the text.
    pub(super) shown: Vec<TokenId>,
    pub(super) reader: Reader,
}
