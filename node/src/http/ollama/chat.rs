//! `/api/chat` and `/api/generate`.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Request as HttpRequest, State};
use axum::http::StatusCode;
use axum::response::Response;
use potluck_model::template::ToolCall;
use serde_json::json;

use super::Refusal;
use super::answer::{Lines, Shape, now};
use super::options::{format, lets_go, options, thinking};
use crate::engine::{Message, Role, SamplerSettings};
use crate::http::account::Account;
use crate::http::answers;
use crate::http::api::Api;
use crate::http::body;
use crate::http::fault::{Fault, respond};
use crate::http::fields::{Fields, NotDone, is_nothing};
use crate::http::messages::{arguments, content};
use crate::http::stream as streamed;
use crate::http::tools::tools;
use crate::http::whole::collect;
use crate::serve::{Caller, Chat, Format, Input, ModelCard, Request, ToolChoice};

/// What would change an answer and is not done.
const NOT_DONE: [NotDone; 6] = [
    NotDone {
        name: "images",
        harmless: is_nothing,
        why: "this model reads text only: leave out the images",
    },
    NotDone {
        name: "suffix",
        harmless: is_nothing,
        why: "text is gone on with, not filled in: leave it out",
    },
    NotDone {
        name: "template",
        harmless: is_nothing,
        why: "the model's own template is used: leave it out, or say raw",
    },
    NotDone {
        name: "context",
        harmless: is_nothing,
        why: "what was said before is sent as messages, to /api/chat",
    },
    NotDone {
        name: "logprobs",
        harmless: is_nothing,
        why: "this path tells no log-probabilities: /v1/chat/completions does",
    },
    NotDone {
        name: "top_logprobs",
        harmless: is_nothing,
        why: "this path tells no log-probabilities: /v1/chat/completions does",
    },
];

/// `/api/chat`.
pub(in crate::http) async fn chat(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Arc<Account>>,
    request: HttpRequest,
) -> Result<Response, Refusal> {
    let body = body::json(request).await?;
    let fields = Fields::of(&body)?;
    let messages = fields.objects("messages")?;
    if messages.is_empty() {
        return answer_nothing(&api, account, &fields, Shape::Chat).await;
    }
    let card = api
        .card(account.visitor(), fields.needed_text("model")?)
        .await?;
    let input = || {
        let messages: Result<Vec<_>, _> = messages.iter().map(message).collect();
        to_chat(&fields, &card, messages?)
    };
    answer(&api, account, &fields, Shape::Chat, &card, input).await
}

/// `/api/generate`.
pub(in crate::http) async fn generate(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Arc<Account>>,
    request: HttpRequest,
) -> Result<Response, Refusal> {
    let body = body::json(request).await?;
    let fields = Fields::of(&body)?;
    let prompt = fields.text("prompt")?.unwrap_or_default();
    if prompt.is_empty() {
        return answer_nothing(&api, account, &fields, Shape::Generate).await;
    }
    let card = api
        .card(account.visitor(), fields.needed_text("model")?)
        .await?;
    let is_raw = fields.flag("raw")?.unwrap_or(false);
    let system = fields.text("system")?.filter(|text| !text.is_empty());
    let input = || {
        if is_raw || !card.has_template() {
            return match system {
                Some(_) => {
                    Err(fields.not_done("system", "a text that is raw has no system message"))
                }
                None => Ok(Input::Text(prompt.to_owned().into())),
            };
        }
        let system = system.map(|text| Message::new(Role::System, text));
        let messages = system.into_iter();
        let messages = messages.chain([Message::new(Role::User, prompt)]);
        to_chat(&fields, &card, messages.collect())
    };
    answer(&api, account, &fields, Shape::Generate, &card, input).await
}

async fn answer(
    api: &Api,
    account: Arc<Account>,
    fields: &Fields<'_>,
    shape: Shape,
    card: &ModelCard,
    input: impl Fn() -> Result<Input, Fault>,
) -> Result<Response, Refusal> {
    // Unless it is said, answers come as they are written.
    let streams = fields.flag("stream")?.unwrap_or(true);
    let make = |_| {
        fields.refuse(&NOT_DONE)?;
        lets_go(fields)?;
        // Checked here as well, because a raw text does not use it.
        thinking(fields)?;
        let options = options(fields)?;
        Ok(Request {
            caller: Caller::Owner,
            model: card.name.clone(),
            input: input()?,
            sampling: options.sampling,
            max_tokens: options.max_tokens,
            stop: options.stop,
            logprobs: None,
            format: format(fields)?,
        })
    };
    let model = fields.needed_text("model")?;
    let begun = api.begin(card, 1, &account, make)?;
    // Some clients look for the name that they gave.
    let lines = Lines::new(shape, model.to_owned());
    if streams {
        return Ok(streamed::respond(begun, lines, account).await?);
    }
    let mut whole = collect(begun).await?;
    // One answer was asked for.
    let (whole, summary) = whole.remove(0);
    Ok(respond(StatusCode::OK, &lines.whole(&whole, &summary)))
}

/// What a request without words asks for: that the model be ready, or let go.
async fn answer_nothing(
    api: &Api,
    account: Arc<Account>,
    fields: &Fields<'_>,
    shape: Shape,
) -> Result<Response, Refusal> {
    let model = fields.needed_text("model")?;
    let card = api.card(account.visitor(), model).await?;
    let reason = match lets_go(fields)? {
        true if account.visitor().guest().is_some() => {
            let words = "guests may not unload a model: leave keep_alive out";
            return Err(Fault::forbidden("not_for_guests", words).into());
        }
        true => {
            api.answers.unload(&card.name)?;
            "unload"
        }
        false => {
            let make = |_| Ok(shortest(&card));
            collect(api.begin(&card, 1, &account, make)?).await?;
            "load"
        }
    };
    let mut answer = json!({
        "model": model, "created_at": now(), "done": true, "done_reason": reason,
    });
    match shape {
        Shape::Chat => answer["message"] = json!({"role": "assistant", "content": ""}),
        Shape::Generate => answer["response"] = "".into(),
    }
    Ok(respond(StatusCode::OK, &answer))
}

/// What is answered as soon as a model is ready.
fn shortest(card: &ModelCard) -> Request {
    Request {
        caller: Caller::Owner,
        model: card.name.clone(),
        input: Input::Text(" ".to_owned().into()),
        sampling: SamplerSettings::greedy(),
        max_tokens: Some(1),
        stop: Vec::new(),
        logprobs: None,
        format: Format::Text,
    }
}

fn to_chat(fields: &Fields<'_>, card: &ModelCard, messages: Vec<Message>) -> Result<Input, Fault> {
    Ok(Input::Chat(Chat {
        messages: messages.into(),
        tools: tools(fields)?,
        tool_choice: ToolChoice::Auto,
        parallel_tool_calls: true,
        thinking: answers::thinking(card, thinking(fields)?),
    }))
}

fn message(fields: &Fields<'_>) -> Result<Message, Fault> {
    let role = match fields.needed_text("role")? {
        "system" | "developer" => Role::System,
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "tool" => Role::Tool,
        _ => return Err(fields.wrong("role", "system, user, assistant or tool")),
    };
    fields.refuse(&NOT_DONE[..1])?;
    let mut message = Message::new(role, "");
    message.content = content(fields, "content")?;
    let thoughts = fields.text("thinking")?;
    message.reasoning = thoughts.filter(|text| !text.is_empty()).map(str::to_owned);
    let name = match fields.text("tool_name")? {
        None => fields.text("name")?,
        said => said,
    };
    message.name = name.map(str::to_owned);
    message.tool_call_id = fields.text("tool_call_id")?.map(str::to_owned);
    for call in fields.objects("tool_calls")? {
        let function = call.object("function")?;
        let function = function.ok_or_else(|| call.wrong("function", "an object"))?;
        message.tool_calls.push(ToolCall {
            id: call.text("id")?.map(str::to_owned),
            name: function.needed_text("name")?.to_owned(),
            arguments: arguments(&function, "arguments")?,
        });
    }
    Ok(message)
}
