//! Requests: who asks what, and when.

use serde::{Deserialize, Serialize};

use super::error::ScenarioError;
use crate::baseline::Baseline;
use crate::units::Span;

/// Questions of one kind.
///
/// Without `every` and `think` there is one question, at `at`. With `every`, questions are asked in an open
/// loop, whether or not the last was answered. With `think`, the next one is asked so long after the last
/// answer, in a closed loop.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RequestSpec {
    /// The requester: a device's name, `first`, `each`, `any` for a random device each time, or a circle's
    /// name for a random device of it each time.
    pub who: String,
    /// When the first question is asked.
    pub at: Span,
    /// The mean time between two.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub every: Option<Span>,
    /// Whether that time is always the same; if not, it is exponentially distributed.
    pub evenly: bool,
    /// The time from an answer to the next question.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub think: Option<Span>,
    /// The most questions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub times: Option<u32>,
    /// No question is asked after this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Span>,
    /// Rows of the prompt.
    pub prompt: u32,
    /// Tokens of the answer.
    pub tokens: u32,
    /// Drafts: guessed tokens that follow each token through the layers, at most 5 at a time. Two in three
    /// are right; from the first wrong one on they are rolled back.
    pub guesses: u32,
    /// Who may compute.
    pub choice: ChoiceSpec,
    /// The objective of the placement.
    pub objective: Goal,
    /// Positions to reserve; default: those of prompt and answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<u32>,
    /// Memory to leave free on every device, in percent of what is placed there.
    pub headroom: u32,
}

/// Who may compute.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum ChoiceSpec {
    /// The best by the objective; the requester alone is one of the candidates.
    #[default]
    Best,
    /// The requester alone.
    Alone,
    /// As other programs place: `memory-proportional`, `ring-by-rtt`.
    Baseline(Baseline),
    /// As written: `self:0..6,tablet:6..30`; with `,*` at the end other devices may take over.
    Forced(String),
}

impl From<String> for ChoiceSpec {
    fn from(text: String) -> Self {
        match text.as_str() {
            "best" => Self::Best,
            "alone" => Self::Alone,
            "memory-proportional" => Self::Baseline(Baseline::MemoryProportional),
            "ring-by-rtt" => Self::Baseline(Baseline::RingByRtt),
            _ => Self::Forced(text),
        }
    }
}

impl From<ChoiceSpec> for String {
    fn from(choice: ChoiceSpec) -> Self {
        match choice {
            ChoiceSpec::Best => "best".to_owned(),
            ChoiceSpec::Alone => "alone".to_owned(),
            ChoiceSpec::Baseline(Baseline::MemoryProportional) => "memory-proportional".to_owned(),
            ChoiceSpec::Baseline(Baseline::RingByRtt) => "ring-by-rtt".to_owned(),
            ChoiceSpec::Forced(text) => text,
        }
    }
}

/// The objective of a placement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Goal {
    /// One conversation's speed.
    #[default]
    Latency,
    /// The speed of all conversations together.
    Throughput,
    /// Little energy.
    Energy,
}

impl Default for RequestSpec {
    fn default() -> Self {
        Self {
            who: "first".to_owned(),
            at: Span::seconds(2),
            every: None,
            evenly: false,
            think: None,
            times: None,
            until: None,
            prompt: 64,
            tokens: 64,
            guesses: 0,
            choice: ChoiceSpec::Best,
            objective: Goal::Latency,
            context: None,
            headroom: 20,
        }
    }
}

impl RequestSpec {
    /// Positions to reserve.
    pub fn context(&self) -> u32 {
        let least = self.prompt.saturating_add(self.tokens);
        self.context.unwrap_or(least).max(least)
    }

    pub(super) fn check(&self, at: usize) -> Result<(), ScenarioError> {
        let wrong = |field, words: &str| {
            Err(ScenarioError::senseless(
                "request",
                at,
                field,
                words.to_owned(),
            ))
        };
        if self.prompt == 0 || self.tokens == 0 {
            return wrong("prompt", "at least one row, and at least one token");
        }
        if self.context() > 1 << 20 {
            return wrong("tokens", "prompt and answer have at most 1048576 positions");
        }
        if self.guesses > 64 {
            return wrong("guesses", "at most 64");
        }
        if self.every.is_some() && self.think.is_some() {
            let words = "either every, an open loop, or think, a closed one";
            return wrong("every", words);
        }
        if self.every == Some(Span(0)) {
            return wrong("every", "more than 0");
        }
        if self.headroom > 1_000 {
            return wrong("headroom", "at most 1000 percent");
        }
        Ok(())
    }
}
