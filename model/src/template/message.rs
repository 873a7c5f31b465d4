//! Messages of a conversation, as templates receive them.

use std::fmt;

use minijinja::value::{Value, ValueKind};

use super::TemplateError;
use super::python::ExponentFloat;
use super::role::Role;

/// A message.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// The role of its author.
    pub role: Role,
    /// Its content.
    pub content: Content,
    /// The model's thoughts before this message, where they are kept separately
    /// (`reasoning_content`).
    pub reasoning: Option<String>,
    /// The model's tool calls.
    pub tool_calls: Vec<ToolCall>,
    /// The name of the answering tool.
    pub name: Option<String>,
    /// The id of the call that a tool answers.
    pub tool_call_id: Option<String>,
}

impl Message {
    /// Creates a message that contains only text.
    pub fn new(role: Role, text: impl Into<String>) -> Self {
        Self {
            role,
            content: Content::Text(text.into()),
            reasoning: None,
            tool_calls: Vec::new(),
            name: None,
            tool_call_id: None,
        }
    }
}

/// The content of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A single text.
    Text(String),
    /// Several texts in order, which templates receive as a list of `{"type": "text", "text": …}`.
    Parts(Vec<String>),
}

impl Content {
    /// The texts, in order.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        let texts = match self {
            Self::Text(text) => std::slice::from_ref(text),
            Self::Parts(texts) => texts,
        };
        texts.iter().map(String::as_str)
    }

    /// Length of all texts, in bytes.
    pub fn bytes(&self) -> usize {
        self.texts().map(str::len).sum()
    }
}

/// A tool call by the model.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolCall {
    /// The id that the tool's answer refers to.
    pub id: Option<String>,
    /// The tool's name.
    pub name: String,
    /// An object of arguments, or a string that contains one.
    pub arguments: Json,
}

/// A JSON value whose objects preserve the order of their keys: the description of a tool, or the
/// arguments of a call.
#[derive(Clone, PartialEq)]
pub struct Json {
    value: Value,
    bytes: usize,
}

impl Json {
    /// Parses JSON.
    ///
    /// # Errors
    /// [`TemplateError::Json`]: not JSON, or nested more than 128 deep.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let value = serde_json::from_str(text).map_err(|error| TemplateError::Json {
            message: error.to_string(),
        })?;
        Ok(Self {
            value,
            bytes: text.len(),
        })
    }

    /// Creates a string value.
    pub fn text(text: impl Into<String>) -> Self {
        let text = text.into();
        Self {
            bytes: text.len(),
            value: text.into(),
        }
    }

    /// If this value is a string that contains a JSON object, returns that object; else returns the
    /// value unchanged. A blank string counts as an empty object.
    #[must_use]
    pub fn spelled_out(self) -> Self {
        let Some(text) = self.value.as_str() else {
            return self;
        };
        if text.trim().is_empty() {
            return Self::parse("{}").unwrap_or(self);
        }
        match Self::parse(text) {
            Ok(spelled) if spelled.value.kind() == ValueKind::Map => spelled,
            _ => self,
        }
    }

    /// Length in bytes of the text that it was parsed from.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The value as JSON on one line.
    pub fn written(&self) -> String {
        // Every parsed value can be written.
        super::json::text(&self.value).unwrap_or_default()
    }

    pub(super) fn value(&self) -> &Value {
        &self.value
    }
}

impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)
    }
}

/// A rewrite of each text before templates receive it.
pub(super) type Rewrite<'a> = &'a dyn Fn(Role, &str) -> String;

/// The value of the variable `messages`.
pub(super) fn messages_value(messages: &[Message], rewrite: Rewrite<'_>) -> Value {
    messages
        .iter()
        .map(|message| message_value(message, rewrite))
        .collect()
}

fn message_value(message: &Message, rewrite: Rewrite<'_>) -> Value {
    let role = message.role;
    let text = |text: &str| Value::from(rewrite(role, text));
    let content = match &message.content {
        Content::Text(said) => text(said),
        Content::Parts(parts) => parts
            .iter()
            .map(|said| Value::from_pairs([("type", "text".into()), ("text", text(said))]))
            .collect(),
    };
    // Omit absent keys: templates test for missing keys, as in conversations that Python programs
    // write.
    let mut pairs = vec![("role", role.name().into()), ("content", content)];
    if let Some(reasoning) = &message.reasoning {
        pairs.push(("reasoning_content", text(reasoning)));
    }
    if !message.tool_calls.is_empty() {
        let calls = message.tool_calls.iter();
        let calls = calls.map(|call| call_value(call, role, rewrite)).collect();
        pairs.push(("tool_calls", calls));
    }
    if let Some(name) = &message.name {
        pairs.push(("name", text(name)));
    }
    if let Some(id) = &message.tool_call_id {
        pairs.push(("tool_call_id", text(id)));
    }
    Value::from_pairs(pairs)
}

fn call_value(call: &ToolCall, role: Role, rewrite: Rewrite<'_>) -> Value {
    let mut pairs = Vec::new();
    if let Some(id) = &call.id {
        pairs.push(("id", Value::from(rewrite(role, id))));
    }
    let arguments = json_value(&call.arguments.value, role, rewrite);
    let function = [
        ("name", rewrite(role, &call.name).into()),
        ("arguments", arguments),
    ];
    pairs.push(("type", "function".into()));
    pairs.push(("function", Value::from_pairs(function)));
    Value::from_pairs(pairs)
}

/// The value with all its strings rewritten, including keys.
pub(super) fn json_value(value: &Value, role: Role, rewrite: Rewrite<'_>) -> Value {
    let items = || value.try_iter().into_iter().flatten();
    match value.kind() {
        ValueKind::String => rewrite(role, value.as_str().unwrap_or_default()).into(),
        ValueKind::Seq => items()
            .map(|item| json_value(&item, role, rewrite))
            .collect(),
        ValueKind::Map => Value::from_pairs(items().map(|key| {
            let held = value.get_item(&key).unwrap_or_default();
            (
                json_value(&key, role, rewrite),
                json_value(&held, role, rewrite),
            )
        })),
        ValueKind::Number => ExponentFloat::wrap(value),
        _ => value.clone(),
    }
}

/// Visits every string of a JSON value, including keys.
pub(super) fn for_each_text(value: &Value, see: &mut dyn FnMut(&str)) {
    match value.kind() {
        ValueKind::String => see(value.as_str().unwrap_or_default()),
        ValueKind::Seq => {
            let items = value.try_iter().into_iter().flatten();
            items.for_each(|item| for_each_text(&item, see));
        }
        ValueKind::Map => {
            for key in value.try_iter().into_iter().flatten() {
                for_each_text(&value.get_item(&key).unwrap_or_default(), see);
                for_each_text(&key, see);
            }
        }
        _ => {}
    }
}
