//! Escaping of text in a page.

/// A text with all markup escaped.
pub(crate) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            // No control character has a place in a page, whatever a device is called.
            _ if character.is_control() && character != '\n' => escaped.push(' '),
            _ => escaped.push(character),
        }
    }
    escaped
}
