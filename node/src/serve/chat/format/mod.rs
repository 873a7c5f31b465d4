//! How models write calls: a file for each way.

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

/// How a model writes calls of tools.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ToolFormat {
    /// `<tool_call>{"name": …, "arguments": {…}}</tool_call>`: Hermes, Qwen and many others.
    Hermes,
    /// `{"name": …, "parameters": {…}}`, after `<|python_tag|>` or not: Llama 3.
    Llama,
    /// `<|tool_call_start|>[f(a=1)]<|tool_call_end|>`: LFM2.
    Lfm2,
    /// A block of code named `tool_code`, or JSON: Gemma.
    Gemma,
    /// `<|tool_call|>[{"name": …, "arguments": {…}}]`: Granite.
    Granite,
    /// `[TOOL_CALLS][{"name": …, "arguments": {…}}]`: Mistral.
    Mistral,
    /// `[TOOL_CALLS]f[ARGS]{…}`: later models of Mistral.
    MistralArgs,
    /// Channels and recipients: gpt-oss.
    Harmony,
    /// A JSON object, as the prompt describes it.
    Plain,
}

/// What there is to know of a format.
#[derive(Debug)]
pub(super) struct Syntax {
    /// What may open calls.
    pub(super) openers: &'static [Opener],
    /// Whether an answer that begins with a brace or a bracket may be calls.
    pub(super) is_bare: bool,
    /// Whether an answer is in channels.
    pub(super) has_channels: bool,
    /// How calls are to be written where they must be.
    pub(super) wanted: Wanted,
}

/// A mark that opens calls.
#[derive(Debug)]
pub(super) struct Opener {
    pub(super) mark: &'static str,
    /// What ends the calls, if anything does.
    pub(super) close: Option<&'static str>,
    /// Whether only JSON with a tool that there is makes this a call, as the mark opens other things,
    /// too.
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

/// How calls are written: what comes before the first, after the last, and so on.
#[derive(Debug)]
pub(super) struct Wanted {
    /// Before all calls, and after them: each is a mark or nothing.
    pub(super) open: &'static str,
    pub(super) close: &'static str,
    /// Around all calls, within the marks.
    pub(super) around: [&'static str; 2],
    /// Between calls; nothing if there can be only one.
    pub(super) between: Option<&'static [&'static str]>,
    /// One call.
    pub(super) call: Call,
}

/// How one call is written.
#[derive(Debug)]
pub(super) enum Call {
    /// The name between texts, and then the arguments as JSON.
    Json {
        before: &'static str,
        /// Texts and marks.
        between: &'static [&'static str],
        after: &'static str,
    },
    /// Arguments by name, in brackets.
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
    /// The format that a model was trained with, by the source of its template and its vocabulary.
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
    /// Every mark.
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
