//! Messages of OpenAI's chat completions.

use potluck_model::template::{Content, Json, ToolCall};
use serde_json::Value;

use super::fault::Fault;
use super::fields::Fields;
use crate::engine::{Message, Role};

/// The messages of a request.
///
/// # Errors
/// There are none, or one is invalid or contains something other than text.
pub(super) fn messages(fields: &Fields<'_>) -> Result<Vec<Message>, Fault> {
    let messages = fields.objects("messages")?;
    if messages.is_empty() {
        return Err(fields.wrong("messages", "a list of messages, with one at least"));
    }
    messages.iter().map(message).collect()
}

fn message(fields: &Fields<'_>) -> Result<Message, Fault> {
    let role = match fields.needed_text("role")? {
        "system" | "developer" => Role::System,
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "tool" | "function" => Role::Tool,
        _ => {
            let must = "system, developer, user, assistant or tool";
            return Err(fields.wrong("role", must));
        }
    };
    let mut message = Message::new(role, "");
    message.content = content(fields, "content")?;
    message.name = fields.text("name")?.map(str::to_owned);
    message.tool_call_id = fields.text("tool_call_id")?.map(str::to_owned);
    if role == Role::Assistant {
        let reasoning = match fields.text("reasoning_content")? {
            None => fields.text("reasoning")?,
            said => said,
        };
        message.reasoning = reasoning.filter(|text| !text.is_empty()).map(str::to_owned);
        message.tool_calls = tool_calls(fields)?;
        if fields.get("function_call").is_some() {
            let why = "write calls as tool_calls";
            return Err(fields.not_done("function_call", why));
        }
    }
    Ok(message)
}

/// A string, an array of text parts, or nothing.
///
/// # Errors
/// A part is not text, such as an image.
pub(super) fn content(fields: &Fields<'_>, name: &str) -> Result<Content, Fault> {
    match fields.get(name) {
        None => Ok(Content::Text(String::new())),
        Some(Value::String(text)) => Ok(Content::Text(text.clone())),
        Some(Value::Array(_)) => {
            let parts: Result<Vec<_>, _> = fields.objects(name)?.iter().map(part).collect();
            let mut parts = parts?;
            Ok(match parts.len() {
                // Templates usually render a string and a single part alike, and some templates
                // support only strings.
                1 => Content::Text(parts.remove(0)),
                _ => Content::Parts(parts),
            })
        }
        Some(_) => Err(fields.wrong(name, "a string or a list of parts")),
    }
}

fn part(fields: &Fields<'_>) -> Result<String, Fault> {
    let kind = fields.needed_text("type")?;
    let not_text = |what: &str| {
        let why = format!("this model reads text only: leave out the {what}");
        Err(fields.not_done("type", &why))
    };
    match kind {
        "text" | "input_text" | "output_text" => fields.needed_text("text").map(str::to_owned),
        "refusal" => fields.needed_text("refusal").map(str::to_owned),
        "image_url" | "input_image" | "image" => not_text("image"),
        "input_audio" | "audio" => not_text("sound"),
        "file" | "input_file" => not_text("file"),
        "video_url" | "input_video" | "video" => not_text("video"),
        _ => Err(fields.wrong("type", "text")),
    }
}

fn tool_calls(fields: &Fields<'_>) -> Result<Vec<ToolCall>, Fault> {
    let calls = fields.objects("tool_calls")?;
    let calls = calls.iter().map(|call| {
        let function = call.object("function")?;
        let function = function.ok_or_else(|| call.wrong("function", "an object"))?;
        Ok(ToolCall {
            id: call.text("id")?.map(str::to_owned),
            name: function.needed_text("name")?.to_owned(),
            arguments: arguments(&function, "arguments")?,
        })
    });
    calls.collect()
}

/// The arguments of a tool call: JSON as a string, or an object.
///
/// # Errors
/// The field has another type.
pub(super) fn arguments(fields: &Fields<'_>, name: &str) -> Result<Json, Fault> {
    let must = "a JSON object";
    match fields.get(name) {
        None => Json::parse("{}").map_err(|_| fields.wrong(name, must)),
        Some(Value::String(text)) if text.trim().is_empty() => {
            Json::parse("{}").map_err(|_| fields.wrong(name, must))
        }
        // Models write arguments that are not valid JSON, and clients send them back.
        Some(Value::String(text)) => Ok(Json::parse(text).unwrap_or_else(|_| Json::text(text))),
        Some(value @ Value::Object(_)) => {
            Json::parse(&value.to_string()).map_err(|_| fields.wrong(name, must))
        }
        Some(_) => Err(fields.wrong(name, must)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(messages_value: Value) -> Result<Vec<Message>, Fault> {
        let body = json!({"messages": messages_value});
        messages(&Fields::of(&body).expect("an object"))
    }

    #[test]
    fn content_is_a_text_null_or_parts_and_developers_are_the_system() {
        let said = of(json!([
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
            {"role": "assistant", "content": null, "tool_calls": [
                {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{\"x\": 1}"}},
            ]},
            {"role": "tool", "tool_call_id": "call_1", "content": [{"type": "text", "text": "sunny"}]},
        ]))
        .expect("messages");
        assert_eq!(said[0].role, Role::System);
        assert_eq!(
            said[1].content,
            Content::Parts(vec!["a".into(), "b".into()])
        );
        assert_eq!(said[2].content, Content::Text(String::new()));
        assert_eq!(said[2].tool_calls[0].name, "f");
        assert_eq!(said[2].tool_calls[0].id.as_deref(), Some("call_1"));
        assert_eq!(said[3].content, Content::Text("sunny".into()));
        assert_eq!(said[3].tool_call_id.as_deref(), Some("call_1"));
    }

    #[test]
    fn what_is_not_text_is_refused_by_its_name_and_place() {
        let image = of(json!([
            {"role": "user", "content": "see"},
            {"role": "user", "content": [
                {"type": "text", "text": "this"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}},
            ]},
        ]));
        let fault = image.expect_err("an image");
        assert_eq!(fault.param.as_deref(), Some("messages[1].content[1].type"));
        assert!(fault.message.contains("image"), "{}", fault.message);
        assert_eq!(fault.status, 400);
        for wrong in [
            json!([]),
            json!("x"),
            json!([1]),
            json!([{"content": "x"}]),
            json!([{"role": "robot", "content": "x"}]),
            json!([{"role": "user", "content": 5}]),
            json!([{"role": "user", "content": [{"type": "text"}]}]),
            json!([{"role": "assistant", "tool_calls": [{"function": {}}]}]),
        ] {
            assert!(of(wrong.clone()).is_err(), "{wrong}");
        }
    }
}
