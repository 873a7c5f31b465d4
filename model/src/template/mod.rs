//! Chat templates: convert a conversation to the tokens that a model was trained to continue.
//!
//! A file's `tokenizer.chat_template` is a Jinja template, written for Python's Jinja 2 in the
//! environment of the Transformers library. Here it runs in `minijinja` with the same environment
//! (`tests/compare/templates.py` compares the two).
//!
//! **Content stays text.** Control tokens are matched in the template's own text, but not in
//! message content, whoever wrote it: a letter that spells `<|im_end|>` does not end the turn that
//! quotes it. The module `marks` describes how the two are distinguished. The same holds for tokens
//! that a vocabulary declares as text, such as `<think>` in many, if the template itself writes
//! them: they are not matched in messages to the model. (Other such tokens are matched, as in any
//! text.)
//!
//! **Content is not lost.** Templates that need content in parts receive parts. If a template
//! refuses or ignores system messages, they are put before the first user message. If the rendered
//! text still lacks the user's last message, that is an error.
//!
//! Templates come with model files and are untrusted. They see nothing but the conversation.
//! Rendering is limited by an amount of fuel that grows with the conversation and bounds steps and
//! memory. It runs on a thread whose stack is large enough for any nesting of values that the fuel
//! allows. (A malicious template can still waste time: the fuel does not cover comparisons of lists
//! that contain the same lists over and over.)

mod chat;
mod date;
mod error;
mod functions;
mod habits;
mod json;
mod marks;
mod message;
mod python;
mod role;
#[cfg(test)]
mod said_tests;
mod source;
#[cfg(test)]
mod tests;
mod tools;

use std::fmt;
use std::sync::OnceLock;
use std::thread;

use minijinja::Environment;
use minijinja::value::Value;

pub use date::Date;
pub use error::TemplateError;
pub use message::{Content, Json, Message, ToolCall};
pub use role::Role;

use crate::gguf::Metadata;
use crate::tokenizer::{TokenId, Tokenizer};
use habits::Habits;
use marks::{Marks, Spelled};
use message::Rewrite;
use tools::ToolHabits;

/// The maximum length of a template in bytes; real ones have up to 30,000.
pub const SOURCE_LIMIT: usize = 1 << 20;
const NAME: &str = "chat";

/// A template for files without one, in the format of many models: each message between
/// `<|im_start|>` with the role and `<|im_end|>`.
pub const CHATML: &str = "{% for message in messages %}{{ '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

/// Fuel of a rendering: a fixed amount, plus more for each message and each byte of content. Real
/// templates take a hundred steps per message.
const FUEL: u64 = 100_000;
const FUEL_PER_MESSAGE: u64 = 2_000;
/// A step pays for 64 bytes, so each byte can be copied 16 times.
const BYTES_PER_FUEL: u64 = 4;
/// Maximum stack bytes per step, from putting a list into a list: measured 250.
const STACK_PER_FUEL: u64 = 512;
const STACK: u64 = 1 << 20;

/// The variables by which templates let the caller choose whether the model thinks first.
const THINKING: [&str; 2] = ["enable_thinking", "thinking"];

/// Inputs of a rendering, apart from the messages.
#[derive(Debug, Clone, Copy)]
pub struct RenderOptions<'a> {
    /// Whether to append the start of the model's answer.
    pub add_generation_prompt: bool,
    /// Descriptions of the tools that the model may call.
    pub tools: &'a [Json],
    /// Whether the model should think before it answers; the template's default if `None`.
    pub thinking: Option<bool>,
}

impl Default for RenderOptions<'_> {
    fn default() -> Self {
        Self {
            add_generation_prompt: true,
            tools: &[],
            thinking: None,
        }
    }
}

/// A model's chat template, ready to render.
pub struct ChatTemplate {
    environment: Environment<'static>,
    source: Box<str>,
    bos: String,
    eos: String,
    date: Option<Date>,
    /// The variables of [`THINKING`] that the template reads.
    thinking: Vec<&'static str>,
    marks: Marks,
    /// Text tokens that act as control tokens in the template's own text, ascending.
    written: Box<[TokenId]>,
    habits: OnceLock<Habits>,
    tools: OnceLock<ToolHabits>,
}

impl ChatTemplate {
    /// Loads the chat template of a file. Returns `None` if the file has none, for example because
    /// its model was not trained to chat.
    ///
    /// # Errors
    /// Those of [`Self::new`], and [`TemplateError::Field`] if the field is not a string.
    pub fn from_metadata(
        metadata: &Metadata,
        tokenizer: &Tokenizer,
    ) -> Result<Option<Self>, TemplateError> {
        source_of(metadata)?
            .map(|source| Self::for_tokenizer(source, tokenizer))
            .transpose()
    }

    /// Checks that the chat template of a file, if any, can be read.
    ///
    /// # Errors
    /// Same as [`Self::from_metadata`].
    pub fn check(metadata: &Metadata) -> Result<(), TemplateError> {
        match source_of(metadata)? {
            Some(source) => Self::new(source, "", "").map(|_| ()),
            None => Ok(()),
        }
    }

    /// Creates a chat template for a vocabulary.
    ///
    /// # Errors
    /// Those of [`Self::new`].
    pub fn for_tokenizer(source: &str, tokenizer: &Tokenizer) -> Result<Self, TemplateError> {
        let text = |token: Option<TokenId>| {
            let bytes = token.map_or_else(Default::default, |id| tokenizer.token_bytes(id));
            String::from_utf8_lossy(&bytes).into_owned()
        };
        let mut template = Self::new(source, text(tokenizer.bos()), text(tokenizer.eos()))?;
        template.written = tokenizer.written_by(source);
        let structure = tokenizer.structure_texts();
        let structure = structure.filter_map(|text| str::from_utf8(text).ok());
        let written = template.written.iter();
        let written: Vec<_> = written.map(|&id| text(Some(id))).collect();
        let written = written.iter().map(|text| (&**text, Spelled::ToModel));
        let spellings = structure.map(|text| (text, Spelled::ByAnyone));
        template.marks = Marks::new(source, spellings.chain(written));
        Ok(template)
    }

    /// Creates a chat template from its source and the texts of the tokens that start and end a
    /// text, which templates call `bos_token` and `eos_token`. For rendering only: [`Self::encode`]
    /// needs a template that knows its vocabulary.
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
            .add_template_owned(NAME, source::prepare(source))
            .map_err(|error| TemplateError::from_parsing(&error))?;
        let read = environment
            .get_template(NAME)
            .map(|template| template.undeclared_variables(false))
            .unwrap_or_default();
        Ok(Self {
            environment,
            source: source.into(),
            bos: bos.into(),
            eos: eos.into(),
            date: None,
            // The engine does not report a variable that the template also sets, for example to a
            // default. The first name has no other meaning, so search for its text.
            thinking: THINKING
                .into_iter()
                .filter(|&name| read.contains(name) || name == THINKING[0] && source.contains(name))
                .collect(),
            marks: Marks::default(),
            written: Box::default(),
            habits: OnceLock::new(),
            tools: OnceLock::new(),
        })
    }

    /// Sets the date for `strftime_now` and `date_string`. Without a date these are undefined, and
    /// templates fall back to a fixed date or none.
    #[must_use]
    pub fn with_date(mut self, today: Date) -> Self {
        functions::add_date(&mut self.environment, today);
        self.date = Some(today);
        self
    }

    /// The template's source.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether the template lets the caller choose whether the model thinks first.
    pub fn has_thinking_switch(&self) -> bool {
        !self.thinking.is_empty()
    }

    /// Renders exactly these messages as text.
    ///
    /// The text contains special tokens in written form, possibly including BOS. The template's own
    /// tokens cannot be distinguished from those in messages, so use [`Self::encode`] for a model.
    ///
    /// # Errors
    /// [`TemplateError::Refused`], [`TemplateError::TooMuch`], [`TemplateError::Render`],
    /// [`TemplateError::Thread`], [`TemplateError::NoThinkingSwitch`].
    pub fn render(
        &self,
        messages: &[Message],
        options: &RenderOptions<'_>,
    ) -> Result<String, TemplateError> {
        self.render_rewritten(messages, options, &|_, text| text.to_owned())
    }

    fn render_rewritten(
        &self,
        messages: &[Message],
        options: &RenderOptions<'_>,
        rewrite: Rewrite<'_>,
    ) -> Result<String, TemplateError> {
        if options.thinking.is_some() && self.thinking.is_empty() {
            return Err(TemplateError::NoThinkingSwitch);
        }
        let variables = self.variables(messages, options, rewrite);
        let said: usize = messages.iter().map(message_bytes).sum();
        let tools: usize = options.tools.iter().map(Json::bytes).sum();
        // Tool descriptions are mostly keys and structure, which take more steps.
        let said = said as u64 + 16 * tools as u64;
        let fuel = FUEL + FUEL_PER_MESSAGE * messages.len() as u64 + said / BYTES_PER_FUEL;
        let stack = STACK.saturating_add(fuel.saturating_mul(STACK_PER_FUEL));
        let mut environment = self.environment.clone();
        environment.set_fuel(Some(fuel));
        let render = || {
            environment
                .get_template(NAME)
                .and_then(|template| template.render(variables))
                .map_err(|error| TemplateError::from_rendering(&error))
        };
        thread::scope(|scope| {
            let rendering = thread::Builder::new()
                .name("chat-template".into())
                .stack_size(usize::try_from(stack).unwrap_or(usize::MAX))
                .spawn_scoped(scope, render)
                .map_err(TemplateError::thread)?;
            rendering.join().unwrap_or_else(|_| {
                Err(TemplateError::Render {
                    message: "the template engine failed".into(),
                })
            })
        })
    }

    fn variables(
        &self,
        messages: &[Message],
        options: &RenderOptions<'_>,
        rewrite: Rewrite<'_>,
    ) -> Value {
        let tools = options.tools.iter();
        let tools = tools.map(|tool| message::json_value(tool.value(), Role::System, rewrite));
        // Pass `none` if there are no tools, as the Transformers library does.
        let tools = match options.tools {
            [] => ().into(),
            _ => tools.collect(),
        };
        let mut pairs = vec![
            ("messages", message::messages_value(messages, rewrite)),
            (
                "add_generation_prompt",
                options.add_generation_prompt.into(),
            ),
            ("bos_token", (&*self.bos).into()),
            ("eos_token", (&*self.eos).into()),
            ("tools", tools),
            ("documents", ().into()),
        ];
        if let Some(date) = self.date.and_then(|date| date.format("%d %b %Y")) {
            pairs.push(("date_string", date.into()));
        }
        if let Some(thinking) = options.thinking {
            pairs.extend(self.thinking.iter().map(|name| (*name, thinking.into())));
        }
        Value::from_pairs(pairs)
    }
}

fn source_of(metadata: &Metadata) -> Result<Option<&str>, TemplateError> {
    let source = metadata.str("tokenizer.chat_template");
    source.map_err(|error| TemplateError::Field(error.to_string()))
}

/// Bytes of a message that a template copies.
fn message_bytes(message: &Message) -> usize {
    let calls: usize = message
        .tool_calls
        .iter()
        .map(|call| call.name.len() + 16 * call.arguments.bytes())
        .sum();
    message.content.bytes() + message.reasoning.as_ref().map_or(0, String::len) + calls
}

impl fmt::Debug for ChatTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChatTemplate")
            .field("bos", &self.bos)
            .field("eos", &self.eos)
            .finish_non_exhaustive()
    }
}
