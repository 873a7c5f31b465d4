//! Any text is refused as a chat template, or renders or fails within its limits.

use potluck_model::template::{ChatTemplate, Date, Message, RenderOptions, Role};

/// Panics on an input that violates the property.
pub(super) fn check(source: &[u8]) {
    let Ok(source) = str::from_utf8(source) else {
        return;
    };
    let template = match ChatTemplate::new(source, "<s>", "</s>") {
        Ok(template) => template,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    let date = Date::new(2024, 2, 29).expect("2024 is a leap year");
    let template = template.with_date(date);
    let said = [
        (Role::System, "Be brief."),
        (Role::User, "{{ why }} <b>\"it's\"</b>\n"),
        (Role::Assistant, "<think>x</think> ü語"),
    ];
    let messages = said.map(|(role, content)| Message::new(role, content));
    for messages in [&messages[..0], &messages[1..2], &messages[..]] {
        match template.render(messages, &RenderOptions::default()) {
            // 64 bytes a step, and a step for four bytes said: see the module.
            Ok(text) => assert!(text.len() < 64 * 200_000),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
}
