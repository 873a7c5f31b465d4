//! Answers that are sent whole.

use super::answers::{Choices, lost};
use super::fault::Fault;
use crate::serve::{Summary, TokenInfo, Update};

/// A choice of an answer.
#[derive(Default)]
pub(super) struct Whole {
    pub(super) content: String,
    pub(super) reasoning: String,
    pub(super) calls: Vec<Call>,
    pub(super) tokens: Vec<TokenInfo>,
    pub(super) summary: Option<Summary>,
}

/// A tool call.
pub(super) struct Call {
    pub(super) id: String,
    pub(super) name: String,
    /// JSON; empty if the model wrote none.
    arguments: String,
}

impl Call {
    pub(super) fn new(id: String, name: String) -> Self {
        Self {
            id,
            name,
            arguments: String::new(),
        }
    }

    pub(super) fn push(&mut self, arguments: &str) {
        self.arguments.push_str(arguments);
    }

    /// The arguments as a JSON object: an empty one if the model wrote none.
    pub(super) fn arguments(&self) -> &str {
        match self.arguments.trim().is_empty() {
            true => "{}",
            false => &self.arguments,
        }
    }
}

impl Whole {
    /// Adds an update; never [`Update::Failed`].
    pub(super) fn take(&mut self, update: Update) {
        match update {
            Update::Reasoning(text) => self.reasoning.push_str(&text),
            Update::Content { text, tokens } => {
                self.content.push_str(&text);
                self.tokens.extend(tokens);
            }
            Update::ToolCall { id, name, .. } => self.calls.push(Call::new(id, name)),
            Update::ToolArguments(text) => {
                if let Some(call) = self.calls.last_mut() {
                    call.push(&text);
                }
            }
            Update::Done(summary) => self.summary = Some(summary),
            Update::Waiting { .. }
            | Update::Loading { .. }
            | Update::Started { .. }
            | Update::Reading { .. }
            | Update::Failed(_) => {}
        }
    }
}

/// Collects all choices until their end.
///
/// # Errors
/// One of them failed.
pub(super) async fn collect(mut choices: Choices) -> Result<Vec<(Whole, Summary)>, Fault> {
    let mut all: Vec<_> = (0..choices.len()).map(|_| Whole::default()).collect();
    while let Some((choice, update)) = choices.next().await {
        if let Update::Failed(error) = update {
            return Err(error.into());
        }
        all[choice].take(update);
    }
    let whole = all.into_iter().map(|mut whole| {
        let summary = whole.summary.take();
        summary.map(|summary| (whole, summary))
    });
    let whole: Option<Vec<_>> = whole.collect();
    whole.ok_or_else(|| lost().into())
}
