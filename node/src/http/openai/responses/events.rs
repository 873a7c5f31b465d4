//! Streamed responses: named events, in the order that clients expect.

use serde_json::{Value, json};

use super::output::{function_call, message, output_text, reasoning, reasoning_text};
use super::{Frame, status_of};
use crate::http::api::new_id;
use crate::http::fault::Fault;
use crate::http::stream::Writer;
use crate::serve::{RequestError, Update};

/// Writes the events of a response.
pub(super) struct Events {
    frame: Frame,
    number: u64,
    /// Finished items.
    done: Vec<Value>,
    /// The item being written.
    item: Option<Item>,
}

/// An item being written.
struct Item {
    id: String,
    kind: Kind,
    /// Its text or arguments so far.
    text: String,
}

enum Kind {
    Reasoning,
    Message,
    Call { id: String, name: String },
}

impl Item {
    fn new(kind: Kind) -> Self {
        let prefix = match kind {
            Kind::Reasoning => "rs_",
            Kind::Message => "msg_",
            Kind::Call { .. } => "fc_",
        };
        Self {
            id: new_id(prefix),
            kind,
            text: String::new(),
        }
    }

    /// The item as JSON: at its start, or with its text.
    fn object(&self, text: Option<&str>, status: &str) -> Value {
        match &self.kind {
            Kind::Reasoning => reasoning(&self.id, text, status),
            Kind::Message => message(&self.id, text, status),
            Kind::Call { id, name } => {
                function_call(&self.id, id, name, text.unwrap_or_default(), status)
            }
        }
    }

    /// The content part with this text, and the prefix of the part's events.
    fn part(&self, text: &str) -> Option<(Value, &'static str)> {
        match self.kind {
            Kind::Reasoning => Some((reasoning_text(text), "reasoning_text")),
            Kind::Message => Some((output_text(text), "output_text")),
            Kind::Call { .. } => None,
        }
    }
}

impl Events {
    pub(super) fn new(frame: Frame) -> Self {
        Self {
            frame,
            number: 0,
            done: Vec::new(),
            item: None,
        }
    }

    fn event(&mut self, name: &str, mut data: Value, out: &mut Vec<u8>) {
        data["type"] = name.into();
        data["sequence_number"] = self.number.into();
        self.number += 1;
        out.extend_from_slice(format!("event: {name}\ndata: {data}\n\n").as_bytes());
    }

    /// Writes an event of the current item.
    fn of_item(&mut self, name: &str, mut data: Value, out: &mut Vec<u8>) {
        if let Some(item) = &self.item {
            data["item_id"] = item.id.as_str().into();
            data["output_index"] = self.done.len().into();
            if !matches!(item.kind, Kind::Call { .. }) {
                data["content_index"] = 0.into();
            }
            self.event(name, data, out);
        }
    }

    fn begin(&mut self, kind: Kind, out: &mut Vec<u8>) {
        self.finish("completed", out);
        let item = Item::new(kind);
        let object = item.object(None, "in_progress");
        let part = item.part("");
        let index = self.done.len();
        self.item = Some(item);
        let data = json!({"output_index": index, "item": object});
        self.event("response.output_item.added", data, out);
        if let Some((part, _)) = part {
            let data = json!({"part": part});
            self.of_item("response.content_part.added", data, out);
        }
    }

    /// Finishes the current item.
    fn finish(&mut self, status: &str, out: &mut Vec<u8>) {
        let Some(item) = &self.item else {
            return;
        };
        let mut text = item.text.clone();
        match item.part(&text) {
            Some((part, name)) => {
                let mut data = json!({"text": text});
                if name == "output_text" {
                    data["logprobs"] = json!([]);
                }
                self.of_item(&format!("response.{name}.done"), data, out);
                self.of_item("response.content_part.done", json!({"part": part}), out);
            }
            None => {
                if text.trim().is_empty() {
                    "{}".clone_into(&mut text);
                }
                let Kind::Call { name, .. } = &item.kind else {
                    return;
                };
                let data = json!({"arguments": text, "name": name});
                self.of_item("response.function_call_arguments.done", data, out);
            }
        }
        if let Some(item) = self.item.take() {
            let object = item.object(Some(&text), status);
            let data = json!({"output_index": self.done.len(), "item": object});
            self.done.push(object);
            self.event("response.output_item.done", data, out);
        }
    }

    /// Appends text to the current item, which is of this kind.
    fn text(&mut self, kind: Kind, text: &str, out: &mut Vec<u8>) {
        if text.is_empty() {
            return;
        }
        let is_same =
            |item: &Item| std::mem::discriminant(&item.kind) == std::mem::discriminant(&kind);
        if !self.item.as_ref().is_some_and(is_same) {
            self.begin(kind, out);
        }
        self.push(text, out);
    }

    fn push(&mut self, text: &str, out: &mut Vec<u8>) {
        let Some(item) = &mut self.item else {
            return;
        };
        item.text.push_str(text);
        let mut data = json!({"delta": text});
        let name = match item.kind {
            Kind::Reasoning => "response.reasoning_text.delta",
            Kind::Message => {
                data["logprobs"] = json!([]);
                "response.output_text.delta"
            }
            Kind::Call { .. } => "response.function_call_arguments.delta",
        };
        self.of_item(name, data, out);
    }
}

impl Writer for Events {
    fn open(&mut self, out: &mut Vec<u8>) {
        let response = self.frame.object("in_progress", &[], None);
        for name in ["response.created", "response.in_progress"] {
            self.event(name, json!({"response": response.clone()}), out);
        }
    }

    fn write(&mut self, _: usize, update: Update, out: &mut Vec<u8>) {
        match update {
            Update::Reasoning(text) => self.text(Kind::Reasoning, &text, out),
            Update::Content { text, .. } => self.text(Kind::Message, &text, out),
            Update::ToolCall { id, name, .. } => self.begin(Kind::Call { id, name }, out),
            Update::ToolArguments(text) => self.push(&text, out),
            Update::Done(summary) => {
                let status = status_of(summary.finish);
                let has_answer = self.done.iter().any(|item| item["type"] != "reasoning");
                if self.item.is_none() && !has_answer {
                    // An empty answer still needs a message.
                    self.begin(Kind::Message, out);
                }
                self.finish(status, out);
                let output = std::mem::take(&mut self.done);
                let response = self.frame.object(status, &output, Some(&summary));
                let name = format!("response.{status}");
                self.event(&name, json!({"response": response}), out);
            }
            Update::Waiting { .. }
            | Update::Loading { .. }
            | Update::Started { .. }
            | Update::Reading { .. }
            | Update::Failed(_) => {}
        }
    }

    fn fail(&mut self, error: &RequestError, out: &mut Vec<u8>) {
        let fault = Fault::from(error.clone());
        let data = json!({"code": fault.code, "message": fault.message, "param": fault.param});
        self.event("error", data, out);
    }

    fn end(&mut self, _: &mut Vec<u8>) {}
}
