//! The calls of one answer, as they become known.

use super::Piece;
use crate::serve::chat::ids;

/// What is known of a tool that may be called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::serve::chat) struct ToolShape {
    pub(in crate::serve::chat) name: String,
    /// The names of its parameters, in order.
    pub(in crate::serve::chat) parameters: Vec<String>,
}

/// The calls of one answer.
#[derive(Debug)]
pub(super) struct Calls {
    tools: Vec<ToolShape>,
    begun: usize,
}

/// Where the pieces of an answer go.
pub(super) type Out<'o> = &'o mut dyn FnMut(Piece);

impl Calls {
    pub(super) fn new(tools: Vec<ToolShape>) -> Self {
        Self { tools, begun: 0 }
    }

    /// How many calls have begun.
    pub(super) fn begun(&self) -> usize {
        self.begun
    }

    pub(super) fn tool(&self, name: &str) -> Option<&ToolShape> {
        self.tools.iter().find(|tool| tool.name == name)
    }

    /// A call whose tool is known. Each is followed by arguments.
    pub(super) fn begin(&mut self, name: &str, out: Out<'_>) {
        let index = self.begun;
        self.begun += 1;
        out(Piece::ToolCall {
            index,
            id: ids::next(),
            name: name.to_owned(),
        });
    }

    /// The next part of the arguments of the call that began last.
    #[allow(clippy::unused_self, reason = "a call must have begun")]
    pub(super) fn arguments(&self, text: &str, out: Out<'_>) {
        if !text.is_empty() {
            out(Piece::ToolArguments(text.to_owned().into()));
        }
    }
}
