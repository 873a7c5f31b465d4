//! The output items of a response.

use serde_json::{Value, json};

use crate::http::api::new_id;
use crate::http::whole::Whole;

/// The items of a whole answer.
pub(super) fn items(whole: &Whole, status: &str) -> Vec<Value> {
    let mut items = Vec::new();
    if !whole.reasoning.is_empty() {
        items.push(reasoning(
            &new_id("rs_"),
            Some(&whole.reasoning),
            "completed",
        ));
    }
    if !whole.content.is_empty() || whole.calls.is_empty() {
        items.push(message(&new_id("msg_"), Some(&whole.content), status));
    }
    for call in &whole.calls {
        let id = new_id("fc_");
        items.push(function_call(
            &id,
            &call.id,
            &call.name,
            call.arguments(),
            status,
        ));
    }
    items
}

/// A reasoning item; without a text at its start.
pub(super) fn reasoning(id: &str, text: Option<&str>, status: &str) -> Value {
    let content: Vec<_> = text.map(reasoning_text).into_iter().collect();
    json!({"id": id, "type": "reasoning", "summary": [], "content": content, "status": status})
}

pub(super) fn reasoning_text(text: &str) -> Value {
    json!({"type": "reasoning_text", "text": text})
}

/// A message item; without a text at its start.
pub(super) fn message(id: &str, text: Option<&str>, status: &str) -> Value {
    let content: Vec<_> = text.map(output_text).into_iter().collect();
    json!({
        "id": id, "type": "message", "role": "assistant", "status": status, "content": content,
    })
}

pub(super) fn output_text(text: &str) -> Value {
    json!({"type": "output_text", "text": text, "annotations": [], "logprobs": []})
}

/// A tool call.
pub(super) fn function_call(
    id: &str,
    call: &str,
    name: &str,
    arguments: &str,
    status: &str,
) -> Value {
    json!({
        "id": id, "type": "function_call", "call_id": call, "name": name, "arguments": arguments,
        "status": status,
    })
}
