//! A conversation: turns, the sequence that holds their KV cache, and what happens when they no
//! longer fit.

#[cfg(test)]
mod tests;
mod window;

use serde::Serialize;

use crate::answer::{Answer, AnswerError, generate_from, shared_prefix};
use crate::engine::{Engine, Event, GenerateOptions, Message, ModelError, Role, Sequence, TokenId};
use crate::prompt::{self, PromptError, PromptOptions};
use crate::{Cancel, Private};
use window::Window;

/// One exchange.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct Turn {
    /// What the user said.
    pub user: Private<String>,
    /// What the model answered.
    pub assistant: Private<String>,
}

/// A conversation with one model.
///
/// **When the context is full** the oldest turns are left out of what the model is given, the
/// system message never: a quarter of the context is always free for the answer, and when the turns
/// take more than the rest, another quarter is freed at once, so that this happens once in several
/// turns. They stay in [`Conversation::turns`]. A message that does not fit alone is refused.
///
/// Each answer computes only what the sequence does not hold: the tokens that the new prompt shares
/// with the last one are reused, unless a model with sliding windows no longer holds what the token
/// after them sees. After turns were left out these are few; [`Conversation::catch_up`] reads the others
/// again before the next message is there.
pub struct Conversation<S> {
    system: Option<Private<String>>,
    written: PromptOptions,
    turns: Vec<Turn>,
    // INVARIANT: at most turns.len(); turns before it are no longer shown to the model.
    first_shown: usize,
    sequence: S,
}

/// An answer within a conversation.
#[derive(Clone)]
pub struct Reply {
    /// The answer.
    pub answer: Answer,
    /// How many turns had to be left out for it that were shown before.
    pub left_out: usize,
}

/// Fewer tokens than this are not worth a step of their own: the next prompt reads them.
const WORTH_READING: usize = 64;

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
            system: system.map(Private::from),
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
        self.system.as_deref().map(String::as_str)
    }

    /// Changes the system message; earlier turns stay.
    pub fn set_system(&mut self, system: Option<String>) {
        self.system = system.map(Private::from);
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
                user: text.to_owned().into(),
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

    /// Reads what every next prompt begins with, as far as the sequence does not hold it: for while
    /// nobody has said anything yet. Returns how many tokens were read; none are if they are few.
    ///
    /// `go_on` is asked now and then. When it says no, what was read stays, and the next answer reads
    /// the rest. No answer depends on how much that was.
    ///
    /// # Errors
    /// As [`Conversation::say`], which meets the same.
    pub fn catch_up(
        &mut self,
        engine: &Engine,
        go_on: &mut dyn FnMut() -> bool,
    ) -> Result<usize, ConversationError> {
        let first_shown = self.before_message(engine)?;
        let standing = self.standing(engine, first_shown)?;
        let held = shared_prefix(self.sequence.tokens(), &standing);
        let missing = standing.len().saturating_sub(held);
        if missing < WORTH_READING || standing.len() >= self.sequence.capacity() || !go_on() {
            return Ok(0);
        }
        let held = self.sequence.truncate(held);
        let read = self
            .sequence
            .read(&standing[held..], &mut |_| go_on(), |_| ());
        read.map_err(AnswerError::from)?;
        Ok(self.sequence.tokens().len().saturating_sub(held))
    }

    /// The prompt that `text` makes with as many turns as fit.
    fn window(&self, engine: &Engine, text: &str) -> Result<Window, PromptError> {
        let capacity = self.sequence.capacity();
        let bytes = text.len() + self.system().map_or(0, str::len);
        prompt::check_bytes(engine, bytes, capacity)?;
        let first_shown = self.before_message(engine)?;
        let window = window::fit(first_shown, self.turns.len(), capacity, &mut |first| {
            self.encode(engine, first, text)
        })?;
        prompt::check_length(window.ids.len(), capacity, engine.config().context)?;
        Ok(window)
    }

    /// The first turn that the next message follows if it is short.
    fn before_message(&self, engine: &Engine) -> Result<usize, PromptError> {
        let (turns, capacity) = (self.turns.len(), self.sequence.capacity());
        window::before_message(self.first_shown, turns, capacity, &mut |first| {
            let shortest = self.encode(engine, first, "a")?;
            Ok(shortest.len())
        })
    }

    /// The ids that every prompt with these turns begins with, whatever the message.
    fn standing(&self, engine: &Engine, first_shown: usize) -> Result<Vec<TokenId>, PromptError> {
        // A template may write earlier turns differently when another follows.
        let with = |text| self.encode(engine, first_shown, text);
        let (mut ids, other) = (with("a")?, with("0")?);
        ids.truncate(shared_prefix(&ids, &other));
        Ok(ids)
    }

    /// The prompt that `text` makes with the turns from `first_shown` on.
    fn encode(
        &self,
        engine: &Engine,
        first_shown: usize,
        text: &str,
    ) -> Result<Vec<TokenId>, PromptError> {
        prompt::encode_messages(engine, &self.messages(first_shown, text), self.written)
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
