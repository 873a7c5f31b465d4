//! Streamed chat completions: server-sent events.

use serde_json::{Value, json};

use super::{Usage, finish_reason, logprobs};
use crate::http::api::event;
use crate::http::fault::Fault;
use crate::http::stream::Writer;
use crate::serve::{RequestError, TokenInfo, Update};

/// Fields that all chunks of an answer share.
pub(super) struct Common {
    pub(super) id: String,
    pub(super) created: u64,
    pub(super) model: String,
}

/// Writes the chunks of an answer.
pub(super) struct Chunks {
    common: Common,
    with_usage: bool,
    with_logprobs: bool,
    choices: Vec<Choice>,
    usage: Usage,
}

/// How much of a choice has been sent.
#[derive(Clone, Default)]
struct Choice {
    /// Whether its first delta, with the role, has been sent.
    role: bool,
    /// The index of the current call, and whether it has arguments.
    call: Option<(usize, bool)>,
}

impl Chunks {
    pub(super) fn new(
        common: Common,
        choices: usize,
        with_usage: bool,
        with_logprobs: bool,
    ) -> Self {
        Self {
            common,
            with_usage,
            with_logprobs,
            choices: vec![Choice::default(); choices],
            usage: Usage::default(),
        }
    }

    fn chunk(&self, choices: &Value) -> Value {
        json!({
            "id": self.common.id,
            "object": "chat.completion.chunk",
            "created": self.common.created,
            "model": self.common.model,
            "choices": choices,
        })
    }

    fn delta(&mut self, index: usize, delta: &Value, out: &mut Vec<u8>) {
        self.role(index, out);
        let choice = json!({"index": index, "delta": delta, "finish_reason": null});
        event(out, &self.chunk(&json!([choice])));
    }

    /// Writes the first delta of a choice, once.
    fn role(&mut self, index: usize, out: &mut Vec<u8>) {
        if !std::mem::replace(&mut self.choices[index].role, true) {
            let delta = json!({"role": "assistant", "content": ""});
            let choice = json!({"index": index, "delta": delta, "finish_reason": null});
            event(out, &self.chunk(&json!([choice])));
        }
    }

    fn content(&mut self, index: usize, text: &str, tokens: &[TokenInfo], out: &mut Vec<u8>) {
        let has_tokens = self.with_logprobs && !tokens.is_empty();
        if text.is_empty() && !has_tokens {
            return;
        }
        self.role(index, out);
        let mut choice = json!({"index": index, "delta": {"content": text}, "finish_reason": null});
        if has_tokens {
            choice["logprobs"] = logprobs::of_chat(tokens);
        }
        event(out, &self.chunk(&json!([choice])));
    }

    /// Writes arguments of the current call.
    fn arguments(&mut self, index: usize, text: &str, out: &mut Vec<u8>) {
        if let Some((call, has_arguments)) = &mut self.choices[index].call {
            *has_arguments |= !text.is_empty();
            let call = *call;
            let delta = json!({"tool_calls": [{"index": call, "function": {"arguments": text}}]});
            self.delta(index, &delta, out);
        }
    }

    /// Ends the current call; without arguments it gets an empty object.
    fn end_call(&mut self, index: usize, out: &mut Vec<u8>) {
        if let Some((_, false)) = self.choices[index].call {
            self.arguments(index, "{}", out);
        }
        self.choices[index].call = None;
    }
}

impl Writer for Chunks {
    fn write(&mut self, index: usize, update: Update, out: &mut Vec<u8>) {
        match update {
            Update::Reasoning(text) => {
                // Clients read one of the two names.
                let delta = json!({"reasoning_content": &*text, "reasoning": &*text});
                self.delta(index, &delta, out);
            }
            Update::Content { text, tokens } => self.content(index, &text, &tokens, out),
            Update::ToolCall {
                index: call,
                id,
                name,
            } => {
                self.end_call(index, out);
                let function = json!({"name": name, "arguments": ""});
                let begun =
                    json!({"index": call, "id": id, "type": "function", "function": function});
                self.delta(index, &json!({"tool_calls": [begun]}), out);
                self.choices[index].call = Some((call, false));
            }
            Update::ToolArguments(text) => self.arguments(index, &text, out),
            Update::Done(summary) => {
                self.end_call(index, out);
                self.role(index, out);
                let reason = finish_reason(summary.finish);
                let choice = json!({"index": index, "delta": {}, "finish_reason": reason});
                event(out, &self.chunk(&json!([choice])));
                self.usage.add_choice(&summary);
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
        event(out, &json!({"error": fault.object()}));
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        if self.with_usage {
            let mut chunk = self.chunk(&json!([]));
            chunk["usage"] = self.usage.json();
            event(out, &chunk);
        }
        out.extend_from_slice(b"data: [DONE]\n\n");
    }
}
