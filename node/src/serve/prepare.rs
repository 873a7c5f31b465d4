//! Preparation: turns requests into tokens, masks and readers.

use std::panic::{AssertUnwindSafe, catch_unwind};

use potluck_model::tokenizer::SpecialTokens;

use super::lane::Lane;
use super::reader::Reader;
use super::work::{Answer, Raw, RawWork, Ready, Work};
use super::{Caller, Input, Request, RequestError, chat};
use crate::engine::{Engine, GenerateOptions, TokenId};
use crate::prompt::{self, PromptError};

/// The main loop of the preparing thread, which runs beside the compute thread.
pub(super) fn prepare_all(engine: &Engine, lane: &Lane) {
    while let Some(Raw { client, work }) = lane.next_raw() {
        if client.is_gone() {
            client.cancelled();
            lane.prepared(None);
            continue;
        }
        let work = catch_unwind(AssertUnwindSafe(|| prepare(engine, work, &client.caller)));
        let work = work.unwrap_or_else(|_panic| {
            let message = "the request could not be written for the model".to_owned();
            Err(RequestError::Failed { message })
        });
        lane.prepared(match work {
            Ok(work) => Some(Ready { client, work }),
            Err(error) => {
                client.fail(error);
                None
            }
        });
    }
}

fn prepare(engine: &Engine, work: RawWork, caller: &Caller) -> Result<Work, RequestError> {
    match work {
        RawWork::Answer(request) => Ok(Work::Answer(Box::new(answer(engine, *request)?))),
        RawWork::Embed(inputs) => {
            let texts = inputs.into_iter().map(|input| text(engine, input));
            let texts = texts.collect::<Result<Vec<_>, _>>()?;
            // Texts to embed never come from a prefix cache, so all their tokens count.
            let tokens: usize = texts.iter().map(Vec::len).sum();
            match tokens as u64 > caller.left() {
                true => Err(RequestError::spent()),
                false => Ok(Work::Embed(texts)),
            }
        }
    }
}

fn answer(engine: &Engine, request: Request) -> Result<Answer, RequestError> {
    let Request {
        input,
        sampling,
        max_tokens,
        stop,
        logprobs,
        format,
        ..
    } = request;
    sampling.validate().map_err(|error| RequestError::Invalid {
        field: None,
        message: error.to_string(),
    })?;
    let (prompt, mask, shown, reader) = match input {
        Input::Chat(chat) => {
            let prepared = chat::prepare(engine, &chat, &format)?;
            let reader = Reader::Chat(Box::new(prepared.reader));
            (prepared.tokens, prepared.mask, prepared.shown, reader)
        }
        input => {
            let mask = chat::mask(engine, &format)?;
            (text(engine, input)?, mask, Vec::new(), Reader::Plain)
        }
    };
    let context = engine.context();
    let too_long = |tokens| RequestError::TooLong { tokens, context };
    // The last token of an answer is never fed back, so it needs no position.
    let room = (context + 1).checked_sub(prompt.len());
    let room = room
        .filter(|&room| room > 1)
        .ok_or_else(|| too_long(prompt.len()))?;
    let options = GenerateOptions {
        sampling,
        max_tokens: max_tokens.map_or(room, |most| most.min(room)),
        stop: stop.into_iter().map(|text| text.into_inner()).collect(),
        logprobs,
    };
    Ok(Answer {
        prompt,
        options,
        mask,
        shown,
        reader,
    })
}

/// The tokens of a text: at least one, and no more than fit in the context.
fn text(engine: &Engine, input: Input) -> Result<Vec<TokenId>, RequestError> {
    let context = engine.context();
    let tokens = match input {
        Input::Text(text) => {
            let fits = prompt::check_bytes(engine, text.len(), context);
            fits.map_err(|error| refused(&error))?;
            engine
                .tokenizer()
                .encode_prompt(&text, SpecialTokens::AsText)
        }
        Input::Tokens(tokens) => {
            let vocabulary = engine.config().vocabulary;
            let unknown = tokens.iter().find(|&&id| id as usize >= vocabulary);
            if unknown.is_some() {
                let message = format!("token ids go up to {}, in this model", vocabulary - 1);
                return Err(invalid(message));
            }
            tokens.into_inner()
        }
        Input::Chat(_) => return Err(invalid("a conversation is no text".to_owned())),
    };
    if tokens.is_empty() {
        return Err(invalid("the text is empty: give one".to_owned()));
    }
    if tokens.len() > context {
        let tokens = tokens.len();
        return Err(RequestError::TooLong { tokens, context });
    }
    Ok(tokens)
}

fn invalid(message: String) -> RequestError {
    RequestError::Invalid {
        field: None,
        message,
    }
}

fn refused(error: &PromptError) -> RequestError {
    match *error {
        PromptError::TooLong {
            tokens, context, ..
        }
        | PromptError::TooManyBytes {
            tokens, context, ..
        } => RequestError::TooLong { tokens, context },
        _ => invalid(crate::words::of(error)),
    }
}
