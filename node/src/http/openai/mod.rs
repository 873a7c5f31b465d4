//! OpenAI's dialect.

mod chat;
mod chunks;
mod completions;
mod embeddings;
mod logprobs;
mod models;
mod responses;

use serde_json::{Value, json};

use super::fault::Fault;
use super::fields::{Fields, NotDone, is_nothing};
use crate::serve::{Finish, Summary};

pub(super) use chat::chat;
pub(super) use completions::completions;
pub(super) use embeddings::embeddings;
pub(super) use models::{model, models};
pub(super) use responses::responses;

/// Most choices of one request.
const MOST_CHOICES: usize = 16;
/// Most alternatives that are reported per token.
const MOST_LOGPROBS: usize = 20;

/// Grammar fields of other servers.
const OTHER_GRAMMARS: [NotDone; 5] = [
    grammar("grammar"),
    grammar("guided_grammar"),
    grammar("guided_choice"),
    grammar("structured_outputs"),
    grammar("json_schema"),
];

const fn grammar(name: &'static str) -> NotDone {
    NotDone {
        name,
        harmless: is_nothing,
        why: "give it as response_format, with type json_schema, regex or lark",
    }
}

/// Number of choices.
fn choices(fields: &Fields<'_>) -> Result<usize, Fault> {
    let count = fields.count("n")?.unwrap_or(1);
    match (1..=MOST_CHOICES).contains(&count) {
        true => Ok(count),
        false => Err(fields.wrong("n", &format!("from 1 to {MOST_CHOICES}"))),
    }
}

/// The most tokens of an answer, from the first of these fields that is set.
fn max_tokens(fields: &Fields<'_>, names: &[&str]) -> Result<Option<usize>, Fault> {
    for name in names {
        // Some clients write −1 for no limit.
        match fields.whole(name)? {
            Some(0) => return Err(fields.wrong(name, "1 or more")),
            Some(most) => return Ok(usize::try_from(most).ok()),
            None => {}
        }
    }
    Ok(None)
}

/// Whether the model thinks first, if the request sets it: by the template's `enable_thinking`, or
/// by the reasoning effort `none`.
///
/// # Errors
/// The request sets other template variables, which would change the prompt.
fn thinking(fields: &Fields<'_>, effort: Option<&str>) -> Result<Option<bool>, Fault> {
    let name = "chat_template_kwargs";
    if let Some(given) = fields.object(name)? {
        for key in given.names() {
            if key != "enable_thinking" && key != "thinking" {
                let why = "only enable_thinking is there";
                return Err(fields.not_done(name, why));
            }
        }
        for key in ["enable_thinking", "thinking"] {
            if let Some(thinks) = given.flag(key)? {
                return Ok(Some(thinks));
            }
        }
    }
    if let Some(thinks) = fields.flag("enable_thinking")? {
        return Ok(Some(thinks));
    }
    // The model decides how hard it thinks; a request can only turn thinking off.
    Ok((effort == Some("none")).then_some(false))
}

/// Whether to stream the answer, and whether to report its usage.
fn stream(fields: &Fields<'_>) -> Result<(bool, bool), Fault> {
    let streams = fields.flag("stream")?.unwrap_or(false);
    let options = fields.object("stream_options")?;
    let usage = match options {
        Some(options) => options.flag("include_usage")?.unwrap_or(false),
        None => false,
    };
    Ok((streams, usage))
}

fn finish_reason(finish: Finish) -> &'static str {
    match finish {
        Finish::EndOfTurn | Finish::Stop => "stop",
        Finish::Length => "length",
        Finish::ToolCalls => "tool_calls",
    }
}

/// Token usage of a request's choices.
#[derive(Debug, Default, Clone, Copy)]
struct Usage {
    prompt: usize,
    cached: usize,
    completion: usize,
    reasoning: usize,
}

impl Usage {
    /// Adds a choice. All choices share one prompt, which counts once.
    fn add_choice(&mut self, summary: &Summary) {
        self.cached = match self.prompt {
            0 => summary.cached_tokens,
            // Later choices reuse what the first one cached, so the minimum counts.
            _ => self.cached.min(summary.cached_tokens),
        };
        self.prompt = self.prompt.max(summary.prompt_tokens);
        self.add_answer(summary);
    }

    /// Adds an answer with its own prompt.
    fn add_prompt(&mut self, summary: &Summary) {
        self.prompt += summary.prompt_tokens;
        self.cached += summary.cached_tokens;
        self.add_answer(summary);
    }

    fn add_answer(&mut self, summary: &Summary) {
        self.completion += summary.completion_tokens;
        self.reasoning += summary.reasoning_tokens;
    }

    fn of_choices<'a>(summaries: impl Iterator<Item = &'a Summary>) -> Self {
        let mut usage = Self::default();
        summaries.for_each(|summary| usage.add_choice(summary));
        usage
    }

    fn json(self) -> Value {
        json!({
            "prompt_tokens": self.prompt,
            "completion_tokens": self.completion,
            "total_tokens": self.prompt + self.completion,
            "prompt_tokens_details": {"cached_tokens": self.cached},
            "completion_tokens_details": {"reasoning_tokens": self.reasoning},
        })
    }
}
