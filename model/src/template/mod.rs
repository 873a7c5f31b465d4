//! Chat templates: from a conversation to the text that a model was trained to continue.
//!
//! A file's `tokenizer.chat_template` is a Jinja template, written for Python's Jinja 2 as the
//! Transformers library runs it; here it runs in `minijinja` with the same surroundings.
//!
//! Templates come with model files and are not trusted. They see the conversation and nothing
//! else. What a rendering may do is bounded by an amount of fuel that grows with the
//! conversation, which bounds steps and memory, and it runs on a thread whose stack is deep
//! enough for any nesting of values that the fuel allows. (What remains to a malicious template
//! is to waste time: the fuel does not see the comparison of lists that contain the same lists
//! over and over.)

mod date;
mod error;
mod functions;
#[cfg(test)]
mod tests;

use std::fmt;
use std::thread;

use minijinja::Environment;
use minijinja::value::Value;

pub use date::Date;
pub use error::TemplateError;

use crate::gguf::Metadata;
use crate::tokenizer::{TokenId, Tokenizer};

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Instructions for the whole conversation.
    System,
    /// The person.
    User,
    /// The model.
    Assistant,
}

impl Role {
    /// The name that templates use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One thing that was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Who said it.
    pub role: Role,
    /// What was said.
    pub content: String,
}

/// The longest template accepted, in bytes; real ones have up to 30,000.
const SOURCE_LIMIT: usize = 1 << 20;
const NAME: &str = "chat";

/// Steps of a rendering: some in any case, and more for each message and each byte said. Real
/// templates take a hundred steps a message.
const FUEL: u64 = 100_000;
const FUEL_PER_MESSAGE: u64 = 2_000;
/// A step pays for 64 bytes, so this allows each byte to be copied 16 times.
const BYTES_PER_FUEL: u64 = 4;
/// Bytes of stack a step can come to need, by putting a list into a list: measured 250.
const STACK_PER_FUEL: u64 = 512;
const STACK: u64 = 1 << 20;

/// A model's chat template, ready to render.
pub struct ChatTemplate {
    environment: Environment<'static>,
    bos: String,
    eos: String,
}

impl ChatTemplate {
    /// The chat template of a file, or `None` if it has none, as files of models that were not
    /// trained to chat.
    ///
    /// # Errors
    /// Those of [`Self::new`], and [`TemplateError::Field`] if the field is not a text.
    pub fn from_metadata(
        metadata: &Metadata,
        tokenizer: &Tokenizer,
    ) -> Result<Option<Self>, TemplateError> {
        let Some(source) = metadata.str("tokenizer.chat_template")? else {
            return Ok(None);
        };
        let text = |token: Option<TokenId>| {
            let bytes = token.map_or_else(Default::default, |id| tokenizer.token_bytes(id));
            String::from_utf8_lossy(&bytes).into_owned()
        };
        Self::new(source, text(tokenizer.bos()), text(tokenizer.eos())).map(Some)
    }

    /// A chat template from its source and the texts of the tokens that start and end a text,
    /// which templates call `bos_token` and `eos_token`.
    ///
    /// # Errors
    /// [`TemplateError::TooLong`], [`TemplateError::Syntax`].
    pub fn new(
        source: &str,
        bos: impl Into<String>,
        eos: impl Into<String>,
    ) -> Result<Self, TemplateError> {
        if source.len() > SOURCE_LIMIT {
            return Err(TemplateError::TooLong {
                bytes: source.len(),
                limit: SOURCE_LIMIT,
            });
        }
        let mut environment = functions::environment();
        environment
            .add_template_owned(NAME, source.to_owned())
            .map_err(|error| TemplateError::from_parsing(&error))?;
        Ok(Self {
            environment,
            bos: bos.into(),
            eos: eos.into(),
        })
    }

    /// Tells templates that ask, through `strftime_now`, what day it is. Without, they do not
    /// find that function, and fall back on a fixed date or none.
    #[must_use]
    pub fn with_date(mut self, today: Date) -> Self {
        functions::add_date(&mut self.environment, today);
        self
    }

    /// The text of a conversation; with `add_generation_prompt`, up to where the model's answer
    /// starts.
    ///
    /// Special tokens are written out in the text, possibly BOS, too: see
    /// [`Tokenizer::encode_rendered`].
    ///
    /// # Errors
    /// [`TemplateError::Refused`], [`TemplateError::TooMuch`], [`TemplateError::Render`],
    /// [`TemplateError::Thread`].
    pub fn render(
        &self,
        messages: &[Message],
        add_generation_prompt: bool,
    ) -> Result<String, TemplateError> {
        let said: u64 = messages.iter().map(|m| m.content.len() as u64).sum();
        let fuel = FUEL + FUEL_PER_MESSAGE * messages.len() as u64 + said / BYTES_PER_FUEL;
        let stack = STACK.saturating_add(fuel.saturating_mul(STACK_PER_FUEL));
        let mut environment = self.environment.clone();
        environment.set_fuel(Some(fuel));
        let render = || {
            environment
                .get_template(NAME)
                .and_then(|template| {
                    template.render(self.variables(messages, add_generation_prompt))
                })
                .map_err(|error| TemplateError::from_rendering(&error))
        };
        thread::scope(|scope| {
            let rendering = thread::Builder::new()
                .name("chat-template".into())
                .stack_size(usize::try_from(stack).unwrap_or(usize::MAX))
                .spawn_scoped(scope, render)
                .map_err(TemplateError::Thread)?;
            rendering.join().unwrap_or_else(|_| {
                Err(TemplateError::Render {
                    message: "the template engine failed".into(),
                })
            })
        })
    }

    fn variables(&self, messages: &[Message], add_generation_prompt: bool) -> Value {
        let messages = messages.iter().map(|message| {
            Value::from_pairs([
                ("role", Value::from(message.role.name())),
                ("content", Value::from(&*message.content)),
            ])
        });
        Value::from_pairs([
            ("messages", Value::from_iter(messages)),
            ("add_generation_prompt", add_generation_prompt.into()),
            ("bos_token", (&*self.bos).into()),
            ("eos_token", (&*self.eos).into()),
            // Given, though empty, by the library that templates are written for.
            ("tools", ().into()),
            ("documents", ().into()),
        ])
    }
}

impl fmt::Debug for ChatTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChatTemplate")
            .field("bos", &self.bos)
            .field("eos", &self.eos)
            .finish_non_exhaustive()
    }
}
