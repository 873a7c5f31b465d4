//! Strings: `format`, and `pattern` with lookaheads.

use serde_json::{Value, json};

use super::formats::{is_enforced, pattern_of};
use super::{Fields, also, classes, refused};
use crate::grammar::GrammarError;

/// Common patterns that cannot be split, with equivalent ones that the library supports.
const KNOWN_PATTERNS: [(&str, &str); 1] = [(
    // zod's e-mail pattern.
    r"^(?!\.)(?!.*\.\.)([A-Za-z0-9_'+\-\.]*)[A-Za-z0-9_+-]@([A-Za-z0-9][A-Za-z0-9\-]*\.)+[A-Za-z]{2,}$",
    r"^(?:[A-Za-z0-9_'+-]+\.)*[A-Za-z0-9_'+-]*[A-Za-z0-9_+-]@([A-Za-z0-9][A-Za-z0-9-]*\.)+[A-Za-z]{2,}$",
)];

/// Rewrites format and pattern as patterns that the library supports.
///
/// # Errors
/// A pattern has a lookaround that cannot be rewritten.
pub(super) fn rewrite(fields: &mut Fields) -> Result<(), GrammarError> {
    let mut patterns = Vec::new();
    if let Some(Value::String(pattern)) = fields.get("pattern") {
        match KNOWN_PATTERNS.iter().find(|(known, _)| known == pattern) {
            Some((_, same)) => patterns.push((*same).to_owned()),
            None => split(pattern, &mut patterns)?,
        }
    }
    if let Some(Value::String(format)) = fields.get("format") {
        let pattern = pattern_of(format);
        if pattern.is_some() || !is_enforced(format) {
            fields.shift_remove("format");
        }
        patterns.extend(pattern.map(|pattern| format!("^(?:{pattern})$")));
    }
    let kind = fields.get("type").cloned();
    for (at, pattern) in patterns.into_iter().enumerate() {
        let pattern = classes::plain(&pattern)?;
        if at == 0 {
            fields.insert("pattern".to_owned(), pattern.into());
            continue;
        }
        let mut schema = json!({ "pattern": pattern });
        if let Some(kind) = &kind {
            schema["type"] = kind.clone();
        }
        also(fields, schema);
    }
    Ok(())
}

/// Splits a pattern: each lookahead at its start becomes a pattern of its own.
fn split(pattern: &str, patterns: &mut Vec<String>) -> Result<(), GrammarError> {
    let mut ahead = Vec::new();
    let mut rest = pattern.strip_prefix('^').unwrap_or_default();
    while let Some((is_wanted, inner, behind)) = lookahead(rest) {
        let same = match is_wanted {
            true => Some(format!("^(?:{inner})")),
            false => without(inner),
        };
        ahead.push(same.ok_or_else(|| looks_around(pattern))?);
        rest = behind;
    }
    let own = match ahead.is_empty() {
        true => pattern.to_owned(),
        false => format!("^{rest}"),
    };
    let looks = |text: &str| {
        ["(?=", "(?!", "(?<=", "(?<!"]
            .iter()
            .any(|sign| text.contains(sign))
    };
    // With alternatives in the rest, the start of the pattern would apply to the first only.
    let is_whole = ahead.is_empty() || !has_alternatives(rest);
    if looks(&own) || ahead.iter().any(|pattern| looks(pattern)) || !is_whole {
        return Err(looks_around(pattern));
    }
    patterns.push(own);
    patterns.extend(ahead);
    Ok(())
}

fn looks_around(pattern: &str) -> GrammarError {
    refused(format!(
        "pattern {pattern:?} is not supported: it looks ahead or behind; write it without"
    ))
}

/// Parses a lookahead at the start: whether it is positive, its content, and the rest.
fn lookahead(pattern: &str) -> Option<(bool, &str, &str)> {
    let is_wanted = pattern.starts_with("(?=");
    if !is_wanted && !pattern.starts_with("(?!") {
        return None;
    }
    let inner = &pattern[3..];
    let end = end_of_group(inner)?;
    Some((is_wanted, &inner[..end], &inner[end + 1..]))
}

/// The end of the group whose content starts here.
fn end_of_group(text: &str) -> Option<usize> {
    outside_of_classes(text).find_map(|(at, depth, char)| (char == ')' && depth == 0).then_some(at))
}

/// Whether a pattern has `|` outside groups.
fn has_alternatives(text: &str) -> bool {
    outside_of_classes(text).any(|(_, depth, char)| char == '|' && depth == 0)
}

/// The characters of a pattern that are neither escaped nor in a class, each with the number of
/// groups open before it.
fn outside_of_classes(text: &str) -> impl Iterator<Item = (usize, usize, char)> {
    let (mut depth, mut is_escaped, mut in_class) = (0_usize, false, false);
    text.char_indices().filter_map(move |(at, char)| {
        let before = depth;
        if std::mem::take(&mut is_escaped) {
            return None;
        }
        match char {
            '\\' => is_escaped = true,
            ']' => in_class = false,
            _ if in_class => {}
            '[' => in_class = true,
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        (!in_class && !is_escaped && char != ']').then_some((at, before, char))
    })
}

/// A pattern for the texts that a negative lookahead permits. Supports a character or a class, two
/// characters anywhere, and texts that consist of one class only.
fn without(unwanted: &str) -> Option<String> {
    if let Some((class, behind)) = class(unwanted.strip_prefix('^').unwrap_or(unwanted)) {
        let others = match class.strip_prefix('^') {
            Some(class) => format!("[{class}]"),
            None => format!("[^{class}]"),
        };
        return match behind {
            "" => Some(format!("^(?:{others}|$)")),
            "*$" => Some(others),
            _ => None,
        };
    }
    if let Some(anywhere) = unwanted.strip_prefix(".*") {
        let (first, rest) = one_char(anywhere)?;
        let (second, rest) = one_char(rest)?;
        if !rest.is_empty() {
            return None;
        }
        return Some(match first == second {
            true => format!("^(?:[^{first}]|{first}[^{first}])*{first}?$"),
            false => format!("^(?:[^{first}]|{first}+[^{first}{second}])*{first}*$"),
        });
    }
    let (only, rest) = one_char(unwanted)?;
    rest.is_empty().then(|| format!("^(?:[^{only}]|$)"))
}

/// The content of the class at the start, and the rest.
fn class(pattern: &str) -> Option<(&str, &str)> {
    let inner = pattern.strip_prefix('[')?;
    let end = inner.find(']')?;
    // Leave classes that contain a class or a bracket alone.
    let is_plain = end > 0 && !inner[..end].contains(['[', '\\']);
    is_plain.then(|| (&inner[..end], &inner[end + 1..]))
}

/// A literal character at the start, escaped for use in a class, and the rest.
fn one_char(pattern: &str) -> Option<(String, &str)> {
    let mut chars = pattern.chars();
    let first = chars.next()?;
    let char = match first {
        '\\' => chars.next().filter(|char| char.is_ascii_punctuation())?,
        _ if ".*+?()[]{}|^$".contains(first) => return None,
        _ => first,
    };
    let written = match "\\.+*?()|[]{}^$#&-~".contains(char) {
        true => format!("\\{char}"),
        false => char.to_string(),
    };
    Some((written, chars.as_str()))
}
