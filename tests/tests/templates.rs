//! Rendered chat templates equal Jinja 2's, as recorded by `tests/compare/templates.py`.

use std::path::Path;

use potluck_model::template::{
    ChatTemplate, Content, Date, Json, Message, RenderOptions, Role, TemplateError, ToolCall,
};
use serde_json::Value;

fn text(value: &Value) -> String {
    value.as_str().expect("a text").into()
}

fn optional(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn json(value: &Value) -> Json {
    Json::parse(&text(value)).expect("JSON in a text")
}

fn message(value: &Value) -> Message {
    let roles = [Role::System, Role::User, Role::Assistant, Role::Tool];
    let role = roles.into_iter().find(|role| value["role"] == role.name());
    let call = |call: &Value| ToolCall {
        id: optional(&call["id"]),
        name: text(&call["name"]),
        arguments: json(&call["arguments"]),
    };
    Message {
        role: role.expect("one of the roles"),
        content: match &value["content"] {
            Value::Array(parts) => Content::Parts(parts.iter().map(text).collect()),
            content => Content::Text(text(content)),
        },
        reasoning: optional(&value["reasoning"]),
        tool_calls: list(&value["tool_calls"]).iter().map(call).collect(),
        name: optional(&value["name"]),
        tool_call_id: optional(&value["tool_call_id"]),
    }
}

fn recorded(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("data");
    std::fs::read_to_string(folder.join(name)).expect("a golden file")
}

fn render(source: &str, case: &Value) -> Result<String, TemplateError> {
    let template = ChatTemplate::new(source, "<s>", "</s>");
    let mut template = template.expect("the template is valid");
    if !case["date"].is_null() {
        template = template.with_date(Date::new(2024, 7, 6).expect("a date"));
    }
    let messages: Vec<Message> = list(&case["messages"]).iter().map(message).collect();
    let tools: Vec<Json> = list(&case["tools"]).iter().map(json).collect();
    let options = RenderOptions {
        add_generation_prompt: case["add_generation_prompt"] == true,
        tools: &tools,
        thinking: case["thinking"].as_bool(),
    };
    template.render(&messages, &options)
}

#[test]
fn published_shapes_render_as_recorded() {
    for line in recorded("templates.jsonl").lines() {
        let case: Value = serde_json::from_str(line).expect("the golden file is JSON lines");
        let name = text(&case["template"]);
        let source = recorded(&format!("templates/{name}"));
        let rendered = render(&source, &case);
        match (rendered, case["text"].as_str(), case["error"].as_str()) {
            (Ok(text), Some(expected), None) => {
                assert_eq!(text, expected, "{line}");
                // Line ends of the source are those of its platform.
                let windows = render(&source.replace('\n', "\r\n"), &case);
                assert_eq!(windows.expect("it renders"), expected, "{line}");
            }
            (Err(TemplateError::Refused { message }), None, Some(expected)) => {
                assert_eq!(message, expected, "{line}");
            }
            (rendered, ..) => panic!("{rendered:?} instead of {line}"),
        }
    }
}
