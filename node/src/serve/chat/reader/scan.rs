//! Finds ends of JSON values and partial marks in text that arrives in chunks.

/// Finds the end of a JSON value.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ValueScan {
    depth: usize,
    begun: bool,
    in_string: bool,
    escaped: bool,
}

/// The position of a character relative to a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Inside the value.
    Within,
    /// The last character of the value.
    Last,
    /// The first character after the value.
    After,
}

impl ValueScan {
    /// Processes the next character. Whitespace before a value is part of it.
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

    /// Whether anything except whitespace has arrived.
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

/// The length in bytes of the longest start of `mark` at the end of `text`.
pub(super) fn beginning_at_end(text: &str, mark: &str) -> usize {
    let longest = mark.len().saturating_sub(1).min(text.len());
    let lengths = (1..=longest).rev();
    let mut lengths = lengths.filter(|&length| mark.is_char_boundary(length));
    lengths
        .find(|&length| text.as_bytes().ends_with(&mark.as_bytes()[..length]))
        .unwrap_or(0)
}

/// The first mark in the text, with its position. If several start there, the longest one.
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

    /// Splits text after its first value.
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
