//! `/v1/responses`, the part of it that clients use. Nothing is stored: each request contains the
//! whole conversation.

mod events;
mod input;
mod output;

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Request as HttpRequest, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};

use super::{max_tokens, stream, thinking};
use crate::http::account::Account;
use crate::http::answers;
use crate::http::api::{Api, new_id, unix_now};
use crate::http::body;
use crate::http::fault::{Fault, respond};
use crate::http::fields::{Fields, NotDone, is_nothing};
use crate::http::sampling::{sampling, stop};
use crate::http::stream as streamed;
use crate::http::tools::{flat_tools, format, tool_choice};
use crate::http::whole::collect;
use crate::serve::{Caller, Chat, Finish, Format, Input, ModelCard, Request, Summary};
use events::Events;

/// Unsupported fields that would change an answer.
const NOT_DONE: [NotDone; 6] = [
    NotDone {
        name: "previous_response_id",
        harmless: is_nothing,
        why: "responses are not kept: send what was said before as input",
    },
    NotDone {
        name: "conversation",
        harmless: is_nothing,
        why: "conversations are not kept: send what was said before as input",
    },
    NotDone {
        name: "background",
        harmless: is_nothing,
        why: "responses are not kept: wait for the answer, or have it streamed",
    },
    NotDone {
        name: "prompt",
        harmless: is_nothing,
        why: "prompts are not kept: send instructions and input",
    },
    NotDone {
        name: "truncation",
        harmless: |value| value == "disabled",
        why: "an input that is too long is refused, never cut",
    },
    NotDone {
        name: "top_logprobs",
        harmless: is_nothing,
        why: "this path tells no log-probabilities: /v1/chat/completions does",
    },
];

/// A response.
pub(in crate::http) async fn responses(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Arc<Account>>,
    request: HttpRequest,
) -> Result<Response, Fault> {
    let body = body::json(request).await?;
    let fields = Fields::of(&body)?;
    let (streams, _) = stream(&fields)?;
    let model = fields.text("model")?.unwrap_or_default();
    let card = api.card(account.visitor(), model).await?;
    let begun = api.begin(&card, 1, &account, |_| to_request(&fields, &card))?;
    let frame = Frame::new(&fields, card.name);
    if streams {
        return streamed::respond(begun, Events::new(frame), account).await;
    }
    let mut whole = collect(begun).await?;
    // Exactly one choice was requested.
    let (whole, summary) = whole.remove(0);
    let status = status_of(summary.finish);
    let items = output::items(&whole, status);
    let answer = frame.object(status, &items, Some(&summary));
    Ok(respond(StatusCode::OK, &answer))
}

fn status_of(finish: Finish) -> &'static str {
    match finish {
        Finish::Length => "incomplete",
        Finish::EndOfTurn | Finish::Stop | Finish::ToolCalls => "completed",
    }
}

fn to_request(fields: &Fields<'_>, card: &ModelCard) -> Result<Request, Fault> {
    fields.refuse(&NOT_DONE)?;
    check_include(fields)?;
    let tools = flat_tools(fields)?;
    let reasoning = fields.object("reasoning")?;
    let effort = match &reasoning {
        Some(reasoning) => reasoning.text("effort")?,
        None => None,
    };
    let chat = Chat {
        messages: input::messages(fields)?.into(),
        tool_choice: tool_choice(fields, &tools)?,
        tools,
        parallel_tool_calls: fields.flag("parallel_tool_calls")?.unwrap_or(true),
        thinking: answers::thinking(card, thinking(fields, effort)?),
    };
    Ok(Request {
        caller: Caller::Owner,
        model: card.name.clone(),
        input: Input::Chat(chat),
        sampling: sampling(fields, 0)?,
        max_tokens: max_tokens(fields, &["max_output_tokens"])?,
        stop: stop(fields)?,
        logprobs: None,
        format: text_format(fields)?,
    })
}

fn check_include(fields: &Fields<'_>) -> Result<(), Fault> {
    let included = fields.list("include")?.unwrap_or_default();
    match included.iter().all(|one| {
        // Reasoning is returned in plain text.
        one == "reasoning.encrypted_content"
    }) {
        true => Ok(()),
        false => Err(fields.not_done("include", "nothing else can be included: leave it out")),
    }
}

fn text_format(fields: &Fields<'_>) -> Result<Format, Fault> {
    match fields.object("text")? {
        Some(text) => {
            text.refuse(&[NotDone {
                name: "verbosity",
                harmless: |value| value == "medium",
                why: "say it in the instructions",
            }])?;
            format(&text, "format")
        }
        None => Ok(Format::Text),
    }
}

/// The fields of a response other than its output.
struct Frame {
    id: String,
    created: u64,
    model: String,
    /// Fields of the request that the response repeats.
    echo: Value,
}

impl Frame {
    fn new(fields: &Fields<'_>, model: String) -> Self {
        let said = |name: &str, or: Value| fields.get(name).cloned().unwrap_or(or);
        let echo = json!({
            "instructions": said("instructions", Value::Null),
            "max_output_tokens": said("max_output_tokens", Value::Null),
            "metadata": said("metadata", json!({})),
            "parallel_tool_calls": said("parallel_tool_calls", true.into()),
            "previous_response_id": null,
            "reasoning": said("reasoning", json!({"effort": null, "summary": null})),
            "store": false,
            "temperature": said("temperature", Value::Null),
            "text": said("text", json!({"format": {"type": "text"}})),
            "tool_choice": said("tool_choice", "auto".into()),
            "tools": said("tools", json!([])),
            "top_p": said("top_p", Value::Null),
            "truncation": "disabled",
            "user": said("user", Value::Null),
        });
        Self {
            id: new_id("resp_"),
            created: unix_now(),
            model,
            echo,
        }
    }

    fn object(&self, status: &str, output: &[Value], summary: Option<&Summary>) -> Value {
        let mut object = self.echo.clone();
        object["id"] = self.id.as_str().into();
        object["object"] = "response".into();
        object["created_at"] = self.created.into();
        object["model"] = self.model.as_str().into();
        object["status"] = status.into();
        object["error"] = Value::Null;
        object["incomplete_details"] = match status {
            "incomplete" => json!({"reason": "max_output_tokens"}),
            _ => Value::Null,
        };
        object["output"] = output.into();
        object["usage"] = summary.map_or(Value::Null, usage);
        object
    }
}

fn usage(summary: &Summary) -> Value {
    let (input, output) = (summary.prompt_tokens, summary.completion_tokens);
    json!({
        "input_tokens": input,
        "input_tokens_details": {"cached_tokens": summary.cached_tokens},
        "output_tokens": output,
        "output_tokens_details": {"reasoning_tokens": summary.reasoning_tokens},
        "total_tokens": input + output,
    })
}
