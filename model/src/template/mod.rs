//! Chat templates: from a conversation to the tokens that a model was trained to continue.
//!
//! A file's `tokenizer.chat_template` is a Jinja template, written for Python's Jinja 2 as the
//! Transformers library runs it; here it runs in `minijinja` with the same surroundings
//! (`tests/compare/templates.py` compares the two).
//!
//! **What is said is text.** The template's own text is searched for control tokens, what was said
//! is not, whoever said it: a letter that spells `<|im_end|>` does not end the turn that quotes it.
//! The page of the module `marks` says how the two are told apart. Tokens that a vocabulary declares as
//! pieces of text, such as `<think>` in many, are none in what was said to the model where the template
//! itself writes them. (Others are found, as in any text.)
//!
//! **What is said is heard.** Templates that want content in parts are given parts. A system
//! message that a template refuses or leaves out is put before the first user message. If what the
//! person said last is missing from the rendered text all the same, that is an error.
//!
//! Templates come with model files and are not trusted. They see the conversation and nothing
//! else. What a rendering may do is bounded by an amount of fuel that grows with the
//! conversation, which bounds steps and memory, and it runs on a thread whose stack is deep
//! enough for any nesting of values that the fuel allows. (What remains to a malicious template
//! is to waste time: the fuel does not see the comparison of lists that contain the same lists
//! over and over.)

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

/// The longest template accepted, in bytes; real ones have up to 30,000.
pub const SOURCE_LIMIT: usize = 1 << 20;
const NAME: &str = "chat";

/// The template that many models were trained with, for files that bring none: each message
/// between `<|im_start|>` with the role and `<|im_end|>`.
pub const CHATML: &str = "{% for message in messages %}{{ '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

/// Steps of a rendering: some in any case, and more for each message and each byte said. Real
/// templates take a hundred steps a message.
const FUEL: u64 = 100_000;
const FUEL_PER_MESSAGE: u64 = 2_000;
/// A step pays for 64 bytes, so this allows each byte to be copied 16 times.
const BYTES_PER_FUEL: u64 = 4;
/// Bytes of stack a step can come to need, by putting a list into a list: measured 250.
const STACK_PER_FUEL: u64 = 512;
const STACK: u64 = 1 << 20;

/// The variables by which templates let a person choose whether the model thinks first.
const THINKING: [&str; 2] = ["enable_thinking", "thinking"];

/// What a rendering is given beside the messages.
#[derive(Debug, Clone, Copy)]
pub struct RenderOptions<'a> {
    /// Whether the text goes on to where the model's answer starts.
    pub add_generation_prompt: bool,
    /// Descriptions of the tools that the model may call.
    pub tools: &'a [Json],
    /// Whether the model is to think before it answers; as the template has it if `None`.
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
    /// Those of [`THINKING`] that the template reads.
    thinking: Vec<&'static str>,
    marks: Marks,
    /// Pieces of text that work as control tokens in what the template writes; ascending.
    written: Box<[TokenId]>,
    habits: OnceLock<Habits>,
    tools: OnceLock<ToolHabits>,
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
        source_of(metadata)?
            .map(|source| Self::for_tokenizer(source, tokenizer))
            .transpose()
    }

    /// Whether the chat template of a file, if it has one, can be read.
    ///
    /// # Errors
    /// As [`Self::from_metadata`].
    pub fn check(metadata: &Metadata) -> Result<(), TemplateError> {
        match source_of(metadata)? {
            Some(source) => Self::new(source, "", "").map(|_| ()),
            None => Ok(()),
        }
    }

    /// A chat template for a vocabulary.
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

    /// A chat template from its source and the texts of the tokens that start and end a text,
    /// which templates call `bos_token` and `eos_token`. For rendering only: [`Self::encode`]
    /// takes a template that knows its vocabulary.
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
            // The engine does not tell of a variable that is also set, as defaults are; the first
            // name is nothing else.
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

    /// Tells templates that ask, through `strftime_now` or `date_string`, what day it is. Without,
    /// they do not find these, and fall back on a fixed date or none.
    #[must_use]
    pub fn with_date(mut self, today: Date) -> Self {
        functions::add_date(&mut self.environment, today);
        self.date = Some(today);
        self
    }

    /// The template's text.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether the template lets a person choose whether the model thinks first.
    pub fn has_thinking_switch(&self) -> bool {
        !self.thinking.is_empty()
    }

    /// The text of a conversation, as the template gives it for just these messages.
    ///
    /// Special tokens are written out in the text, possibly BOS, too; those of the template cannot
    /// be told from those that somebody spelled. For a model, use [`Self::encode`].
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
        // Descriptions of tools are mostly keys and structure, which take more steps.
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
        // `none` if there are none, as the library gives it that templates are written for.
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
