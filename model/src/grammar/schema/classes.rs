//! Character classes of patterns. Within one, the library gives `[`, `&&`, `--` and `~~` a meaning of
//! its own: nested classes and operations on sets. In the ECMA-262 expressions of JSON Schema they
//! are characters.

use std::iter::Peekable;
use std::str::Chars;

use super::refused;
use crate::grammar::GrammarError;

/// Writes a pattern so that the library reads its classes as ECMA-262 does.
///
/// # Errors
/// The pattern has an empty class, which no two dialects read alike.
pub(super) fn plain(pattern: &str) -> Result<String, GrammarError> {
    let mut written = String::with_capacity(pattern.len());
    let mut chars = pattern.chars().peekable();
    while let Some(char) = chars.next() {
        written.push(char);
        match char {
            '\\' => written.extend(chars.next()),
            '[' => class(&mut chars, &mut written).ok_or_else(|| {
                refused(format!(
                    "pattern {pattern:?} has an empty class of characters: write it without"
                ))
            })?,
            _ => {}
        }
    }
    Ok(written)
}

/// Writes the rest of a class, up to its end. `None` if it is empty.
fn class(chars: &mut Peekable<Chars<'_>>, written: &mut String) -> Option<()> {
    written.extend(chars.next_if_eq(&'^'));
    if chars.peek() == Some(&']') {
        return None;
    }
    // Whether the character before can begin a range, and whether this one ends a range.
    let (mut may_begin, mut in_range) = (false, false);
    // A class without an end is left to the library, which refuses it.
    while let Some(char) = chars.next() {
        if char == ']' {
            written.push(char);
            return Some(());
        }
        let is_last = chars.peek() == Some(&']');
        if char == '-' && may_begin && !in_range && !is_last {
            written.push(char);
            in_range = true;
            continue;
        }
        match char {
            '\\' => {
                written.push(char);
                written.extend(chars.next());
            }
            '[' | '&' | '~' => written.extend(['\\', char]),
            // Doubled, it would be an operation.
            '-' if written.ends_with('-') || chars.peek() == Some(&'-') => {
                written.extend(['\\', char]);
            }
            _ => written.push(char),
        }
        may_begin = !std::mem::take(&mut in_range);
    }
    Some(())
}
