//! Names of the ways in which devices compute.

use std::borrow::Cow;
use std::fmt;

/// In which order numbers are added and how they are rounded, by the name that devices agree on: 1
/// to [`Arithmetic::MAX_BYTES`] bytes of a-z, 0-9 and -.
///
/// Two devices of one arithmetic give the same bits. What a layer gives by one is not what it gives by
/// another, so no answer is computed by two.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Arithmetic(Cow<'static, str>);

impl Arithmetic {
    /// The arithmetic of the kernels that Potluck has for CPUs; the one of every program that names
    /// none.
    pub const CANONICAL_1: Self = Self(Cow::Borrowed("canonical-1"));

    /// The most bytes of a name.
    pub const MAX_BYTES: usize = 64;

    /// The arithmetic of this name; `None` if it cannot be one.
    pub fn new(name: impl Into<String>) -> Option<Self> {
        let name = name.into();
        let belongs = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
        let is_name = (1..=Self::MAX_BYTES).contains(&name.len()) && name.bytes().all(belongs);
        is_name.then_some(Self(Cow::Owned(name)))
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.0
    }
}

impl Default for Arithmetic {
    fn default() -> Self {
        Self::CANONICAL_1
    }
}

impl fmt::Display for Arithmetic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_short_and_of_few_characters() {
        assert_eq!(
            Arithmetic::new("canonical-1"),
            Some(Arithmetic::CANONICAL_1)
        );
        let longest = "a".repeat(Arithmetic::MAX_BYTES);
        assert!(Arithmetic::new(longest.clone()).is_some());
        for bad in ["", "Canonical", "a b", "é", &(longest + "a")] {
            assert_eq!(Arithmetic::new(bad), None, "{bad}");
        }
    }
}
