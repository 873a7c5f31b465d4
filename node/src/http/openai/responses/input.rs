//! The input of a response: a list of items.

use potluck_model::template::ToolCall;
use serde_json::Value;

use crate::engine::{Message, Role};
use crate::http::fault::Fault;
use crate::http::fields::Fields;
use crate::http::messages::{arguments, content};

/// The instructions and the input, as messages.
///
/// # Errors
/// There is no input, or an item is invalid or of an unsupported kind.
pub(super) fn messages(fields: &Fields<'_>) -> Result<Vec<Message>, Fault> {
    let instructions = fields.text("instructions")?;
    let mut messages: Vec<_> = instructions
        .map(|text| Message::new(Role::System, text))
        .into_iter()
        .collect();
    match fields.get("input") {
        Some(Value::String(text)) => messages.push(Message::new(Role::User, text.as_str())),
        Some(Value::Array(list)) if !list.is_empty() => {
            for item in fields.objects("input")? {
                add(&item, &mut messages)?;
            }
        }
        _ => return Err(fields.wrong("input", "a string or a list of items")),
    }
    Ok(messages)
}

fn add(item: &Fields<'_>, messages: &mut Vec<Message>) -> Result<(), Fault> {
    match item.text("type")? {
        // Any object with a role is a message.
        None | Some("message") => {
            let role = match item.needed_text("role")? {
                "system" | "developer" => Role::System,
                "user" => Role::User,
                "assistant" => Role::Assistant,
                _ => return Err(item.wrong("role", "system, developer, user or assistant")),
            };
            let content = content(item, "content")?;
            let message = match messages.last_mut() {
                // Append to the message that the preceding reasoning item created.
                Some(last) if role == Role::Assistant && is_only_thought(last) => last,
                _ => pushed(messages, role),
            };
            message.content = content;
        }
        Some("function_call") => {
            let call = ToolCall {
                id: item.text("call_id")?.map(str::to_owned),
                name: item.needed_text("name")?.to_owned(),
                arguments: arguments(item, "arguments")?,
            };
            let message = match messages.last_mut() {
                // Tool calls belong to the assistant's message.
                Some(last) if last.role == Role::Assistant => last,
                _ => pushed(messages, Role::Assistant),
            };
            message.tool_calls.push(call);
        }
        Some("function_call_output") => {
            let id = item.text("call_id")?.map(str::to_owned);
            let content = content(item, "output")?;
            let message = pushed(messages, Role::Tool);
            message.content = content;
            message.tool_call_id = id;
        }
        Some("reasoning") => {
            let thoughts = item.objects("content")?;
            let thoughts: Result<Vec<_>, _> = thoughts
                .iter()
                .map(|part| part.needed_text("text"))
                .collect();
            let thoughts = thoughts?.concat();
            if !thoughts.is_empty() {
                pushed(messages, Role::Assistant).reasoning = Some(thoughts);
            }
        }
        Some(_) => {
            let why = "only messages, function calls and their outputs are there, and reasoning";
            return Err(item.not_done("type", why));
        }
    }
    Ok(())
}

fn pushed(messages: &mut Vec<Message>, role: Role) -> &mut Message {
    messages.push(Message::new(role, ""));
    let last = messages.len() - 1;
    &mut messages[last]
}

fn is_only_thought(message: &Message) -> bool {
    message.role == Role::Assistant
        && message.reasoning.is_some()
        && message.content.bytes() == 0
        && message.tool_calls.is_empty()
}

#[cfg(test)]
mod tests {
    use potluck_model::template::Content;
    use serde_json::json;

    use super::*;

    fn of(body: Value) -> Result<Vec<Message>, Fault> {
        messages(&Fields::of(&body).expect("an object"))
    }

    #[test]
    fn items_become_the_messages_of_a_conversation() {
        let said = of(json!({
            "instructions": "sys",
            "input": [
                {"role": "user", "content": [{"type": "input_text", "text": "Say hello"}]},
                {"type": "reasoning", "id": "rs_1", "summary": [],
                    "content": [{"type": "reasoning_text", "text": "hm"}]},
                {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
                {"type": "function_call", "call_id": "c2", "name": "g", "arguments": ""},
                {"type": "function_call_output", "call_id": "c1", "output": "sunny"},
                {"type": "message", "role": "assistant", "id": "m", "status": "completed",
                    "content": [{"type": "output_text", "text": "Hi", "annotations": []}]},
            ],
        }))
        .expect("messages");
        let roles: Vec<_> = said.iter().map(|message| message.role).collect();
        let expected = [
            Role::System,
            Role::User,
            Role::Assistant,
            Role::Tool,
            Role::Assistant,
        ];
        assert_eq!(roles, expected);
        assert_eq!(said[1].content, Content::Text("Say hello".into()));
        assert_eq!(said[2].reasoning.as_deref(), Some("hm"));
        let names: Vec<_> = said[2].tool_calls.iter().map(|call| &*call.name).collect();
        assert_eq!(names, ["f", "g"]);
        assert_eq!(said[3].tool_call_id.as_deref(), Some("c1"));
        assert_eq!(said[4].content, Content::Text("Hi".into()));
        let plain = of(json!({"input": "hi"})).expect("messages");
        assert_eq!(plain, [Message::new(Role::User, "hi")]);
    }

    #[test]
    fn what_is_not_there_is_refused() {
        for input in [
            json!(null),
            json!([]),
            json!([{"type": "item_reference", "id": "x"}]),
            json!([{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}]),
            json!([{"role": "tool", "content": "x"}]),
            json!([{"type": "function_call"}]),
        ] {
            assert!(of(json!({"input": input.clone()})).is_err(), "{input}");
        }
    }
}
