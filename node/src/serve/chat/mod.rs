//! Chat formats: renders a conversation for a model and parses the model's answer, following the
//! model's own template and its own syntax for tool calls and reasoning.
//!
//! Nothing here does I/O or blocks.
//!
//! | what | where |
//! |---|---|
//! | the call syntax of each model family | [`format`] |
//! | messages and tools as templates expect them | `messages` |
//! | grammars that constrain answers | `grammar` |
//! | parsing of generated text | `reader` |

mod format;
mod grammar;
mod ids;
mod messages;
mod reader;
#[cfg(test)]
mod tests;
mod thinking;

use std::fmt;

use potluck_model::template::{ChatTemplate, RenderOptions, TemplateError};
use potluck_model::tokenizer::Tokenizer;

use serde_json::Value;

use super::{Chat, Format, RequestError, Tool, ToolChoice};
use crate::engine::{Engine, Mask, Message, TokenId};
use format::{Syntax, ToolFormat};
use grammar::{Allowed, Thoughts};
pub use reader::{AnswerReader, Piece};
use reader::{Parameter, Reading, ToolShape};
use thinking::{ThinkMarks, special_token};

/// A conversation prepared for the engine, with the reader of its answer.
pub struct Prepared {
    /// The whole prompt.
    pub tokens: Vec<TokenId>,
    /// Constrains the answer; `None` for unconstrained text.
    pub mask: Option<Box<dyn Mask>>,
    /// Control tokens that the reader needs to see in the text
    /// ([`with_shown`](crate::engine::Generator::with_shown)).
    pub shown: Vec<TokenId>,
    /// Parses the answer. When it [is finished](AnswerReader::is_finished) the answer is complete,
    /// even if the model would continue.
    pub reader: AnswerReader,
}

/// Renders a conversation for a model and builds the mask and the reader of its answer.
///
/// # Errors
/// [`RequestError::Invalid`] if the template refuses the conversation, no grammar can be built, or
/// the tool choice names an unknown tool. [`RequestError::TooLong`] if there is more text than the
/// context can hold; this is checked before tokenising.
pub fn prepare(engine: &Engine, chat: &Chat, format: &Format) -> Result<Prepared, RequestError> {
    let template = template_of(engine)?;
    let tokenizer = engine.tokenizer();
    let offered = offered(chat)?;
    check_size(engine, &chat.messages, offered)?;
    let syntax = syntax_of(template, tokenizer, !offered.is_empty());
    let thinking = ThinkMarks::of(template.source(), tokenizer);
    let written = messages::write(&chat.messages, offered, template)?;
    let options = RenderOptions {
        tools: &written.tools,
        thinking: switch(template, chat.thinking)?,
        ..RenderOptions::default()
    };
    let tokens = template.encode(tokenizer, &written.messages, &options);
    let tokens = tokens.map_err(|error| refused(&error))?;
    let begins_thinking = thinking.is_some_and(|marks| marks.is_opened_by(&tokens, tokenizer));

    let thoughts = match thinking {
        Some(marks) if begins_thinking => Thoughts::Begun(marks),
        _ if chat.thinking == Some(false) => Thoughts::None,
        _ if syntax.is_some_and(|syntax| syntax.has_channels) => Thoughts::Channel,
        Some(marks) => Thoughts::Allowed(marks),
        None => Thoughts::None,
    };
    let mask = mask_of(engine, chat, offered, format, syntax, thoughts)?;
    let marks = syntax.into_iter().flat_map(Syntax::marks);
    let marks = marks.chain(
        thinking
            .into_iter()
            .flat_map(|marks| [marks.open, marks.close]),
    );
    let shown = marks.filter_map(|mark| special_token(tokenizer, mark));
    let shown = shown.filter(|&id| !tokenizer.is_end(id)).collect();
    let reader = AnswerReader::new(Reading {
        tools: offered.iter().map(shape_of).collect(),
        syntax,
        thinking,
        begins_thinking,
        // Templates of models that make a single call refuse conversations with more.
        one_call: !chat.parallel_tool_calls
            || syntax.is_some_and(|syntax| syntax.wanted.between.is_none()),
        only_wanted: mask.is_some(),
    });
    Ok(Prepared {
        tokens,
        mask,
        shown,
        reader,
    })
}

/// The mask for text outside a conversation; `None` for unconstrained text.
///
/// # Errors
/// [`RequestError::Invalid`] if no grammar can be built.
pub fn mask(engine: &Engine, format: &Format) -> Result<Option<Box<dyn Mask>>, RequestError> {
    let Some(grammar) = grammar::of_format(format) else {
        return Ok(None);
    };
    let mask = engine
        .grammars()
        .and_then(|grammars| grammars.mask(&grammar));
    mask.map(Some)
        .map_err(|error| invalid("response_format", &error))
}

fn template_of(engine: &Engine) -> Result<&ChatTemplate, RequestError> {
    let template = engine.template().map_err(|error| refused(&error))?;
    template.ok_or_else(|| RequestError::Invalid {
        field: Some("messages"),
        message: "this model has no chat template, so it cannot hold a conversation: ask it to \
            continue a text, or choose another model"
            .into(),
    })
}

/// Refuses text that cannot fit in the context, however it is tokenised, and more messages than
/// the context holds tokens. Reasoning does not count: templates leave it out.
fn check_size(engine: &Engine, messages: &[Message], tools: &[Tool]) -> Result<(), RequestError> {
    let calls = || messages.iter().flat_map(|message| &message.tool_calls);
    let said = messages.iter().map(|message| message.content.bytes());
    let called = calls().map(|call| call.name.len() + call.arguments.written().len());
    let described = tools.iter().map(|tool| {
        let description = tool.description.as_ref().map_or(0, |text| text.len());
        tool.name.len() + description + tool.parameters.to_string().len()
    });
    let bytes: usize = said.chain(called).chain(described).sum();
    let least = messages.len().max(calls().count()).max(tools.len());
    let tokens = least.max(bytes / engine.tokenizer().longest_token().max(1));
    let context = engine.context();
    if tokens > context {
        return Err(RequestError::TooLong { tokens, context });
    }
    Ok(())
}

/// The tools to offer to the model.
fn offered(chat: &Chat) -> Result<&[Tool], RequestError> {
    let refused = |message: String| {
        Err(RequestError::Invalid {
            field: Some("tool_choice"),
            message,
        })
    };
    match &chat.tool_choice {
        ToolChoice::None => Ok(&[]),
        ToolChoice::Required | ToolChoice::Named(_) if chat.tools.is_empty() => {
            refused("a tool is to be called, but there is none: give tools".into())
        }
        ToolChoice::Named(name) if !chat.tools.iter().any(|tool| tool.name == *name) => {
            refused("the tool that is to be called is not among the tools".into())
        }
        ToolChoice::Auto | ToolChoice::Required | ToolChoice::Named(_) => Ok(&chat.tools),
    }
}

/// The model's call syntax if tools are offered. Formats with channels apply in any case.
fn syntax_of(
    template: &ChatTemplate,
    tokenizer: &Tokenizer,
    has_tools: bool,
) -> Option<&'static Syntax> {
    let trained = ToolFormat::of(template.source(), tokenizer);
    let format = match trained {
        ToolFormat::Harmony => trained,
        _ if !has_tools => return None,
        ToolFormat::Gemma => trained,
        _ if template.takes_tools() => trained,
        _ => ToolFormat::Plain,
    };
    Some(format.syntax())
}

/// The value of the template's thinking switch. A model whose template has no reasoning does not
/// need to have it disabled.
fn switch(template: &ChatTemplate, thinking: Option<bool>) -> Result<Option<bool>, RequestError> {
    match thinking {
        Some(_) if template.has_thinking_switch() => Ok(thinking),
        Some(false) if !ThinkMarks::are_in(template.source()) => Ok(None),
        Some(_) => Err(refused(&TemplateError::NoThinkingSwitch)),
        None => Ok(None),
    }
}

fn mask_of(
    engine: &Engine,
    chat: &Chat,
    offered: &[Tool],
    format: &Format,
    syntax: Option<&'static Syntax>,
    thoughts: Thoughts,
) -> Result<Option<Box<dyn Mask>>, RequestError> {
    let named: Vec<Tool>;
    let (tools, must_call) = match &chat.tool_choice {
        ToolChoice::Named(name) => {
            let tools = offered.iter().filter(|tool| tool.name == *name);
            named = tools.take(1).cloned().collect();
            (&named[..], true)
        }
        ToolChoice::Required => (offered, true),
        ToolChoice::Auto | ToolChoice::None => (offered, false),
    };
    let is_text = matches!(format, Format::Text);
    let is_strict = syntax.is_some() && tools.iter().any(|tool| tool.strict);
    if is_text && !must_call && !is_strict {
        return Ok(None);
    }
    let allowed = Allowed {
        content: (!must_call).then_some(format),
        calls: syntax
            .filter(|_| !tools.is_empty())
            .map(|syntax| (tools, syntax)),
        is_lenient: !must_call,
        several: chat.parallel_tool_calls && !matches!(chat.tool_choice, ToolChoice::Named(_)),
        in_channels: syntax.is_some_and(|syntax| syntax.has_channels),
        thoughts,
    };
    let grammar = grammar::of_answer(&allowed, engine.tokenizer());
    let Some(grammar) = grammar.map_err(|error| invalid("tools", &error))? else {
        return Ok(None);
    };
    let mask = engine
        .grammars()
        .and_then(|grammars| grammars.mask(&grammar));
    let field = if must_call {
        "tools"
    } else {
        "response_format"
    };
    mask.map(Some).map_err(|error| invalid(field, &error))
}

fn shape_of(tool: &Tool) -> ToolShape {
    let parameters = tool.parameters.get("properties").and_then(Value::as_object);
    let parameters = parameters
        .into_iter()
        .flatten()
        .map(|(name, schema)| Parameter {
            name: name.clone(),
            is_text: match schema.get("type") {
                Some(Value::String(one)) => one == "string",
                Some(Value::Array(several)) => several.iter().any(|one| one == "string"),
                _ => false,
            },
        });
    ToolShape {
        name: tool.name.clone(),
        parameters: parameters.collect(),
    }
}

fn refused(error: &TemplateError) -> RequestError {
    invalid("messages", error)
}

fn invalid(field: &'static str, error: &dyn fmt::Display) -> RequestError {
    RequestError::Invalid {
        field: Some(field),
        message: error.to_string(),
    }
}
