//! `/v1/chat/completions`.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Request as HttpRequest, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};

use super::chunks::{Chunks, Common};
use super::{
    MOST_LOGPROBS, OTHER_GRAMMARS, Usage, choices, finish_reason, logprobs, max_tokens, stream,
    thinking,
};
use crate::http::account::Account;
use crate::http::answers;
use crate::http::api::{Api, new_id, unix_now};
use crate::http::body;
use crate::http::fault::{Fault, respond};
use crate::http::fields::{Fields, NotDone, is_nothing};
use crate::http::messages::messages;
use crate::http::sampling::{sampling, stop};
use crate::http::stream as streamed;
use crate::http::tools::{format, tool_choice, tools};
use crate::http::whole::{Whole, collect};
use crate::serve::{Caller, Chat, Format, Input, ModelCard, Request, Summary};

/// Unsupported fields that would change an answer.
const NOT_DONE: [NotDone; 7] = [
    NotDone {
        name: "functions",
        harmless: is_nothing,
        why: "give functions as tools",
    },
    NotDone {
        name: "function_call",
        harmless: is_nothing,
        why: "give functions as tools, and tool_choice",
    },
    NotDone {
        name: "audio",
        harmless: is_nothing,
        why: "this model writes text only",
    },
    NotDone {
        name: "modalities",
        harmless: |value| {
            value
                .as_array()
                .is_some_and(|all| all.iter().all(|one| one == "text"))
        },
        why: "this model writes text only",
    },
    NotDone {
        name: "web_search_options",
        harmless: is_nothing,
        why: "this node looks nothing up: leave it out",
    },
    NotDone {
        name: "verbosity",
        harmless: |value| value == "medium",
        why: "say it in a message",
    },
    NotDone {
        name: "continue_final_message",
        harmless: is_nothing,
        why: "an answer begins anew: use /v1/completions to go on with a text",
    },
];

/// A chat completion.
pub(in crate::http) async fn chat(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Arc<Account>>,
    request: HttpRequest,
) -> Result<Response, Fault> {
    let body = body::json(request).await?;
    let fields = Fields::of(&body)?;
    let (streams, with_usage) = stream(&fields)?;
    let count = choices(&fields)?;
    let with_logprobs = top_logprobs(&fields)?.is_some();
    let model = fields.text("model")?.unwrap_or_default();
    let card = api.card(account.visitor(), model).await?;
    let make = |choice| to_request(&fields, &card, choice);
    let begun = api.begin(&card, count, &account, make)?;
    let common = Common {
        id: new_id("chatcmpl-"),
        created: unix_now(),
        model: card.name,
    };
    if streams {
        let chunks = Chunks::new(common, count, with_usage, with_logprobs);
        return streamed::respond(begun, chunks, account).await;
    }
    let whole = collect(begun).await?;
    let usage = Usage::of_choices(whole.iter().map(|(_, summary)| summary));
    let answers = whole.iter().enumerate();
    let answers: Vec<_> = answers
        .map(|(index, (whole, summary))| choice(index, whole, summary, with_logprobs))
        .collect();
    let answer = json!({
        "id": common.id,
        "object": "chat.completion",
        "created": common.created,
        "model": common.model,
        "choices": answers,
        "usage": usage.json(),
        "system_fingerprint": null,
    });
    Ok(respond(StatusCode::OK, &answer))
}

fn choice(index: usize, whole: &Whole, summary: &Summary, with_logprobs: bool) -> Value {
    let content = match whole.calls.is_empty() || !whole.content.is_empty() {
        true => Value::from(whole.content.as_str()),
        // No content beside tool calls.
        false => Value::Null,
    };
    let mut message = json!({"role": "assistant", "content": content, "refusal": null});
    if !whole.reasoning.is_empty() {
        message["reasoning_content"] = whole.reasoning.as_str().into();
        message["reasoning"] = whole.reasoning.as_str().into();
    }
    if !whole.calls.is_empty() {
        let calls = whole.calls.iter().map(|call| {
            json!({
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments()},
            })
        });
        message["tool_calls"] = calls.collect();
    }
    let logprobs = match with_logprobs {
        true => logprobs::of_chat(&whole.tokens),
        false => Value::Null,
    };
    json!({
        "index": index,
        "message": message,
        "logprobs": logprobs,
        "finish_reason": finish_reason(summary.finish),
    })
}

/// Number of most likely tokens to report, if any.
fn top_logprobs(fields: &Fields<'_>) -> Result<Option<usize>, Fault> {
    let asked = fields.flag("logprobs")?.unwrap_or(false);
    let top = fields.count("top_logprobs")?;
    match top {
        Some(top) if top > MOST_LOGPROBS => {
            let must = format!("at most {MOST_LOGPROBS}");
            Err(fields.wrong("top_logprobs", &must))
        }
        Some(top) if top > 0 && !asked => {
            Err(fields.wrong("logprobs", "true where top_logprobs is given"))
        }
        top => Ok(asked.then(|| top.unwrap_or(0))),
    }
}

fn to_request(fields: &Fields<'_>, card: &ModelCard, choice: usize) -> Result<Request, Fault> {
    fields.refuse(&NOT_DONE)?;
    fields.refuse(&OTHER_GRAMMARS)?;
    let tools = tools(fields)?;
    let thinking = thinking(fields, fields.text("reasoning_effort")?)?;
    let chat = Chat {
        messages: messages(fields)?.into(),
        tool_choice: tool_choice(fields, &tools)?,
        tools,
        parallel_tool_calls: fields.flag("parallel_tool_calls")?.unwrap_or(true),
        thinking: answers::thinking(card, thinking),
    };
    Ok(Request {
        caller: Caller::Owner,
        model: card.name.clone(),
        input: Input::Chat(chat),
        sampling: sampling(fields, choice)?,
        max_tokens: max_tokens(fields, &["max_completion_tokens", "max_tokens"])?,
        stop: stop(fields)?,
        logprobs: top_logprobs(fields)?,
        format: answer_format(fields)?,
    })
}

/// The answer's format, from `response_format` or another server's fields.
fn answer_format(fields: &Fields<'_>) -> Result<Format, Fault> {
    if let Some(schema) = fields.object("guided_json")? {
        let _ = schema;
        let schema = fields.get("guided_json").cloned().unwrap_or_default();
        return Ok(Format::JsonSchema(schema.into()));
    }
    if let Some(pattern) = fields.text("guided_regex")? {
        return Ok(Format::Regex(pattern.to_owned().into()));
    }
    format(fields, "response_format")
}
