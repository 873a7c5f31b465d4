//! Rendered chat templates equal Jinja 2's, as recorded by `tests/compare/template.py`.

use std::path::Path;

use potluck_model::template::{ChatTemplate, Date, Message, Role, TemplateError};
use serde_json::Value;

fn message(value: &Value) -> Message {
    let text = |key: &str| value[key].as_str().expect("a text");
    Message {
        role: [Role::System, Role::User, Role::Assistant]
            .into_iter()
            .find(|role| role.name() == text("role"))
            .expect("one of the roles"),
        content: text("content").into(),
    }
}

#[test]
fn published_shapes_render_as_recorded() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("data");
    let recorded =
        std::fs::read_to_string(folder.join("templates.jsonl")).expect("the golden file");
    for line in recorded.lines() {
        let case: Value = serde_json::from_str(line).expect("the golden file is JSON lines");
        let name = case["template"].as_str().expect("a template's name");
        let source = std::fs::read_to_string(folder.join("templates").join(name));
        let template = ChatTemplate::new(&source.expect("a template"), "<s>", "</s>");
        let mut template = template.expect("the template is valid");
        if !case["date"].is_null() {
            template = template.with_date(Date::new(2024, 7, 6).expect("a date"));
        }
        let messages: Vec<Message> = case["messages"]
            .as_array()
            .expect("a list of messages")
            .iter()
            .map(message)
            .collect();
        let rendered = template.render(&messages, case["add_generation_prompt"] == true);
        match (rendered, case["text"].as_str(), case["error"].as_str()) {
            (Ok(text), Some(expected), None) => assert_eq!(text, expected, "{line}"),
            (Err(TemplateError::Refused { message }), None, Some(expected)) => {
                assert_eq!(message, expected, "{line}");
            }
            (rendered, ..) => panic!("{rendered:?} instead of {line}"),
        }
    }
}
