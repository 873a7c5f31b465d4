//! From a conversation to tokens.

use std::borrow::Cow;

use super::habits::Habits;
use super::marks::{Marking, Rendered};
use super::message::{self, Content, Json, Message, ToolCall};
use super::role::Role;
use super::{ChatTemplate, RenderOptions, TemplateError};
use crate::tokenizer::{Said, TokenId, Tokenizer};

/// Stands for what the person said, to see whether the template has it in its text.
const WORDS: &str = "8d2fwords3c";

impl ChatTemplate {
    /// The tokens of a conversation, BOS in front if the vocabulary wants it.
    ///
    /// The messages are given to the template as it wants them, and nothing that was said becomes
    /// a control token: see the module. `tokenizer` is the one that the template was made for.
    ///
    /// # Errors
    /// Those of [`Self::render`]; [`TemplateError::Unheard`] if the text does not have what the
    /// person said last; [`TemplateError::NoMarks`].
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

    /// Whether the template has a place for system messages. If not, [`Self::encode`] puts them in
    /// front of the first user message.
    pub fn takes_system(&self) -> bool {
        self.habits().takes_system()
    }

    /// The text of a conversation, given as the template wants it.
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

    /// Renders; if that fails, once more with the arguments of calls as texts, which some
    /// templates want. Returns the messages as they were accepted.
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

    /// Whether anything that was said could be part of a control token.
    fn concern(&self, messages: &[Message], options: &RenderOptions<'_>) -> bool {
        let mut concern = false;
        for_each_text(messages, options, &mut |text| {
            concern = concern || self.marks.concern(text);
        });
        concern
    }

    /// Checks that what the person said last is in the text.
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
        // The template may have changed it. It does not change a single word.
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

/// Every text that a template is given and that is not ours.
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

/// The messages with the arguments of calls as texts.
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
