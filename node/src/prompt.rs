//! From what a user typed to the token ids a model is given.

use potluck_model::template::{ChatTemplate, RenderOptions, TemplateError};
use potluck_model::tokenizer::SpecialTokens;

use crate::engine::{Engine, Message, Role, TokenId};

/// A prompt that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PromptError {
    /// Nothing but white space.
    #[error("the prompt is empty: write a question after the command, or pipe a text in")]
    Empty,
    /// More tokens than the context has positions.
    #[error("the prompt is {tokens} tokens long, but the context holds {context}: {}", advice(*.tokens, *.model_context))]
    TooLong {
        /// The prompt's length.
        tokens: usize,
        /// The session's positions.
        context: usize,
        /// The most positions this model allows.
        model_context: usize,
    },
    /// More text than the context has positions, however it is cut into tokens.
    #[error(
        "the prompt has {bytes} bytes, which are {tokens} tokens or more, but the context holds {context}: shorten it; this model allows {model_context} positions at most"
    )]
    TooManyBytes {
        /// The prompt's length.
        bytes: usize,
        /// The fewest tokens it can be.
        tokens: usize,
        /// The session's positions.
        context: usize,
        /// The most positions this model allows.
        model_context: usize,
    },
    /// A system message needs a place that the model's file does not describe.
    #[error(
        "this model has no chat template, so it cannot be given a system message: leave out --system, give a template with --chat-template FILE, or use --chat-template chatml for the usual one, ChatML"
    )]
    SystemWithoutTemplate,
    /// A conversation needs a template.
    #[error(
        "this model has no chat template, so it cannot hold a conversation: use `potluck run` to let it continue a text, give a template with --chat-template FILE, or use --chat-template chatml for the usual one, ChatML"
    )]
    NoTemplate,
    /// Only a template can switch thinking on and off.
    #[error(
        "this model has no chat template, so it has no switch for thinking: leave out --thinking"
    )]
    ThinkingWithoutTemplate,
    /// The template lets nobody choose.
    #[error("this model's chat template has no switch for thinking: leave out --thinking")]
    NoThinkingSwitch,
    /// The file's template cannot be used at all.
    #[error(
        "{0}; --chat-template FILE gives another, --chat-template chatml the usual one, ChatML, and `potluck run --raw` uses none"
    )]
    UnusableTemplate(TemplateError),
    /// The template failed.
    #[error(transparent)]
    Template(#[from] TemplateError),
}

/// How a conversation is written for the model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PromptOptions {
    /// Whether the model is to think before it answers; as its template has it if `None`.
    pub thinking: Option<bool>,
}

/// What to do about a prompt of `tokens`.
fn advice(tokens: usize, model_context: usize) -> String {
    // Room for an answer, too.
    let wanted = tokens.saturating_add(512).next_multiple_of(256);
    if tokens >= model_context {
        format!("shorten it; this model allows {model_context} positions at most")
    } else {
        format!("use --context {} or shorten it", wanted.min(model_context))
    }
}

/// The ids of one question: through the model's chat template if it has one and `raw` is not
/// asked for, else of the text as it stands. Special tokens that are written in it are taken as such
/// only if `raw` is asked for.
///
/// # Errors
/// [`PromptError::Empty`], [`PromptError::TooManyBytes`], and those of the template and its
/// absence.
pub fn encode_question(
    engine: &Engine,
    prompt: &str,
    system: Option<&str>,
    raw: bool,
    options: PromptOptions,
) -> Result<Vec<TokenId>, PromptError> {
    check_not_empty(prompt)?;
    let bytes = prompt.len() + system.map_or(0, str::len);
    check_bytes(engine, bytes, engine.context())?;
    if raw || template(engine)?.is_none() {
        if system.is_some() {
            return Err(PromptError::SystemWithoutTemplate);
        }
        if options.thinking.is_some() {
            return Err(PromptError::ThinkingWithoutTemplate);
        }
        let special = match raw {
            true => SpecialTokens::Parse,
            false => SpecialTokens::AsText,
        };
        return Ok(engine.tokenizer().encode_prompt(prompt, special));
    }
    let system = system.map(|text| Message::new(Role::System, text));
    let messages: Vec<_> = system
        .into_iter()
        .chain([Message::new(Role::User, prompt)])
        .collect();
    encode_messages(engine, &messages, options)
}

/// The ids of a conversation whose next message the model is to write.
///
/// # Errors
/// [`PromptError::NoTemplate`], [`PromptError::NoThinkingSwitch`],
/// [`PromptError::UnusableTemplate`] and [`PromptError::Template`].
pub fn encode_messages(
    engine: &Engine,
    messages: &[Message],
    options: PromptOptions,
) -> Result<Vec<TokenId>, PromptError> {
    let template = conversation_template(engine, options)?;
    let options = RenderOptions {
        thinking: options.thinking,
        ..RenderOptions::default()
    };
    Ok(template.encode(engine.tokenizer(), messages, &options)?)
}

/// Checks that the model can hold a conversation that is written so.
///
/// # Errors
/// [`PromptError::NoTemplate`], [`PromptError::NoThinkingSwitch`] and
/// [`PromptError::UnusableTemplate`].
pub fn check_conversation(engine: &Engine, options: PromptOptions) -> Result<(), PromptError> {
    conversation_template(engine, options).map(|_| ())
}

/// What is worth telling the person before the first answer; nothing for most models.
///
/// # Errors
/// [`PromptError::UnusableTemplate`].
pub fn remark(engine: &Engine, has_system: bool) -> Result<Option<&'static str>, PromptError> {
    Ok(match template(engine)? {
        None => Some(
            "this model has no chat template: it continues your text instead of answering it (--raw says that you want that; --chat-template FILE gives a template)",
        ),
        Some(template) if has_system && !template.takes_system() => Some(
            "this model's chat template takes no system message: the model is given it in front of your first message",
        ),
        Some(_) => None,
    })
}

fn template(engine: &Engine) -> Result<Option<&ChatTemplate>, PromptError> {
    engine.template().map_err(PromptError::UnusableTemplate)
}

fn conversation_template(
    engine: &Engine,
    options: PromptOptions,
) -> Result<&ChatTemplate, PromptError> {
    let template = template(engine)?.ok_or(PromptError::NoTemplate)?;
    if options.thinking.is_some() && !template.has_thinking_switch() {
        return Err(PromptError::NoThinkingSwitch);
    }
    Ok(template)
}

/// Texts up to this length are cut into tokens, so that a refusal can state their number.
const COUNTED_BYTES: usize = 1 << 20;

/// Refuses a long text that cannot fit into `context` positions, before anything is done with it:
/// to cut tens of megabytes into tokens takes seconds and gigabytes.
///
/// # Errors
/// [`PromptError::TooManyBytes`].
pub fn check_bytes(engine: &Engine, bytes: usize, context: usize) -> Result<(), PromptError> {
    let tokens = bytes / engine.tokenizer().longest_token().max(1);
    if bytes > COUNTED_BYTES && tokens > context {
        return Err(PromptError::TooManyBytes {
            bytes,
            tokens,
            context,
            model_context: engine.config().context,
        });
    }
    Ok(())
}

/// Refuses a prompt that says nothing.
///
/// # Errors
/// [`PromptError::Empty`].
pub fn check_not_empty(prompt: &str) -> Result<(), PromptError> {
    if prompt.trim().is_empty() {
        return Err(PromptError::Empty);
    }
    Ok(())
}

/// Refuses a prompt that leaves no position for an answer.
///
/// # Errors
/// [`PromptError::TooLong`].
pub fn check_length(
    tokens: usize,
    context: usize,
    model_context: usize,
) -> Result<(), PromptError> {
    if tokens >= context {
        return Err(PromptError::TooLong {
            tokens,
            context,
            model_context,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_names_a_context_that_works_or_the_limit() {
        let text = |tokens, context, most| {
            check_length(tokens, context, most)
                .expect_err("too long")
                .to_string()
        };
        assert_eq!(
            text(3000, 2048, 8192),
            "the prompt is 3000 tokens long, but the context holds 2048: use --context 3584 or shorten it"
        );
        assert!(text(8100, 2048, 8192).contains("--context 8192"));
        assert!(text(25_000, 2048, 8192).ends_with("this model allows 8192 positions at most"));
        assert!(check_length(2047, 2048, 8192).is_ok());
        assert!(check_length(2048, 2048, 8192).is_err());
    }
}
