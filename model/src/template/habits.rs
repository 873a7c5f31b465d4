//! Detects a template's requirements by test renderings.

use std::borrow::Cow;

use super::message::{Content, Message};
use super::role::Role;
use super::{ChatTemplate, RenderOptions};

/// Words that no template contains or changes.
const SYSTEM: &str = "4e1bsystem7a";
const USER: &str = "9c3duser5f";
const ASSISTANT: &str = "2b8fassistant6e";

/// A template's requirements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Habits {
    /// Whether it renders system messages.
    takes_system: bool,
    /// For system, user and assistant: whether it renders content only if given in parts.
    parts: [bool; 3],
}

impl Habits {
    /// Tests the template. If it refuses messages in any form, they are later passed unchanged, so
    /// that its own error message shows the reason.
    pub(super) fn of(template: &ChatTemplate) -> Self {
        let mut habits = Self {
            takes_system: true,
            parts: [false; 3],
        };
        let user = [Message::new(Role::User, USER)];
        habits.learn_parts(template, &user, Role::User, USER);
        let turn = [
            Message::new(Role::User, USER),
            Message::new(Role::Assistant, ASSISTANT),
            Message::new(Role::User, USER),
        ];
        habits.learn_parts(template, &turn, Role::Assistant, ASSISTANT);
        let system = [
            Message::new(Role::System, SYSTEM),
            Message::new(Role::User, USER),
        ];
        if !habits.learn_parts(template, &system, Role::System, SYSTEM) {
            habits.takes_system = !habits.finds(template, &user, USER);
        }
        habits
    }

    pub(super) fn takes_system(&self) -> bool {
        self.takes_system
    }

    /// The messages adapted to the template.
    pub(super) fn adapt<'m>(&self, messages: &'m [Message]) -> Cow<'m, [Message]> {
        let mut adapted = Cow::Borrowed(messages);
        let is_system = |message: &Message| message.role == Role::System;
        if !self.takes_system && messages.iter().any(is_system) {
            adapted = system_in_user(messages).into();
        }
        if self.parts.contains(&true) {
            for message in adapted.to_mut() {
                if let (Some(role), Content::Text(text)) = (index(message.role), &message.content)
                    && self.parts[role]
                {
                    message.content = Content::Parts(vec![text.clone()]);
                }
            }
        }
        adapted
    }

    /// Detects whether a role's content must be in parts. Returns whether the template renders it
    /// at all.
    fn learn_parts(
        &mut self,
        template: &ChatTemplate,
        messages: &[Message],
        role: Role,
        words: &str,
    ) -> bool {
        if self.finds(template, messages, words) {
            return true;
        }
        let Some(index) = index(role) else {
            return false;
        };
        self.parts[index] = true;
        self.parts[index] = self.finds(template, messages, words);
        self.parts[index]
    }

    fn finds(&self, template: &ChatTemplate, messages: &[Message], words: &str) -> bool {
        let rendered = template.render(&self.adapt(messages), &RenderOptions::default());
        rendered.is_ok_and(|text| text.contains(words))
    }
}

fn index(role: Role) -> Option<usize> {
    match role {
        Role::System => Some(0),
        Role::User => Some(1),
        Role::Assistant => Some(2),
        Role::Tool => None,
    }
}

/// Moves the text of system messages to the start of the first user message.
fn system_in_user(messages: &[Message]) -> Vec<Message> {
    let (system, mut others): (Vec<_>, Vec<_>) = messages
        .iter()
        .cloned()
        .partition(|message| message.role == Role::System);
    let instructions: Vec<_> = system
        .iter()
        .flat_map(|message| message.content.texts())
        .collect();
    let instructions = instructions.join("\n\n");
    match others.iter_mut().find(|message| message.role == Role::User) {
        Some(message) => match &mut message.content {
            Content::Text(text) => *text = format!("{instructions}\n\n{text}"),
            Content::Parts(parts) => parts.insert(0, format!("{instructions}\n\n")),
        },
        None => others.insert(0, Message::new(Role::User, instructions)),
    }
    others
}
