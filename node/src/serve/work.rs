//! Requests on their way through a [`Lane`](super::lane::Lane): as they came, and as an engine reads them.

use super::client::Client;
use super::reader::Reader;
use super::{Input, Request};
use crate::engine::{GenerateOptions, Mask, TokenId};

/// A request as it came.
pub(super) struct Raw {
    pub(super) client: Client,
    pub(super) work: RawWork,
}

/// What it asks for.
pub(super) enum RawWork {
    Answer(Box<Request>),
    Embed(Vec<Input>),
}

/// A request that an engine can read.
pub(super) struct Ready {
    pub(super) client: Client,
    pub(super) work: Work,
}

/// What is to be computed.
pub(super) enum Work {
    Answer(Box<Answer>),
    /// Texts that become vectors, none of them empty.
    Embed(Vec<Vec<TokenId>>),
}

/// An answer that is to be written.
pub(super) struct Answer {
    /// Tokens that fit the context with room for one more.
    pub(super) prompt: Vec<TokenId>,
    /// With as many tokens as there is room for, at most.
    pub(super) options: GenerateOptions,
    pub(super) mask: Option<Box<dyn Mask>>,
    /// Control tokens that are written in the text.
    pub(super) shown: Vec<TokenId>,
    pub(super) reader: Reader,
}
