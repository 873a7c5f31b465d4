//! Call syntax of the model families, one file per format.

mod gemma;
mod granite;
mod harmony;
mod hermes;
mod lfm2;
mod llama;
mod mistral;
mod plain;

pub(super) use plain::DESCRIPTION;
use potluck_model::tokenizer::Tokenizer;

use super::thinking::special_token;

/// The format in which a model writes tool calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ToolFormat {
    /// Hermes, Qwen and many others: `<tool_call>{"name": …, "arguments": {…}}</tool_call>`.
    Hermes,
    /// Llama 3: `{"name": …, "parameters": {…}}`, optionally after `<|python_tag|>`.
    Llama,
    /// LFM2: `<|tool_call_start|>[f(a=1)]<|tool_call_end|>`.
    Lfm2,
    /// Gemma: a code block named `tool_code`, or JSON.
    Gemma,
    /// Granite: `<|tool_call|>[{"name": …, "arguments": {…}}]`.
    Granite,
    /// Mistral: `[TOOL_CALLS][{"name": …, "arguments": {…}}]`.
    Mistral,
    /// Later models of Mistral: `[TOOL_CALLS]f[ARGS]{…}`.
    MistralArgs,
    /// gpt-oss: channels and recipients.
    Harmony,
    /// A JSON object, as described in the prompt.
    Plain,
}

/// The syntax of a format.
#[derive(Debug)]
pub(super) struct Syntax {
    /// Marks that may open calls.
    pub(super) openers: &'static [Opener],
    /// Whether an answer that starts with a brace or bracket may be calls.
    pub(super) is_bare: bool,
    /// Whether answers are in channels.
    pub(super) has_channels: bool,
    /// The syntax to enforce by grammar.
    pub(super) wanted: Wanted,
}

/// A mark that opens calls.
#[derive(Debug)]
pub(super) struct Opener {
    pub(super) mark: &'static str,
    /// The mark that closes the calls, if there is one.
    pub(super) close: Option<&'static str>,
    /// The mark also opens other things, so only JSON that names a known tool counts as a call.
    pub(super) known_only: bool,
}

impl Opener {
    const fn new(mark: &'static str, close: Option<&'static str>) -> Self {
        Self {
            mark,
            close,
            known_only: false,
        }
    }
}

/// How to write calls.
#[derive(Debug)]
pub(super) struct Wanted {
    /// The marks before and after all calls; may be empty.
    pub(super) open: &'static str,
    pub(super) close: &'static str,
    /// The text around all calls, inside the marks.
    pub(super) around: [&'static str; 2],
    /// The text between calls; `None` if there can be only one.
    pub(super) between: Option<&'static [&'static str]>,
    /// The syntax of one call.
    pub(super) call: Call,
}

/// The syntax of one call.
#[derive(Debug)]
pub(super) enum Call {
    /// The name surrounded by literals, then the arguments as JSON.
    Json {
        before: &'static str,
        /// Literals and marks.
        between: &'static [&'static str],
        after: &'static str,
    },
    /// Named arguments in parentheses.
    Python,
}

impl Call {
    /// `{"name": "f", "arguments": {…}}`
    const ARGUMENTS: Self = Self::Json {
        before: "{\"name\": \"",
        between: &["\", \"arguments\": "],
        after: "}",
    };
}

impl ToolFormat {
    /// The format that a model was trained with, inferred from its template and vocabulary.
    pub(super) fn of(source: &str, tokenizer: &Tokenizer) -> Self {
        let knows = |mark: &str| source.contains(mark) || special_token(tokenizer, mark).is_some();
        match () {
            () if source.contains("<|channel|>") && source.contains("<|message|>") => Self::Harmony,
            () if knows("<|tool_call_start|>") => Self::Lfm2,
            () if source.contains("<|tool_call|>") => Self::Granite,
            () if source.contains("<tool_call>") => Self::Hermes,
            () if source.contains("[TOOL_CALLS]") && source.contains("[ARGS]") => Self::MistralArgs,
            () if source.contains("[TOOL_CALLS]") => Self::Mistral,
            () if knows("<|python_tag|>") => Self::Llama,
            () if source.contains("<start_of_turn>") => Self::Gemma,
            () => Self::Plain,
        }
    }

    pub(super) fn syntax(self) -> &'static Syntax {
        match self {
            Self::Hermes => &hermes::SYNTAX,
            Self::Llama => &llama::SYNTAX,
            Self::Lfm2 => &lfm2::SYNTAX,
            Self::Gemma => &gemma::SYNTAX,
            Self::Granite => &granite::SYNTAX,
            Self::Mistral => &mistral::SYNTAX,
            Self::MistralArgs => &mistral::WITH_ARGS,
            Self::Harmony => &harmony::SYNTAX,
            Self::Plain => &plain::SYNTAX,
        }
    }
}

impl Syntax {
    /// All marks of the format.
    pub(super) fn marks(&self) -> impl Iterator<Item = &'static str> {
        let openers = self.openers.iter();
        let openers = openers.flat_map(|opener| [Some(opener.mark), opener.close]);
        let wanted = [self.wanted.open, self.wanted.close];
        openers
            .flatten()
            .chain(wanted)
            .filter(|mark| !mark.is_empty())
    }
}
