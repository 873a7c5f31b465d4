//! Encodes conversations as tokens.

use std::borrow::Cow;

use super::habits::Habits;
use super::marks::{Marking, Rendered};
use super::message::{self, Content, Json, Message, ToolCall};
use super::role::Role;
use super::{ChatTemplate, RenderOptions, TemplateError};
use crate::tokenizer::{Said, TokenId, Tokenizer};

/// Replaces the user's words to test whether the template includes them.
const WORDS: &str = "8d2fwords3c";

impl ChatTemplate {
    /// Encodes a conversation as tokens, with a leading BOS if the vocabulary requires it.
    ///
    /// Adapts the messages to the template, and never encodes their content as control tokens: see
    /// the module. `tokenizer` must be the one that the template was made for.
    ///
    /// # Errors
    /// Those of [`Self::render`]; [`TemplateError::Unheard`] if the text lacks the user's last
    /// message; [`TemplateError::NoMarks`].
    pub fn encode(
        &self,
        tokenizer: &Tokenizer,
        messages: &[Message],
        options: &RenderOptions<'_>,
    ) -> Result<Vec<TokenId>, TemplateError> {
        let messages = self.habits().adapt(messages);
        let (messages, rendered) = self.render_accepted(&messages, options)?;
        self.check_heard(&messages, options, &rendered.text)?;
        if !self.concern(&messages, options) {
            return Ok(tokenizer.encode_rendered(&rendered.text, self.said(&rendered)));
        }
        let strict = self.render_marked(&messages, options, Marking::Strict)?;
        let control =
            |rendered: &Rendered| tokenizer.structure_of(&rendered.text, self.said(rendered));
        let right = if control(&rendered) == control(&strict) {
            rendered
        } else {
            strict
        };
        Ok(tokenizer.encode_rendered(&right.text, self.said(&right)))
    }

    fn said<'r>(&'r self, rendered: &'r Rendered) -> Said<'r> {
        Said {
            places: &rendered.said,
            to_model: &rendered.to_model,
            written: &self.written,
        }
    }

    /// Whether the template supports system messages. If not, [`Self::encode`] puts them before the
    /// first user message.
    pub fn takes_system(&self) -> bool {
        self.habits().takes_system()
    }

    /// Renders a conversation, adapted to the template.
    pub(super) fn rendered(
        &self,
        messages: &[Message],
        options: &RenderOptions<'_>,
    ) -> Result<String, TemplateError> {
        let messages = self.habits().adapt(messages);
        let (_, rendered) = self.render_accepted(&messages, options)?;
        Ok(rendered.text)
    }

    fn habits(&self) -> &Habits {
        self.habits.get_or_init(|| Habits::of(self))
    }

    /// Renders. On failure, renders again with the arguments of calls as strings, which some
    /// templates require. Returns the messages that the template accepted.
    fn render_accepted<'m>(
        &self,
        messages: &'m [Message],
        options: &RenderOptions<'_>,
    ) -> Result<(Cow<'m, [Message]>, Rendered), TemplateError> {
        let has_calls = messages
            .iter()
            .any(|message| !message.tool_calls.is_empty());
        match self.render_marked(messages, options, Marking::Lenient) {
            Err(error @ TemplateError::Render { .. }) if has_calls => {
                let messages = with_written_arguments(messages);
                match self.render_marked(&messages, options, Marking::Lenient) {
                    Ok(rendered) => Ok((messages.into(), rendered)),
                    Err(_) => Err(error),
                }
            }
            outcome => Ok((messages.into(), outcome?)),
        }
    }

    fn render_marked(
        &self,
        messages: &[Message],
        options: &RenderOptions<'_>,
        marking: Marking,
    ) -> Result<Rendered, TemplateError> {
        if !self.concern(messages, options) {
            let text = self.render(messages, options)?;
            return Ok(Rendered {
                text,
                ..Rendered::default()
            });
        }
        let mut texts: Vec<String> = Vec::new();
        for_each_text(messages, options, &mut |text| {
            if text.chars().any(super::marks::may_be_mark) {
                texts.push(text.to_owned());
            }
        });
        let chosen = self.marks.choose(texts.iter().map(String::as_str));
        let chosen = chosen.ok_or(TemplateError::NoMarks)?;
        let rewrite = |role: Role, text: &str| chosen.mark(role, text, marking);
        let text = self.render_rewritten(messages, options, &rewrite)?;
        Ok(chosen.unmark(&text))
    }

    /// Whether any content could form part of a control token.
    fn concern(&self, messages: &[Message], options: &RenderOptions<'_>) -> bool {
        let mut concern = false;
        for_each_text(messages, options, &mut |text| {
            concern = concern || self.marks.concern(text);
        });
        concern
    }

    /// Checks that the text contains the user's last message.
    fn check_heard(
        &self,
        messages: &[Message],
        options: &RenderOptions<'_>,
        rendered: &str,
    ) -> Result<(), TemplateError> {
        let Some((last, earlier)) = messages.split_last() else {
            return Ok(());
        };
        let said = || last.content.texts().map(str::trim);
        if last.role != Role::User || said().all(|text| rendered.contains(text)) {
            return Ok(());
        }
        // The template may have changed the text, but it does not change a single word.
        let mut messages = earlier.to_vec();
        let content = match last.content {
            Content::Text(_) => Content::Text(WORDS.into()),
            Content::Parts(_) => Content::Parts(vec![WORDS.into()]),
        };
        messages.push(Message {
            content,
            ..last.clone()
        });
        if self.render(&messages, options)?.contains(WORDS) {
            return Ok(());
        }
        Err(TemplateError::Unheard)
    }
}

/// Visits every text from the caller that the template receives.
fn for_each_text(messages: &[Message], options: &RenderOptions<'_>, see: &mut dyn FnMut(&str)) {
    for message in messages {
        let apart = [&message.reasoning, &message.name, &message.tool_call_id];
        let apart = apart.into_iter().flatten().map(String::as_str);
        message.content.texts().chain(apart).for_each(&mut *see);
        for call in &message.tool_calls {
            call.id
                .iter()
                .chain([&call.name])
                .for_each(|text| see(text));
            message::for_each_text(call.arguments.value(), see);
        }
    }
    for tool in options.tools {
        message::for_each_text(tool.value(), see);
    }
}

/// The messages with the arguments of calls as strings.
fn with_written_arguments(messages: &[Message]) -> Vec<Message> {
    let written = |call: &ToolCall| ToolCall {
        arguments: Json::text(call.arguments.written()),
        ..call.clone()
    };
    let messages = messages.iter().map(|message| Message {
        tool_calls: message.tool_calls.iter().map(written).collect(),
        ..message.clone()
    });
    messages.collect()
}
