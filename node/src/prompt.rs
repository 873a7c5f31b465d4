//! From what a user typed to the token ids a model is given.

use potluck_model::template::TemplateError;
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
    /// A system message needs a place that the model's file does not describe.
    #[error(
        "this model has no chat template, so it cannot be given a system message: leave out --system, or choose another model"
    )]
    SystemWithoutTemplate,
    /// A conversation needs a template.
    #[error(
        "this model has no chat template, so it cannot hold a conversation: use `potluck run` to let it continue a text, or choose another model"
    )]
    NoTemplate,
    /// The template failed.
    #[error(transparent)]
    Template(#[from] TemplateError),
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

/// A message of this role.
pub(crate) fn message(role: Role, content: impl Into<String>) -> Message {
    Message {
        role,
        content: content.into(),
    }
}

/// The ids of one question: through the model's chat template if it has one and `raw` is not
/// asked for, else of the text as it stands, special tokens written in it included.
///
/// # Errors
/// [`PromptError::Empty`], [`PromptError::SystemWithoutTemplate`] and [`PromptError::Template`].
pub fn encode_question(
    engine: &Engine,
    prompt: &str,
    system: Option<&str>,
    raw: bool,
) -> Result<Vec<TokenId>, PromptError> {
    check_not_empty(prompt)?;
    if raw || engine.template().is_none() {
        if system.is_some() {
            return Err(PromptError::SystemWithoutTemplate);
        }
        return Ok(engine
            .tokenizer()
            .encode_prompt(prompt, SpecialTokens::Parse));
    }
    let system = system.map(|text| message(Role::System, text));
    let messages: Vec<_> = system
        .into_iter()
        .chain([message(Role::User, prompt)])
        .collect();
    encode_messages(engine, &messages)
}

/// The ids of a conversation whose next message the model is to write.
///
/// # Errors
/// [`PromptError::NoTemplate`] and [`PromptError::Template`].
pub fn encode_messages(engine: &Engine, messages: &[Message]) -> Result<Vec<TokenId>, PromptError> {
    let template = engine.template().ok_or(PromptError::NoTemplate)?;
    let text = template.render(messages, true)?;
    Ok(engine.tokenizer().encode_rendered(&text))
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
