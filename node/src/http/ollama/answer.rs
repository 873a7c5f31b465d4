//! Answers as JSON lines: one object per line.

use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};

use crate::http::fault::Fault;
use crate::http::stream::Writer;
use crate::http::whole::{Call, Whole};
use crate::log;
use crate::serve::{Finish, RequestError, Summary, Update};

/// The endpoint that an answer is formatted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Chat,
    Generate,
}

/// Writes an answer.
pub(super) struct Lines {
    shape: Shape,
    model: String,
    begun: Instant,
    /// The tool call being written: clients receive calls whole.
    call: Option<Call>,
}

impl Lines {
    pub(super) fn new(shape: Shape, model: String) -> Self {
        Self {
            shape,
            model,
            begun: Instant::now(),
            call: None,
        }
    }

    /// An object with this content and thinking.
    fn said(&self, content: &str, thinking: &str) -> Value {
        let mut line = json!({"model": self.model, "created_at": now(), "done": false});
        let words = match self.shape {
            Shape::Chat => {
                line["message"] = json!({"role": "assistant", "content": content});
                &mut line["message"]
            }
            Shape::Generate => {
                line["response"] = content.into();
                &mut line
            }
        };
        if !thinking.is_empty() {
            words["thinking"] = thinking.into();
        }
        line
    }

    fn with_calls(&self, mut line: Value, calls: &[Call]) -> Value {
        if self.shape == Shape::Chat && !calls.is_empty() {
            let calls = calls.iter().map(|call| {
                let function = json!({"name": call.name, "arguments": object(call.arguments())});
                json!({"id": call.id, "function": function})
            });
            line["message"]["tool_calls"] = calls.collect();
        }
        line
    }

    fn with_summary(&self, mut line: Value, summary: &Summary) -> Value {
        line["done"] = true.into();
        line["done_reason"] = match summary.finish {
            Finish::Length => "length",
            Finish::EndOfTurn | Finish::Stop | Finish::ToolCalls => "stop",
        }
        .into();
        line["total_duration"] = nanoseconds(self.begun.elapsed()).into();
        line["load_duration"] = nanoseconds(summary.loading).into();
        line["prompt_eval_count"] = summary.prompt_tokens.into();
        line["prompt_eval_duration"] = nanoseconds(summary.prefill).into();
        line["eval_count"] = summary.completion_tokens.into();
        line["eval_duration"] = nanoseconds(summary.decode).into();
        line
    }

    /// A whole answer in one object.
    pub(super) fn whole(&self, whole: &Whole, summary: &Summary) -> Value {
        let line = self.said(&whole.content, &whole.reasoning);
        self.with_summary(self.with_calls(line, &whole.calls), summary)
    }

    fn end_call(&mut self, out: &mut Vec<u8>) {
        if let Some(call) = self.call.take() {
            write(out, &self.with_calls(self.said("", ""), &[call]));
        }
    }
}

fn write(out: &mut Vec<u8>, line: &Value) {
    out.extend_from_slice(line.to_string().as_bytes());
    out.push(b'\n');
}

impl Writer for Lines {
    fn content_type(&self) -> &'static str {
        "application/x-ndjson"
    }

    fn open(&mut self, _: &mut Vec<u8>) {}

    fn keep_alive(&mut self, out: &mut Vec<u8>) {
        // JSON lines have no comments, and an empty line would be a parse error.
        write(out, &self.said("", ""));
    }

    fn write(&mut self, _: usize, update: Update, out: &mut Vec<u8>) {
        match update {
            Update::Reasoning(text) => write(out, &self.said("", &text)),
            Update::Content { text, .. } => {
                if !text.is_empty() {
                    write(out, &self.said(&text, ""));
                }
            }
            Update::ToolCall { id, name, .. } => {
                self.end_call(out);
                self.call = Some(Call::new(id, name));
            }
            Update::ToolArguments(text) => {
                if let Some(call) = &mut self.call {
                    call.push(&text);
                }
            }
            Update::Done(summary) => {
                self.end_call(out);
                write(out, &self.with_summary(self.said("", ""), &summary));
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
        write(out, &json!({"error": fault.message}));
    }

    fn end(&mut self, _: &mut Vec<u8>) {}
}

/// The current time in this dialect's format.
pub(super) fn now() -> String {
    log::time_of(SystemTime::now())
}

pub(super) fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// A call's arguments as an object.
fn object(arguments: &str) -> Value {
    match serde_json::from_str(arguments) {
        Ok(object @ Value::Object(_)) => object,
        _ => json!({}),
    }
}
