//! Names of devices.

use std::fmt;

use crate::PeerId;
use crate::reader::Reader;

/// A device's name as people see it: 1 to [`DeviceName::MAX_BYTES`] bytes of UTF-8 that show as one
/// line and as what they are.
///
/// Names are what a person judges a pairing by, so characters that are invisible, break lines or
/// turn the direction of writing are refused, and so is white space at either end.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceName(String);

impl DeviceName {
    /// The longest name, in bytes of UTF-8.
    pub const MAX_BYTES: usize = 64;

    /// Checks a name.
    ///
    /// # Errors
    /// [`NotAName`] says what is wrong with it.
    pub fn new(name: &str) -> Result<Self, NotAName> {
        if name.len() > Self::MAX_BYTES {
            return Err(NotAName::TooLong(name.len()));
        }
        if name.is_empty() {
            return Err(NotAName::Empty);
        }
        if name.trim() != name {
            return Err(NotAName::SpaceAround);
        }
        match name.chars().find(|&c| c.is_control() || is_unseen(c)) {
            Some(unseen) => Err(NotAName::Unseen(unseen)),
            None => Ok(Self(name.to_owned())),
        }
    }

    /// A name that an owner gives a device. Not those by which commands mean something else: a device
    /// that has one of them all the same, as others may give any, is meant by its id.
    ///
    /// # Errors
    /// [`NotAName`] says what is wrong with it.
    pub fn chosen(name: &str) -> Result<Self, NotAName> {
        let name = Self::new(name)?;
        let text = name.as_str();
        if text.eq_ignore_ascii_case("self") || text.starts_with('-') || text == "*" {
            return Err(NotAName::Reserved);
        }
        if text.parse::<PeerId>().is_ok() || text.starts_with("12D3KooW") {
            return Err(NotAName::AnId);
        }
        Ok(name)
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Appends one byte of length and the bytes.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let len = u8::try_from(self.0.len()).expect("a name has at most 64 bytes");
        out.push(len);
        out.extend_from_slice(self.0.as_bytes());
    }

    /// Reads what [`write`](Self::write) wrote.
    pub(crate) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let len = usize::from(reader.u8()?);
        if len > Self::MAX_BYTES {
            return None;
        }
        Self::new(str::from_utf8(reader.take(len)?).ok()?).ok()
    }
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for DeviceName {
    type Err = NotAName;

    fn from_str(name: &str) -> Result<Self, NotAName> {
        Self::new(name)
    }
}

/// Characters of no width of their own that change how others look: marks of direction, line and
/// paragraph separators, tags, fillers. The joiner and non-joiner stay: scripts and emoji need them.
fn is_unseen(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{180e}' | '\u{200b}'
        | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{3164}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{ffff}'
        | '\u{e0000}'..='\u{e0fff}')
}

/// Why a text is not a device's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAName {
    /// It means something else to commands.
    #[error("commands use this name for something else: \"self\", \"*\" and a leading - are taken")]
    Reserved,
    /// It looks like the id of a device.
    #[error("a name that looks like a device's id would be taken for one: choose another")]
    AnId,
    /// No characters.
    #[error("a name needs at least one character")]
    Empty,
    /// Longer than the limit.
    #[error("a name has at most 64 bytes, this one has {0}: choose a shorter one")]
    TooLong(usize),
    /// White space at an end.
    #[error("a name must not begin or end with a space: remove it")]
    SpaceAround,
    /// A character that people cannot see.
    #[error("a name must not hold the invisible character {0:?}: remove it")]
    Unseen(char),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everyday_names_are_names() {
        for name in [
            "kitchen",
            "Zoë’s phone",
            "客厅",
            "👩‍🍳 tablet",
            &"a".repeat(64),
        ] {
            assert_eq!(DeviceName::new(name).expect("a name").as_str(), name);
        }
    }

    #[test]
    fn what_commands_use_for_something_else_is_not_chosen_but_read() {
        let id = PeerId::from_public_key([7; 32]).to_string();
        for name in ["self", "SELF", "*", "--yes", "-", &id, "12D3KooWx"] {
            assert!(DeviceName::chosen(name).is_err(), "{name}");
            // Another program may have given it: its circle is read all the same.
            assert!(DeviceName::new(name).is_ok(), "{name}");
        }
        assert!(DeviceName::chosen("myself").is_ok());
    }

    #[test]
    fn what_would_mislead_a_reader_is_refused_in_words() {
        let long = "ü".repeat(33);
        for name in [
            "",
            " a",
            "a\t",
            "a\nb",
            "a\u{202e}b",
            "a\0",
            "\u{200b}",
            &long,
        ] {
            let error = DeviceName::new(name).expect_err("not a name");
            assert!(error.to_string().starts_with("a name"), "{error}");
        }
    }
}
