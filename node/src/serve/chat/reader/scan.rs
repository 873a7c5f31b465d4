//! Looking for the ends of values and the beginnings of marks in a text that comes in parts.

/// Where a JSON value ends.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ValueScan {
    depth: usize,
    begun: bool,
    in_string: bool,
    escaped: bool,
}

/// What a character is to a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Part of it.
    Within,
    /// Its last one.
    Last,
    /// The first one after it.
    After,
}

impl ValueScan {
    /// Takes the next character. White space before a value is part of it.
    pub(super) fn push(&mut self, char: char) -> Place {
        let had_begun = self.begun;
        self.begun |= !char.is_whitespace();
        if self.in_string {
            let escaped = std::mem::replace(&mut self.escaped, false);
            match char {
                _ if escaped => {}
                '\\' => self.escaped = true,
                '"' => {
                    self.in_string = false;
                    return self.end_of_part();
                }
                _ => {}
            }
            return Place::Within;
        }
        match char {
            '"' => self.in_string = true,
            '{' | '[' => self.depth += 1,
            '}' | ']' if self.depth > 0 => {
                self.depth -= 1;
                return self.end_of_part();
            }
            '}' | ']' | ',' if self.depth == 0 => return Place::After,
            _ if self.depth == 0 && char.is_whitespace() && had_begun => return Place::After,
            _ => {}
        }
        Place::Within
    }

    /// Whether anything but white space came.
    pub(super) fn has_begun(&self) -> bool {
        self.begun
    }

    fn end_of_part(&self) -> Place {
        if self.depth == 0 {
            Place::Last
        } else {
            Place::Within
        }
    }
}

/// How many bytes at the end of `text` may be the beginning of `mark`.
pub(super) fn beginning_at_end(text: &str, mark: &str) -> usize {
    let longest = mark.len().saturating_sub(1).min(text.len());
    let lengths = (1..=longest).rev();
    let mut lengths = lengths.filter(|&length| mark.is_char_boundary(length));
    lengths
        .find(|&length| text.as_bytes().ends_with(&mark.as_bytes()[..length]))
        .unwrap_or(0)
}

/// The first of these marks that is in the text: where it begins, and which; of two that begin at one
/// place, the longest.
pub(super) fn first_mark<'m, T>(
    text: &str,
    marks: impl IntoIterator<Item = (&'m str, T)>,
) -> Option<(usize, &'m str, T)> {
    let found = marks
        .into_iter()
        .filter_map(|(mark, which)| Some((text.find(mark)?, mark, which)));
    found.min_by_key(|(at, mark, _)| (*at, usize::MAX - mark.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The value at the start of a text, and what comes after it.
    fn value(text: &str) -> Option<(&str, &str)> {
        let mut scan = ValueScan::default();
        for (at, char) in text.char_indices() {
            match scan.push(char) {
                Place::Within => {}
                Place::Last => return Some(text.split_at(at + char.len_utf8())),
                Place::After => return Some(text.split_at(at)),
            }
        }
        None
    }

    #[test]
    fn values_end_where_json_ends_them() {
        assert_eq!(
            value("{\"a\": \"}\\\"\"} x"),
            Some(("{\"a\": \"}\\\"\"}", " x"))
        );
        assert_eq!(value(" 12, 3"), Some((" 12", ", 3")));
        assert_eq!(value("null}"), Some(("null", "}")));
        assert_eq!(value("\"ü\\\\\"]"), Some(("\"ü\\\\\"", "]")));
        assert_eq!(value("[[], {}]\n"), Some(("[[], {}]", "\n")));
        assert_eq!(value("{\"a\": ["), None);
    }

    #[test]
    fn the_longest_beginning_of_a_mark_is_found() {
        assert_eq!(beginning_at_end("a <tool", "<tool_call>"), 5);
        assert_eq!(beginning_at_end("a <<", "<tool_call>"), 1);
        assert_eq!(beginning_at_end("a <tool_call>", "<tool_call>"), 0);
        assert_eq!(beginning_at_end("", "<tool_call>"), 0);
        assert_eq!(beginning_at_end("``", "```json"), 2);
    }
}
