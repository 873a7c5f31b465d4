//! Messages and tools in the form that a model's template expects.

use std::collections::HashMap;

use potluck_model::template::{ChatTemplate, Content, Json, ToolCall};
use serde_json::{Value, json};

use super::format::DESCRIPTION;
use super::invalid;
use crate::engine::{Message, Role};
use crate::serve::{RequestError, Tool};

/// A conversation in the form that a template expects.
pub(super) struct Written {
    pub(super) messages: Vec<Message>,
    /// The tools passed to the template.
    pub(super) tools: Vec<Json>,
}

/// Converts a conversation for a template. If the template does not support tools, they and their
/// results are written into the messages.
pub(super) fn write(
    messages: &[Message],
    offered: &[Tool],
    template: &ChatTemplate,
) -> Result<Written, RequestError> {
    let mut messages: Vec<_> = messages.iter().map(complete(messages)).collect();
    let mut tools = Vec::new();
    if template.takes_tools() {
        tools = offered.iter().map(described).collect::<Result<_, _>>()?;
    } else if !offered.is_empty() {
        instruct(&mut messages, &in_words(offered));
    }
    if !template.takes_tool_results() {
        messages = results_as_text(messages);
    }
    Ok(Written { messages, tools })
}

/// Adds what templates require and programs omit: arguments as objects, and the name of the tool
/// that a result belongs to. Parts of a message are joined; templates that need parts get them
/// later.
fn complete(all: &[Message]) -> impl Fn(&Message) -> Message {
    let mut called: HashMap<&str, &str> = HashMap::new();
    for call in all.iter().flat_map(|message| &message.tool_calls) {
        if let Some(id) = &call.id {
            called.entry(id).or_insert(&call.name);
        }
    }
    move |message| {
        let mut message = message.clone();
        if let Content::Parts(parts) = &message.content {
            message.content = Content::Text(parts.join("\n"));
        }
        for call in &mut message.tool_calls {
            call.arguments = call.arguments.clone().spelled_out();
        }
        if message.role == Role::Tool && message.name.is_none() {
            let id = message.tool_call_id.as_deref();
            let name = id.and_then(|id| called.get(id));
            message.name = name.map(|&name| name.to_owned());
        }
        message
    }
}

/// A tool in OpenAI's format, which templates are written for.
fn value_of(tool: &Tool) -> Value {
    let description = tool.description.as_ref().map_or("", |text| text);
    json!({
        "type": "function",
        "function": {
            "name": tool.name,
            "description": description,
            "parameters": parameters_of(tool),
        },
    })
}

/// The JSON schema of a tool's arguments; that of an empty object by default.
pub(super) fn parameters_of(tool: &Tool) -> Value {
    match &*tool.parameters {
        Value::Object(fields) if !fields.is_empty() => (*tool.parameters).clone(),
        _ => json!({ "type": "object", "properties": {} }),
    }
}

fn described(tool: &Tool) -> Result<Json, RequestError> {
    Json::parse(&value_of(tool).to_string()).map_err(|error| invalid("tools", &error))
}

/// Describes the tools in a prompt, for models whose template does not support them.
fn in_words(tools: &[Tool]) -> String {
    let mut text = "You can call these tools:\n".to_owned();
    for tool in tools {
        text.push_str(&value_of(tool)["function"].to_string());
        text.push('\n');
    }
    text.push('\n');
    text.push_str(DESCRIPTION);
    text
}

/// Adds instructions to the system message, which comes first.
fn instruct(messages: &mut Vec<Message>, instructions: &str) {
    match messages.first_mut() {
        Some(first) if first.role == Role::System => append(first, instructions),
        _ => messages.insert(0, Message::new(Role::System, instructions)),
    }
}

/// Rewrites calls as text of the model, and tool results as text of the user.
fn results_as_text(messages: Vec<Message>) -> Vec<Message> {
    let mut written: Vec<Message> = Vec::with_capacity(messages.len());
    let mut follows_result = false;
    for mut message in messages {
        for call in std::mem::take(&mut message.tool_calls) {
            append(&mut message, &call_as_text(&call));
        }
        let is_result = message.role == Role::Tool;
        if is_result {
            let name = message.name.take().unwrap_or_default();
            let said: Vec<_> = message.content.texts().collect();
            let text = format!("Result of {name}:\n{}", said.join("\n"));
            message = Message::new(Role::User, text);
        }
        // Templates require alternating roles, so results and a following user message are joined.
        match written.last_mut() {
            Some(last) if follows_result && message.role == Role::User => {
                let said: Vec<_> = message.content.texts().collect();
                append(last, &said.join("\n"));
            }
            _ => written.push(message),
        }
        follows_result = is_result || follows_result && written.last().is_some_and(is_user);
    }
    written
}

fn is_user(message: &Message) -> bool {
    message.role == Role::User
}

fn call_as_text(call: &ToolCall) -> String {
    let name = Value::from(&*call.name);
    let arguments = call.arguments.written();
    format!("{{\"name\": {name}, \"arguments\": {arguments}}}")
}

/// Appends a paragraph to a message.
fn append(message: &mut Message, text: &str) {
    match &mut message.content {
        Content::Text(said) if said.is_empty() => text.clone_into(said),
        Content::Text(said) => {
            said.push_str("\n\n");
            said.push_str(text);
        }
        Content::Parts(parts) => parts.push(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weather() -> Tool {
        Tool {
            name: "get_weather".into(),
            description: None,
            parameters: json!({
                "$schema": "http://json-schema.org/draft-07/schema#",
                "type": "object",
                "properties": {"town": {"type": "string"}},
                "required": ["town"],
            })
            .into(),
            strict: false,
        }
    }

    fn called() -> Vec<Message> {
        let call = ToolCall {
            id: Some("call_1".into()),
            name: "get_weather".into(),
            arguments: Json::text("{\"town\": \"Lima\"}"),
        };
        let second = ToolCall {
            id: Some("call_2".into()),
            arguments: Json::text(""),
            ..call.clone()
        };
        let result = |id: &str, text: &str| Message {
            tool_call_id: Some(id.into()),
            ..Message::new(Role::Tool, text)
        };
        vec![
            Message {
                content: Content::Parts(vec!["How".into(), "is it?".into()]),
                ..Message::new(Role::User, "")
            },
            Message {
                tool_calls: vec![call, second],
                ..Message::new(Role::Assistant, "")
            },
            result("call_1", "fog"),
            result("call_2", "sun"),
            Message::new(Role::User, "And then?"),
        ]
    }

    #[test]
    fn templates_without_tools_get_them_in_words() {
        let template = ChatTemplate::new(
            "{% for m in messages %}{{ m.role }}>{{ m.content }}\n{% endfor %}",
            "",
            "",
        );
        let template = template.expect("a template");
        let written = write(&called(), &[weather()], &template).expect("it can be written");
        assert!(written.tools.is_empty());
        let shown: Vec<_> = written
            .messages
            .iter()
            .map(|message| {
                format!(
                    "{}: {}",
                    message.role,
                    message.content.texts().collect::<String>()
                )
            })
            .collect();
        expect_test::expect![[r#"
            [
                "system: You can call these tools:\n{\"name\":\"get_weather\",\"description\":\"\",\"parameters\":{\"$schema\":\"http://json-schema.org/draft-07/schema#\",\"type\":\"object\",\"properties\":{\"town\":{\"type\":\"string\"}},\"required\":[\"town\"]}}\n\nTo call a tool, answer with a JSON object and nothing else: {\"name\": \"NAME\", \"arguments\": {…}}, where the arguments follow the tool's JSON schema. To call several, write one such object a line. Call a tool only if it helps; otherwise answer in words.",
                "user: How\nis it?",
                "assistant: {\"name\": \"get_weather\", \"arguments\": {\"town\": \"Lima\"}}\n\n{\"name\": \"get_weather\", \"arguments\": {}}",
                "user: Result of get_weather:\nfog\n\nResult of get_weather:\nsun\n\nAnd then?",
            ]
        "#]]
        .assert_debug_eq(&shown);
    }

    #[test]
    fn templates_with_tools_get_what_they_are_written_for() {
        let source = "{% for tool in tools or [] %}{{ tool.function.name }}{% endfor %}\
            {% for m in messages %}{{ m.name }}{{ m.content }}{% for c in m.tool_calls or [] %}\
            {{ c.function.name }}{{ c.function.arguments.town }}{% endfor %}{% endfor %}";
        let template = ChatTemplate::new(source, "", "").expect("a template");
        let written = write(&called(), &[weather()], &template).expect("it can be written");
        assert_eq!(written.tools.len(), 1);
        assert_eq!(written.messages.len(), 5);
        assert_eq!(written.messages[2].name.as_deref(), Some("get_weather"));
        let arguments = &written.messages[1].tool_calls[1].arguments;
        assert_eq!(arguments.written(), "{}");
    }
}
