//! A conversation: turns, the sequence that holds their KV cache, and what happens when they no
//! longer fit.

mod window;

use serde::Serialize;

use crate::Cancel;
use crate::answer::{Answer, AnswerError, generate_from};
use crate::engine::{Engine, Event, GenerateOptions, Message, ModelError, Role, Sequence};
use crate::prompt::{self, PromptError, PromptOptions};
use window::Window;

/// One exchange.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Turn {
    /// What the user said.
    pub user: String,
    /// What the model answered.
    pub assistant: String,
}

/// A conversation with one model.
///
/// **When the context is full** the oldest turns are left out of what the model is given, the
/// system message never; enough of them that a quarter of the context is free for the answer.
/// They stay in [`Conversation::turns`]. A message that does not fit alone is refused.
///
/// Each answer computes only what the sequence does not hold: the tokens that the new prompt shares
/// with the last one are reused.
pub struct Conversation<S> {
    system: Option<String>,
    written: PromptOptions,
    turns: Vec<Turn>,
    // INVARIANT: at most turns.len(); turns before it are no longer shown to the model.
    first_shown: usize,
    sequence: S,
}

/// An answer within a conversation.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The answer.
    pub answer: Answer,
    /// How many turns had to be left out for it that were shown before.
    pub left_out: usize,
}

/// Nothing to retry.
#[derive(Debug, thiserror::Error)]
pub enum ConversationError {
    /// No turn yet.
    #[error("there is no answer to retry yet: ask something first")]
    NothingToRetry,
    /// No answer.
    #[error(transparent)]
    Answer(#[from] AnswerError),
}

impl From<PromptError> for ConversationError {
    fn from(error: PromptError) -> Self {
        Self::Answer(error.into())
    }
}

impl<S: Sequence> Conversation<S>
where
    AnswerError: From<S::Error>,
{
    /// An empty conversation in a sequence that is new.
    ///
    /// # Errors
    /// Those of [`prompt::check_conversation`], for a model that cannot hold one.
    pub fn new(
        engine: &Engine,
        sequence: S,
        system: Option<String>,
        written: PromptOptions,
    ) -> Result<Self, PromptError> {
        prompt::check_conversation(engine, written)?;
        Ok(Self {
            system,
            written,
            turns: Vec::new(),
            first_shown: 0,
            sequence,
        })
    }

    /// All turns, also those that the model is no longer shown.
    pub fn turns(&self) -> &[Turn] {
        &self.turns
    }

    /// The system message.
    pub fn system(&self) -> Option<&str> {
        self.system.as_deref()
    }

    /// Changes the system message; earlier turns stay.
    pub fn set_system(&mut self, system: Option<String>) {
        self.system = system;
    }

    /// Forgets all turns.
    pub fn clear(&mut self) {
        self.turns.clear();
        self.first_shown = 0;
    }

    /// Positions used and available.
    pub fn fill(&self) -> (usize, usize) {
        (self.sequence.tokens().len(), self.sequence.capacity())
    }

    /// Says `text` and returns the answer. One that was cancelled is kept as far as it got; if
    /// nothing was said yet, the turn is as if it had never been.
    ///
    /// # Errors
    /// [`ConversationError::Answer`]; the conversation is then as it was.
    pub fn say(
        &mut self,
        engine: &Engine,
        text: &str,
        options: &GenerateOptions,
        cancel: &Cancel,
        on_event: &mut dyn FnMut(Event<'_>),
    ) -> Result<Reply, ConversationError> {
        prompt::check_not_empty(text)?;
        let window = self.window(engine, text)?;
        let left_out = window.first_shown - self.first_shown;
        let answer = generate_from(
            engine,
            &mut self.sequence,
            &window.ids,
            options,
            cancel,
            on_event,
        )?;
        self.first_shown = window.first_shown;
        if !(answer.is_cancelled() && answer.token_ids.is_empty()) {
            self.turns.push(Turn {
                user: text.to_owned(),
                assistant: answer.text.clone(),
            });
        }
        Ok(Reply { answer, left_out })
    }

    /// Answers the last turn again. By construction the same settings and seed give the same
    /// answer, so `options` should have another seed.
    ///
    /// # Errors
    /// [`ConversationError`]; the conversation is then as it was.
    pub fn retry(
        &mut self,
        engine: &Engine,
        options: &GenerateOptions,
        cancel: &Cancel,
        on_event: &mut dyn FnMut(Event<'_>),
    ) -> Result<Reply, ConversationError> {
        let last = self.turns.pop().ok_or(ConversationError::NothingToRetry)?;
        let (turns, first_shown) = (self.turns.len(), self.first_shown);
        self.first_shown = first_shown.min(turns);
        let outcome = self.say(engine, &last.user, options, cancel, on_event);
        if self.turns.len() == turns {
            // No new answer: the old one stands.
            self.turns.push(last);
            self.first_shown = first_shown;
        }
        outcome
    }

    /// The prompt that `text` makes with as many turns as fit.
    fn window(&self, engine: &Engine, text: &str) -> Result<Window, PromptError> {
        let capacity = self.sequence.capacity();
        let bytes = text.len() + self.system.as_ref().map_or(0, String::len);
        prompt::check_bytes(engine, bytes, capacity)?;
        let window = window::fit(self.first_shown, self.turns.len(), capacity, &mut |first| {
            prompt::encode_messages(engine, &self.messages(first, text), self.written)
        })?;
        prompt::check_length(window.ids.len(), capacity, engine.config().context)?;
        Ok(window)
    }

    fn messages(&self, first_shown: usize, text: &str) -> Vec<Message> {
        let mut messages = Vec::new();
        messages.extend(
            self.system
                .as_deref()
                .map(|text| Message::new(Role::System, text)),
        );
        for turn in &self.turns[first_shown..] {
            messages.push(Message::new(Role::User, turn.user.as_str()));
            messages.push(Message::new(Role::Assistant, turn.assistant.as_str()));
        }
        messages.push(Message::new(Role::User, text));
        messages
    }
}

impl From<ModelError> for ConversationError {
    fn from(error: ModelError) -> Self {
        Self::Answer(error.into())
    }
}
