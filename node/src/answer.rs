//! One answer: the tokens, the text and how fast they came.

use std::ops::ControlFlow;
use std::time::Duration;

use serde::Serialize;

use crate::engine::{
    Engine, Event, GenerateOptions, Generation, ModelError, Sequence, StopReason, TokenId, generate,
};
use crate::prompt::{self, PromptError, PromptOptions};
use crate::together::TogetherError;
use crate::{Cancel, Private};

/// What `run` is asked.
#[derive(Clone)]
pub struct Question {
    /// The text.
    pub prompt: Private<String>,
    /// A system message before it.
    pub system: Option<Private<String>>,
    /// Give the model the text as it stands, without the chat template.
    pub raw: bool,
    /// How it is written for the model.
    pub written: PromptOptions,
    /// Sampling and the most tokens to generate.
    pub generate: GenerateOptions,
}

/// What a model answered; `run --json` prints it.
#[derive(Clone, Serialize)]
pub struct Answer {
    /// The generated text, without the end-of-turn token.
    pub text: Private<String>,
    /// The generated tokens.
    pub token_ids: Private<Vec<TokenId>>,
    /// All tokens the model was given, reused ones included.
    pub prompt_token_ids: Private<Vec<TokenId>>,
    /// Prompt tokens computed for this answer a second; `null` if that took no measurable time.
    pub prefill_tokens_per_s: Option<f64>,
    /// Tokens after the first a second; `null` if there are none.
    pub decode_tokens_per_s: Option<f64>,
    /// From the start of the prefill to the first token.
    pub time_to_first_token_s: f64,
    /// Prompt tokens found in the session's KV cache instead of computed.
    pub reused_tokens: usize,
    /// Why it ended: `end_of_turn`, `stop_text`, `max_tokens`, `context_full` or `cancelled`.
    pub stop_reason: &'static str,
    /// The seed: with the same settings it gives the same answer again.
    pub seed: u64,
    /// Guesses of its tokens. They change no token.
    pub drafts: Drafts,
}

/// Counts of guessed tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Drafts {
    /// Guesses computed, or sent to other devices, before it was known whether they are right.
    pub sent: u64,
    /// Those of them that were right.
    pub right: u64,
}

impl Drafts {
    /// Those since `before`.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self {
            sent: self.sent - before.sent,
            right: self.right - before.right,
        }
    }
}

impl From<potluck_model::Drafts> for Drafts {
    fn from(potluck_model::Drafts { sent, right }: potluck_model::Drafts) -> Self {
        Self { sent, right }
    }
}

impl Answer {
    /// Whether the model ended its turn without a word.
    pub fn says_nothing(&self) -> bool {
        self.stop_reason == stop_reason_name(StopReason::EndOfTurn) && self.text.trim().is_empty()
    }

    /// Whether the user stopped it.
    pub fn is_cancelled(&self) -> bool {
        self.stop_reason == stop_reason_name(StopReason::Cancelled)
    }
}

/// No answer.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// The prompt cannot be used.
    #[error(transparent)]
    Prompt(#[from] PromptError),
    /// The model failed.
    #[error("the model cannot answer")]
    Model(#[from] ModelError),
    /// The devices that compute together failed.
    #[error(transparent)]
    Together(#[from] TogetherError),
}

impl AnswerError {
    /// Whether the model's file has changed, so that no later answer can come either.
    pub fn is_file_changed(&self) -> bool {
        match self {
            Self::Prompt(_) => false,
            Self::Model(error) | Self::Together(TogetherError::Model(error)) => {
                error.is_file_changed()
            }
            Self::Together(TogetherError::Node(_) | TogetherError::Connect(_)) => false,
        }
    }
}

/// Answers one question in a sequence that is new.
///
/// `on_event` is told the progress of the prefill and every token as it comes; `cancel` ends the
/// answer after the token at hand, and what is there is returned.
///
/// # Errors
/// [`AnswerError`].
pub fn answer<S: Sequence>(
    engine: &Engine,
    sequence: &mut S,
    question: &Question,
    cancel: &Cancel,
    on_event: &mut dyn FnMut(Event<'_>),
) -> Result<Answer, AnswerError>
where
    AnswerError: From<S::Error>,
{
    let Question {
        prompt,
        system,
        raw,
        written,
        generate: options,
    } = question;
    let ids = prompt::encode_question(
        engine,
        prompt,
        system.as_deref().map(String::as_str),
        *raw,
        *written,
    )?;
    generate_from(engine, sequence, &ids, options, cancel, on_event)
}

/// Generates after `ids`, computing only those that the sequence does not hold already.
pub(crate) fn generate_from<S: Sequence>(
    engine: &Engine,
    sequence: &mut S,
    ids: &[TokenId],
    options: &GenerateOptions,
    cancel: &Cancel,
    on_event: &mut dyn FnMut(Event<'_>),
) -> Result<Answer, AnswerError>
where
    AnswerError: From<S::Error>,
{
    prompt::check_length(ids.len(), sequence.capacity(), engine.config().context)?;
    // Less than that if the sequence no longer holds what the next token sees.
    let reused = sequence.truncate(shared_prefix(sequence.tokens(), ids));
    let mut stop_when_cancelled = |event: Event<'_>| {
        on_event(event);
        if cancel.is_cancelled() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    };
    let prompt = &ids[reused..];
    let drafts = Drafts::from(sequence.drafts());
    let tokenizer = engine.tokenizer();
    let generation = generate(
        sequence,
        tokenizer,
        prompt,
        options,
        &mut stop_when_cancelled,
    )?;
    let Generation {
        token_ids,
        text,
        stop_reason,
        prefill,
        decode,
        time_to_first_token,
        ..
    } = generation;
    Ok(Answer {
        text: text.into(),
        prompt_token_ids: ids.to_vec().into(),
        prefill_tokens_per_s: rate(ids.len() - reused, prefill),
        // The first token comes out of the prefill.
        decode_tokens_per_s: rate(token_ids.len().saturating_sub(1), decode),
        time_to_first_token_s: time_to_first_token.as_secs_f64(),
        reused_tokens: reused,
        stop_reason: stop_reason_name(stop_reason),
        seed: options.sampling.seed,
        drafts: Drafts::from(sequence.drafts()).since(drafts),
        token_ids: token_ids.into(),
    })
}

/// How many of `wanted`'s first tokens are in `held`, leaving at least one to compute: the logits
/// that the next token comes from are not kept.
pub(crate) fn shared_prefix(held: &[TokenId], wanted: &[TokenId]) -> usize {
    let same = held
        .iter()
        .zip(wanted)
        .take_while(|(held, wanted)| held == wanted)
        .count();
    same.min(wanted.len().saturating_sub(1))
}

/// Tokens a second, if there are tokens and they took time.
pub(crate) fn rate(tokens: usize, time: Duration) -> Option<f64> {
    (tokens > 0 && !time.is_zero()).then(|| tokens as f64 / time.as_secs_f64())
}

fn stop_reason_name(reason: StopReason) -> &'static str {
    match reason {
        StopReason::EndOfTurn => "end_of_turn",
        StopReason::MaxTokens => "max_tokens",
        StopReason::StopText => "stop_text",
        StopReason::ContextFull => "context_full",
        StopReason::Cancelled => "cancelled",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_token_is_always_computed() {
        assert_eq!(shared_prefix(&[1, 2, 3], &[1, 2, 4, 5]), 2);
        assert_eq!(shared_prefix(&[1, 2, 3], &[1, 2]), 1);
        assert_eq!(shared_prefix(&[1, 2], &[1, 2, 3]), 2);
        assert_eq!(shared_prefix(&[], &[7]), 0);
        assert_eq!(shared_prefix(&[7], &[]), 0);
    }

    #[test]
    fn an_answer_of_white_space_says_nothing_if_the_model_ended_it() {
        let answer = |text: &str, reason| Answer {
            text: text.to_owned().into(),
            token_ids: Private::default(),
            prompt_token_ids: Private::default(),
            prefill_tokens_per_s: None,
            decode_tokens_per_s: None,
            time_to_first_token_s: 0.0,
            reused_tokens: 0,
            stop_reason: stop_reason_name(reason),
            seed: 0,
            drafts: Drafts::default(),
        };
        assert!(answer("", StopReason::EndOfTurn).says_nothing());
        assert!(answer(" \n", StopReason::EndOfTurn).says_nothing());
        assert!(!answer("x", StopReason::EndOfTurn).says_nothing());
        assert!(!answer("", StopReason::Cancelled).says_nothing());
    }

    #[test]
    fn a_rate_needs_tokens_and_time() {
        assert_eq!(rate(10, Duration::from_millis(500)), Some(20.0));
        assert_eq!(rate(0, Duration::from_millis(500)), None);
        assert_eq!(rate(10, Duration::ZERO), None);
    }
}
