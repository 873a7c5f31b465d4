//! Emits the calls of one answer.

use serde_json::Value;

use super::Piece;
use crate::serve::chat::ids;

/// The name and parameters of an available tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::serve::chat) struct ToolShape {
    pub(in crate::serve::chat) name: String,
    /// The parameters, in order.
    pub(in crate::serve::chat) parameters: Vec<Parameter>,
}

/// A parameter of a tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::serve::chat) struct Parameter {
    pub(in crate::serve::chat) name: String,
    /// Whether it is always a string, whatever the value looks like.
    pub(in crate::serve::chat) is_text: bool,
}

/// The calls of one answer.
#[derive(Debug)]
pub(super) struct Calls {
    tools: Vec<ToolShape>,
    begun: usize,
}

/// The receiver of an answer's pieces.
pub(super) type Out<'o> = &'o mut dyn FnMut(Piece);

impl Calls {
    pub(super) fn new(tools: Vec<ToolShape>) -> Self {
        Self { tools, begun: 0 }
    }

    /// The number of calls emitted so far.
    pub(super) fn begun(&self) -> usize {
        self.begun
    }

    pub(super) fn tool(&self, name: &str) -> Option<&ToolShape> {
        self.tools.iter().find(|tool| tool.name == name)
    }

    /// Emits the start of a call. Its arguments must follow.
    pub(super) fn begin(&mut self, name: &str, out: Out<'_>) {
        let index = self.begun;
        self.begun += 1;
        out(Piece::ToolCall {
            index,
            id: ids::next(),
            name: name.to_owned(),
        });
    }

    /// Emits an argument of the current call, after `told` others; `value` is JSON.
    pub(super) fn argument(&self, told: usize, name: &str, value: &str, out: Out<'_>) {
        let before = if told == 0 { "{" } else { ", " };
        let name = Value::from(name);
        self.arguments(&format!("{before}{name}: {value}"), out);
    }

    /// Emits the end of the arguments, after `told` of them.
    pub(super) fn end_arguments(&self, told: usize, out: Out<'_>) {
        self.arguments(if told == 0 { "{}" } else { "}" }, out);
    }

    /// Emits a piece of the current call's arguments.
    #[allow(clippy::unused_self, reason = "a call must have begun")]
    pub(super) fn arguments(&self, text: &str, out: Out<'_>) {
        if !text.is_empty() {
            out(Piece::ToolArguments(text.to_owned().into()));
        }
    }
}
