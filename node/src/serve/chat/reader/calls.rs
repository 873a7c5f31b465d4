//! The calls of one answer, as they become known.

use serde_json::Value;

use super::Piece;
use crate::serve::chat::ids;

/// What is known of a tool that may be called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::serve::chat) struct ToolShape {
    pub(in crate::serve::chat) name: String,
    /// Its parameters, in order.
    pub(in crate::serve::chat) parameters: Vec<Parameter>,
}

/// What is known of a parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::serve::chat) struct Parameter {
    pub(in crate::serve::chat) name: String,
    /// Whether it is a text, whatever it looks like.
    pub(in crate::serve::chat) is_text: bool,
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

    /// An argument of the call that began last, after so many others; `value` is JSON.
    pub(super) fn argument(&self, told: usize, name: &str, value: &str, out: Out<'_>) {
        let before = if told == 0 { "{" } else { ", " };
        let name = Value::from(name);
        self.arguments(&format!("{before}{name}: {value}"), out);
    }

    /// The end of so many arguments.
    pub(super) fn end_arguments(&self, told: usize, out: Out<'_>) {
        self.arguments(if told == 0 { "{}" } else { "}" }, out);
    }

    /// The next part of the arguments of the call that began last.
    #[allow(clippy::unused_self, reason = "a call must have begun")]
    pub(super) fn arguments(&self, text: &str, out: Out<'_>) {
        if !text.is_empty() {
            out(Piece::ToolArguments(text.to_owned().into()));
        }
    }
}
