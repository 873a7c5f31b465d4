//! What a drafter's guesses give.

use std::ops::ControlFlow;
use std::time::Duration;

use serde::Serialize;

use super::BenchError;
use crate::Cancel;
use crate::engine::{
    Engine, Event, GenerateOptions, LocalSequence, SamplerSettings, Sequence as _, StopReason,
    generate,
};
use crate::prompt::{self, PromptOptions};

/// What is asked, in turn: how much can be guessed depends on the text.
const QUESTIONS: [&str; 5] = [
    "Why is the sky blue?",
    "Write a Python function that merges two sorted lists, with comments.",
    "Write a short story about a fox and a train.",
    "List ten facts about whales.",
    "Write an email to my landlord about a broken heater.",
];

/// What a drafter's guesses give in answers to a few questions, each token the most likely one.
#[derive(Debug, Clone, Serialize)]
pub struct GuessingReport {
    /// Rate of the answers with guesses.
    pub tokens_per_s: f64,
    /// Rate of the same answers without.
    pub plain_tokens_per_s: f64,
    /// The first divided by the second.
    pub gain: f64,
    /// Tokens of the answers.
    pub tokens: usize,
    /// Guesses that were computed in the model's steps.
    pub guesses: u64,
    /// Those of them that were right.
    pub right: u64,
    /// Weights that the drafter reads for a token, as a share of the model's.
    pub weight_share: f64,
}

/// Answers with a drafter's guesses and without; none if the engine has no drafter.
pub(super) struct Guessing<'a> {
    engine: &'a Engine,
    /// The most tokens of an answer.
    tokens: usize,
    cancel: &'a Cancel,
    plain: Answers,
    guessed: Answers,
}

/// What was counted of some answers.
#[derive(Debug, Default)]
struct Answers {
    /// Those after the first, which comes out of the prompt.
    tokens: usize,
    time: Duration,
    guesses: u64,
    right: u64,
}

impl Answers {
    fn add(&mut self, other: &Self) {
        self.tokens += other.tokens;
        self.time += other.time;
        self.guesses += other.guesses;
        self.right += other.right;
    }

    /// 0 if nothing was answered.
    fn rate(&self) -> f64 {
        self.tokens as f64 / self.time.as_secs_f64().max(f64::MIN_POSITIVE)
    }
}

impl<'a> Guessing<'a> {
    /// Brings the drafter's weights into memory.
    pub(super) fn begin(
        engine: &'a Engine,
        tokens: usize,
        cancel: &'a Cancel,
    ) -> Result<Self, BenchError> {
        let guessing = Self {
            engine,
            tokens,
            cancel,
            plain: Answers::default(),
            guessed: Answers::default(),
        };
        if engine.draft_model().is_some() {
            guessing.answer(0, true)?;
        }
        Ok(guessing)
    }

    /// Answers a question both ways. Which one is first changes from round to round.
    pub(super) fn round(&mut self, round: usize) -> Result<(), BenchError> {
        if self.engine.draft_model().is_none() {
            return Ok(());
        }
        let guesses_first = round % 2 == 1;
        for guesses in [guesses_first, !guesses_first] {
            let answer = self.answer(round, guesses)?;
            match guesses {
                true => self.guessed.add(&answer),
                false => self.plain.add(&answer),
            }
        }
        Ok(())
    }

    fn answer(&self, round: usize, guesses: bool) -> Result<Answers, BenchError> {
        let question = QUESTIONS[round % QUESTIONS.len()];
        let options = PromptOptions::default();
        let ids = prompt::encode_question(self.engine, question, None, false, options)?;
        let mut sequence = LocalSequence::new(self.engine, self.engine.new_session()?);
        prompt::check_length(ids.len(), sequence.capacity(), self.engine.config().context)?;
        if guesses {
            sequence = sequence.with_drafts();
        }
        let options = GenerateOptions {
            sampling: SamplerSettings::greedy(),
            max_tokens: self.tokens.saturating_add(1),
            ..GenerateOptions::default()
        };
        let mut goes_on = |_: Event<'_>| match self.cancel.is_cancelled() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        };
        let tokenizer = self.engine.tokenizer();
        let answer = generate(&mut sequence, tokenizer, &ids, &options, &mut goes_on)?;
        if answer.stop_reason == StopReason::Cancelled {
            return Err(BenchError::Cancelled);
        }
        let drafts = sequence.drafts();
        Ok(Answers {
            tokens: answer.token_ids.len().saturating_sub(1),
            time: answer.decode,
            guesses: drafts.sent,
            right: drafts.right,
        })
    }

    pub(super) fn report(self) -> Option<GuessingReport> {
        let model = self.engine.draft_model()?;
        let (plain, guessed) = (self.plain.rate(), self.guessed.rate());
        Some(GuessingReport {
            tokens_per_s: guessed,
            plain_tokens_per_s: plain,
            gain: guessed / plain.max(f64::MIN_POSITIVE),
            tokens: self.guessed.tokens,
            guesses: self.guessed.guesses,
            right: self.guessed.right,
            weight_share: model.share(),
        })
    }
}
