//! One answer in progress: from logits to updates for the client.

use std::time::{Duration, Instant};

use super::chat::Piece;
use super::client::{Client, Telling};
use super::reader::Reader;
use super::work::Answer;
use super::{Caller, Finish, RequestError, Summary, TokenInfo, Update};
use crate::engine::{
    Chosen, ChosenToken, Engine, Generator, ModelError, SamplerSettings, StopReason, TokenId,
};

/// An answer in progress.
pub(super) struct Talk<'e> {
    engine: &'e Engine,
    client: Client,
    generator: Generator<'e>,
    reader: Reader,
    told: Told,
    prompt_tokens: usize,
    cached_tokens: usize,
    waited: Duration,
    started: Instant,
    first: Option<Instant>,
    last: Instant,
    /// The result of this step's logits.
    heard: Option<Heard>,
}

/// The result of logits.
pub(super) enum Heard {
    /// A token that the next step processes.
    Token(TokenId),
    /// The answer has ended.
    End(StopReason),
    Failed(ModelError),
}

/// What the client has been sent so far.
#[derive(Default)]
struct Told {
    wants_tokens: bool,
    /// Tokens whose text has not been sent yet.
    tokens: Vec<TokenInfo>,
    reasoning_tokens: usize,
    calls_tools: bool,
}

impl<'e> Talk<'e> {
    /// An answer that has not started.
    pub(super) fn new(engine: &'e Engine, client: Client, answer: Answer) -> Self {
        let Answer {
            prompt,
            options,
            mask,
            shown,
            reader,
        } = answer;
        let told = Told {
            wants_tokens: options.logprobs.is_some(),
            ..Told::default()
        };
        let prompt_tokens = prompt.len();
        let generator = Generator::new(engine.tokenizer(), options, prompt).with_shown(shown);
        let now = Instant::now();
        Self {
            engine,
            client,
            generator: match mask {
                Some(mask) => generator.with_mask(mask),
                None => generator,
            },
            reader,
            told,
            prompt_tokens,
            cached_tokens: 0,
            waited: Duration::ZERO,
            started: now,
            first: None,
            last: now,
            heard: None,
        }
    }

    pub(super) fn is_gone(&self) -> bool {
        self.client.is_gone()
    }

    pub(super) fn caller(&self) -> &Caller {
        &self.client.caller
    }

    /// How its tokens are chosen.
    pub(super) fn sampling(&self) -> &SamplerSettings {
        self.generator.sampling()
    }

    /// The result of the last logits, if there is one.
    pub(super) fn heard(&self) -> Option<&Heard> {
        self.heard.as_ref()
    }

    /// A handle for sending updates from elsewhere.
    pub(super) fn telling(&self) -> Telling {
        self.client.telling()
    }

    /// Records that prompt processing starts after `cached_tokens` cached tokens.
    pub(super) fn start(&mut self, cached_tokens: usize) {
        self.started = Instant::now();
        self.cached_tokens = cached_tokens;
        self.waited = self.started - self.client.arrived;
        self.client.tell(Update::Started {
            prompt_tokens: self.prompt_tokens,
            cached_tokens,
        });
        let new = self.prompt_tokens.saturating_sub(cached_tokens);
        self.client.caller.charge(new);
        let counters = self.client.counters();
        counters.started(self.prompt_tokens, cached_tokens, self.waited);
    }

    /// Reports the number of prompt tokens processed so far.
    pub(super) fn has_read(&self, tokens: usize) {
        if self.first.is_none() {
            let done = tokens.min(self.prompt_tokens);
            self.client.tell(Update::Reading { done });
        }
    }

    /// Chooses a token from the logits after the last processed token, and sends its text at once.
    pub(super) fn hear(&mut self, logits: Result<&[f32], ModelError>) {
        let chosen = logits.and_then(|logits| self.generator.choose(logits));
        let heard = match chosen {
            Ok(Chosen::Token(token)) => {
                self.tick();
                let id = token.id;
                self.say(token);
                match self.generator.ended() {
                    Some(reason) => Heard::End(reason),
                    None if self.reader.is_finished() => Heard::End(StopReason::EndOfTurn),
                    None if self.client.caller.left() == 0 => Heard::End(StopReason::MaxTokens),
                    None => Heard::Token(id),
                }
            }
            Ok(Chosen::End(reason)) => Heard::End(reason),
            Err(error) => Heard::Failed(error),
        };
        self.heard = Some(heard);
    }

    /// Takes the result of the last logits.
    pub(super) fn take_heard(&mut self) -> Option<Heard> {
        self.heard.take()
    }

    /// Counts a token and its time.
    fn tick(&mut self) {
        let now = Instant::now();
        self.client.caller.charge(1);
        let counters = self.client.counters();
        match self.first {
            Some(_) => counters.token(now - self.last),
            None => {
                tracing::trace!(parent: &self.client.span, "a first token is chosen");
                counters.first_token(now - self.client.arrived);
                self.first = Some(now);
            }
        }
        self.last = now;
    }

    fn say(&mut self, token: ChosenToken) {
        let ChosenToken { id, text, logprobs } = token;
        if let Some(logprobs) = logprobs {
            let bytes = |id| self.engine.tokenizer().token_bytes(id).into_owned().into();
            let top = logprobs.top.into_iter();
            self.told.tokens.push(TokenInfo {
                id,
                bytes: bytes(id),
                logprob: logprobs.chosen,
                top: top.map(|(id, logprob)| (id, bytes(id), logprob)).collect(),
            });
        }
        let (told, client) = (&mut self.told, &self.client);
        told.reasoning_tokens += usize::from(self.reader.is_reasoning());
        let (mut content, mut other) = (false, false);
        self.reader.push(&text, &mut |piece| {
            match piece {
                Piece::Content(_) => content = true,
                Piece::Reasoning(_) | Piece::ToolCall { .. } | Piece::ToolArguments(_) => {
                    other = true;
                }
            }
            client.tell(told.update(piece));
        });
        if other && !content {
            // Tokens of reasoning and calls are not part of the content.
            told.tokens.clear();
        }
    }

    /// Ends the answer successfully: sends the remaining text and the summary. Returns how long the
    /// request ran.
    pub(super) fn done(mut self, reason: StopReason) -> Duration {
        let rest = self.generator.finish();
        let (told, client) = (&mut self.told, &self.client);
        let out = &mut |piece| client.tell(told.update(piece));
        self.reader.push(&rest, out);
        self.reader.finish(out);
        if !told.tokens.is_empty() {
            client.tell(told.update(Piece::Content(String::new().into())));
        }
        let summary = self.summary(reason);
        self.log("answered", Some(&summary));
        self.client.done(Update::Done(summary));
        self.started.elapsed()
    }

    pub(super) fn fail(self, error: RequestError) {
        self.log("failed", None);
        self.client.fail(error);
    }

    pub(super) fn cancelled(self) {
        self.log("cancelled", None);
        self.client.cancelled();
    }

    fn summary(&self, reason: StopReason) -> Summary {
        let first = self.first.unwrap_or(self.last);
        Summary {
            finish: match reason {
                StopReason::StopText => Finish::Stop,
                StopReason::MaxTokens | StopReason::ContextFull | StopReason::Cancelled => {
                    Finish::Length
                }
                StopReason::EndOfTurn if self.told.calls_tools => Finish::ToolCalls,
                StopReason::EndOfTurn => Finish::EndOfTurn,
            },
            prompt_tokens: self.prompt_tokens,
            cached_tokens: self.cached_tokens,
            completion_tokens: self.generator.generated().len(),
            reasoning_tokens: self.told.reasoning_tokens,
            waited: self.waited.saturating_sub(self.client.loading),
            loading: self.client.loading,
            prefill: first.saturating_duration_since(self.started),
            decode: self.last.saturating_duration_since(first),
        }
    }

    /// Logs the end of the request, with numbers only.
    fn log(&self, outcome: &'static str, summary: Option<&Summary>) {
        let first_ms = self
            .first
            .map(|first| (first - self.client.arrived).as_millis() as u64);
        tracing::debug!(
            parent: &self.client.span,
            outcome,
            prompt_tokens = self.prompt_tokens,
            cached_tokens = self.cached_tokens,
            completion_tokens = self.generator.generated().len(),
            waited_ms = self.waited.as_millis() as u64,
            first_token_ms = first_ms,
            decode_ms = summary.map(|summary| summary.decode.as_millis() as u64),
            "a request has ended"
        );
    }
}

impl Told {
    /// The update for a piece.
    fn update(&mut self, piece: Piece) -> Update {
        match piece {
            Piece::Reasoning(text) => Update::Reasoning(text),
            Piece::Content(text) => Update::Content {
                text,
                tokens: match self.wants_tokens {
                    true => std::mem::take(&mut self.tokens),
                    false => Vec::new(),
                },
            },
            Piece::ToolCall { index, id, name } => {
                self.calls_tools = true;
                Update::ToolCall { index, id, name }
            }
            Piece::ToolArguments(text) => Update::ToolArguments(text),
        }
    }
}
