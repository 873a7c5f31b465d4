//! Characters with their classes for the pre-tokenizers' patterns.

use unicode_properties::{GeneralCategoryGroup, UnicodeGeneralCategory};

/// A character and its class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Glyph {
    pub(super) char: char,
    pub(super) class: Class,
    pub(super) is_space: bool,
}

/// The major classes of Unicode's general category, version 15.1 as in llama.cpp. Patterns do not
/// use the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    Letter,
    Number,
    Mark,
    Punctuation,
    Symbol,
    Other,
}

impl Class {
    fn of(char: char) -> Self {
        match char.general_category_group() {
            GeneralCategoryGroup::Letter => Self::Letter,
            GeneralCategoryGroup::Number => Self::Number,
            GeneralCategoryGroup::Mark => Self::Mark,
            GeneralCategoryGroup::Punctuation => Self::Punctuation,
            GeneralCategoryGroup::Symbol => Self::Symbol,
            GeneralCategoryGroup::Separator | GeneralCategoryGroup::Other => Self::Other,
        }
    }

    const fn of_ascii(byte: u8) -> Self {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' => Self::Letter,
            b'0'..=b'9' => Self::Number,
            b'$' | b'+' | b'<'..=b'>' | b'^' | b'`' | b'|' | b'~' => Self::Symbol,
            b'!'..=b'@' | b'['..=b'}' => Self::Punctuation,
            _ => Self::Other,
        }
    }
}

impl From<char> for Glyph {
    fn from(char: char) -> Self {
        // The table search costs about 40 ns, and most text is ASCII.
        let class = if char.is_ascii() {
            Class::of_ascii(char as u8)
        } else {
            Class::of(char)
        };
        Self {
            char,
            class,
            is_space: char.is_whitespace(),
        }
    }
}

impl Glyph {
    pub(super) fn is(self, char: char) -> bool {
        self.char == char
    }

    pub(super) fn is_letter(self) -> bool {
        self.class == Class::Letter
    }

    pub(super) fn is_number(self) -> bool {
        self.class == Class::Number
    }

    pub(super) fn is_mark(self) -> bool {
        self.class == Class::Mark
    }

    pub(super) fn is_punctuation(self) -> bool {
        self.class == Class::Punctuation
    }

    pub(super) fn is_symbol(self) -> bool {
        self.class == Class::Symbol
    }

    /// `[\r\n]`
    pub(super) fn is_newline(self) -> bool {
        matches!(self.char, '\r' | '\n')
    }

    pub(super) fn is_within(self, ranges: &[(char, char)]) -> bool {
        ranges
            .iter()
            .any(|&(first, last)| (first..=last).contains(&self.char))
    }
}

/// The characters of a text. Bytes that are not part of valid UTF-8 count as U+FFFD each.
pub(super) fn glyphs(text: &[u8]) -> Vec<Glyph> {
    let mut glyphs = Vec::with_capacity(text.len());
    for piece in text.utf8_chunks() {
        glyphs.extend(piece.valid().chars().map(Glyph::from));
        glyphs.extend(
            piece
                .invalid()
                .iter()
                .map(|_| Glyph::from(char::REPLACEMENT_CHARACTER)),
        );
    }
    glyphs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ascii_shortcut_agrees_with_the_table() {
        for char in '\0'..='\x7f' {
            assert_eq!(Class::of_ascii(char as u8), Class::of(char), "{char:?}");
        }
    }

    #[test]
    fn the_table_is_that_of_unicode_15_1() {
        assert_eq!(unicode_properties::UNICODE_VERSION, (15, 1, 0));
    }

    #[test]
    fn invalid_bytes_count_one_each() {
        let chars = |text| {
            glyphs(text)
                .iter()
                .map(|glyph| glyph.char)
                .collect::<String>()
        };
        assert_eq!(chars(b"a\xe2\x82b\xff"), "a\u{fffd}\u{fffd}b\u{fffd}");
        assert_eq!(chars("aü語".as_bytes()), "aü語");
    }
}
