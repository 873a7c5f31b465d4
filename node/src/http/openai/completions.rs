//! `/v1/completions`: raw text completion.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Request as HttpRequest, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};

use super::chunks::Common;
use super::{
    MOST_CHOICES, MOST_LOGPROBS, OTHER_GRAMMARS, Usage, choices, finish_reason, logprobs,
    max_tokens, stream,
};
use crate::engine::TokenId;
use crate::http::account::Account;
use crate::http::api::{Api, event, new_id, unix_now};
use crate::http::body;
use crate::http::fault::{Fault, respond};
use crate::http::fields::{Fields, NotDone, as_whole, is_nothing};
use crate::http::sampling::{sampling, stop};
use crate::http::stream::{self as streamed, Writer};
use crate::http::tools::format;
use crate::http::whole::collect;
use crate::serve::{Caller, Input, ModelCard, Request, RequestError, Update};

/// Unsupported fields that would change an answer.
const NOT_DONE: [NotDone; 2] = [
    NotDone {
        name: "suffix",
        harmless: is_nothing,
        why: "text is gone on with, not filled in: leave it out",
    },
    NotDone {
        name: "best_of",
        harmless: |value| value.as_u64() == Some(1),
        why: "every answer is given: use n",
    },
];

/// A prompt to continue.
#[derive(Clone)]
enum Prompt<'a> {
    Text(&'a str),
    Tokens(Vec<TokenId>),
}

impl Prompt<'_> {
    fn input(&self) -> Input {
        match self {
            Self::Text(text) => Input::Text((*text).to_owned().into()),
            Self::Tokens(tokens) => Input::Tokens(tokens.clone().into()),
        }
    }
}

/// A text completion.
pub(in crate::http) async fn completions(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Arc<Account>>,
    request: HttpRequest,
) -> Result<Response, Fault> {
    let body = body::json(request).await?;
    let fields = Fields::of(&body)?;
    fields.refuse(&NOT_DONE)?;
    fields.refuse(&OTHER_GRAMMARS)?;
    let (streams, with_usage) = stream(&fields)?;
    let each = choices(&fields)?;
    let prompts = prompts(&fields)?;
    let count = each * prompts.len();
    if count > MOST_CHOICES {
        let must = format!("fewer: at most {MOST_CHOICES} answers are given at once");
        return Err(fields.wrong("prompt", &must));
    }
    let echoes = echoes(&fields, &prompts, each)?;
    let with_logprobs = with_logprobs(&fields)?;
    let model = fields.text("model")?.unwrap_or_default();
    let card = api.card(account.visitor(), model).await?;
    let make = |choice: usize| {
        let input = prompts[choice / each].input();
        to_request(&fields, &card, input, choice % each)
    };
    let begun = api.begin(&card, count, &account, make)?;
    let writer = Texts {
        common: Common {
            id: new_id("cmpl-"),
            created: unix_now(),
            model: card.name,
        },
        with_usage,
        with_logprobs: with_logprobs.is_some(),
        offsets: echoes.iter().map(|text| text.chars().count()).collect(),
        echoes,
        each,
        usage: Usage::default(),
    };
    if streams {
        return streamed::respond(begun, writer, account).await;
    }
    let mut writer = writer;
    let mut answers = Vec::new();
    for (index, (whole, summary)) in collect(begun).await?.into_iter().enumerate() {
        writer.count(index, &summary);
        let text = std::mem::take(&mut writer.echoes[index]) + &whole.content;
        let logprobs = match writer.with_logprobs {
            true => logprobs::of_text(&whole.tokens, writer.offsets[index]),
            false => Value::Null,
        };
        let reason = finish_reason(summary.finish);
        answers.push(json!({
            "index": index, "text": text, "logprobs": logprobs, "finish_reason": reason,
        }));
    }
    let mut answer = writer.chunk(&json!(answers));
    answer["usage"] = writer.usage.json();
    Ok(respond(StatusCode::OK, &answer))
}

/// The prompts of a request, as texts or tokens.
fn prompts<'a>(fields: &Fields<'a>) -> Result<Vec<Prompt<'a>>, Fault> {
    let must = "a string, a list of strings, token ids or lists of token ids, none of them empty";
    let wrong = || fields.wrong("prompt", must);
    let tokens = |list: &[Value]| -> Option<Vec<TokenId>> {
        if list.is_empty() {
            return None;
        }
        let ids = list.iter();
        ids.map(|id| TokenId::try_from(as_whole(id)?).ok())
            .collect()
    };
    let prompts = match fields.get("prompt") {
        Some(Value::String(text)) => vec![Prompt::Text(text)],
        Some(Value::Array(list)) if list.first().is_some_and(Value::is_number) => {
            vec![Prompt::Tokens(tokens(list).ok_or_else(wrong)?)]
        }
        Some(Value::Array(list)) => {
            let each = list.iter().map(|one| match one {
                Value::String(text) => Some(Prompt::Text(text)),
                Value::Array(list) => tokens(list).map(Prompt::Tokens),
                _ => None,
            });
            each.collect::<Option<Vec<_>>>().ok_or_else(wrong)?
        }
        _ => return Err(wrong()),
    };
    let is_empty = |prompt: &Prompt<'_>| matches!(prompt, Prompt::Text(""));
    match prompts.is_empty() || prompts.iter().any(is_empty) {
        true => Err(wrong()),
        false => Ok(prompts),
    }
}

/// The text before each choice: its prompt if `echo` is set, else empty.
fn echoes(fields: &Fields<'_>, prompts: &[Prompt<'_>], each: usize) -> Result<Vec<String>, Fault> {
    let echo = fields.flag("echo")?.unwrap_or(false);
    if echo && fields.get("logprobs").is_some_and(|value| !value.is_null()) {
        let why = "the tokens of a prompt are not told: leave out echo or logprobs";
        return Err(fields.not_done("echo", why));
    }
    let mut echoes = Vec::new();
    for prompt in prompts {
        let text = match prompt {
            Prompt::Text(text) if echo => (*text).to_owned(),
            Prompt::Tokens(_) if echo => {
                let why = "only a prompt of text is repeated";
                return Err(fields.not_done("echo", why));
            }
            _ => String::new(),
        };
        echoes.extend(std::iter::repeat_n(text, each));
    }
    Ok(echoes)
}

/// Number of most likely tokens to report, if any.
fn with_logprobs(fields: &Fields<'_>) -> Result<Option<usize>, Fault> {
    match fields.count("logprobs")? {
        Some(top) if top > MOST_LOGPROBS => {
            Err(fields.wrong("logprobs", &format!("at most {MOST_LOGPROBS}")))
        }
        top => Ok(top),
    }
}

fn to_request(
    fields: &Fields<'_>,
    card: &ModelCard,
    input: Input,
    choice: usize,
) -> Result<Request, Fault> {
    Ok(Request {
        caller: Caller::Owner,
        model: card.name.clone(),
        input,
        sampling: sampling(fields, choice)?,
        max_tokens: max_tokens(fields, &["max_tokens", "max_completion_tokens"])?,
        stop: stop(fields)?,
        logprobs: with_logprobs(fields)?,
        format: format(fields, "response_format")?,
    })
}

/// Writes completions as a stream.
struct Texts {
    common: Common,
    with_usage: bool,
    with_logprobs: bool,
    /// The prompt that each choice still has to echo.
    echoes: Vec<String>,
    /// Offset of each choice's next token, in characters.
    offsets: Vec<usize>,
    /// Choices per prompt.
    each: usize,
    usage: Usage,
}

impl Texts {
    fn chunk(&self, choices: &Value) -> Value {
        json!({
            "id": self.common.id,
            "object": "text_completion",
            "created": self.common.created,
            "model": self.common.model,
            "choices": choices,
        })
    }

    fn count(&mut self, index: usize, summary: &crate::serve::Summary) {
        match index % self.each {
            0 => self.usage.add_prompt(summary),
            _ => self.usage.add_answer(summary),
        }
    }
}

impl Writer for Texts {
    fn write(&mut self, index: usize, update: Update, out: &mut Vec<u8>) {
        let (text, logprobs, reason) = match update {
            Update::Content { text, tokens } => {
                let has_tokens = self.with_logprobs && !tokens.is_empty();
                if text.is_empty() && !has_tokens {
                    return;
                }
                let offset = self.offsets[index];
                self.offsets[index] += text.chars().count();
                let logprobs = has_tokens.then(|| logprobs::of_text(&tokens, offset));
                let echo = std::mem::take(&mut self.echoes[index]);
                (echo + &text, logprobs, None)
            }
            Update::Done(summary) => {
                self.count(index, &summary);
                let echo = std::mem::take(&mut self.echoes[index]);
                (echo, None, Some(finish_reason(summary.finish)))
            }
            _ => return,
        };
        let choice = json!({
            "index": index, "text": text, "logprobs": logprobs, "finish_reason": reason,
        });
        event(out, &self.chunk(&json!([choice])));
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
