//! Limits for the unbounded parts of JSON, in which a small model can get stuck once it repeats
//! itself: digits of a number and nested values. Beyond a length that no program needs, tokens that
//! continue such a part are forbidden while other tokens are allowed, so every value still matches
//! the grammar.

use llguidance::toktrie::{SimpleVob, TokTrie};

/// Maximum digits of an integer or before the decimal point: an i64 has no more.
const MOST_DIGITS: usize = 18;
/// Maximum digits after the decimal point: an f64 does not resolve more.
const MOST_FRACTION: usize = 15;
/// Maximum digits of an exponent: with more, a number may exceed the range of f64.
const MOST_EXPONENT: usize = 2;
/// Maximum nesting of objects and lists. Many JSON parsers stop at 64 or 128.
const DEEPEST: usize = 32;

/// Parser state within a JSON answer.
#[derive(Debug, Default, Clone)]
pub(super) struct Guard {
    in_string: bool,
    is_escaped: bool,
    number: Option<Number>,
    depth: usize,
}

/// The current part of a number, with its digits so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Number {
    Whole(usize),
    Fraction(usize),
    Exponent(usize),
}

/// The tokens that continue a number, and those that open a nested value.
pub(super) struct Going {
    digits: SimpleVob,
    openers: SimpleVob,
}

impl Going {
    pub(super) fn new(trie: &TokTrie) -> Self {
        let (mut digits, mut openers) = (trie.alloc_token_set(), trie.alloc_token_set());
        for id in 0..trie.vocab_size() as u32 {
            let bytes = trie.token(id);
            if bytes.first().is_some_and(u8::is_ascii_digit) {
                digits.allow_token(id);
            }
            if bytes.iter().any(|byte| b"{[".contains(byte)) {
                openers.allow_token(id);
            }
        }
        Self { digits, openers }
    }
}

impl Guard {
    /// Advances by the bytes of a token.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.push_byte(byte);
        }
    }

    fn push_byte(&mut self, byte: u8) {
        if self.in_string {
            match byte {
                _ if self.is_escaped => self.is_escaped = false,
                b'\\' => self.is_escaped = true,
                b'"' => self.in_string = false,
                _ => {}
            }
            return;
        }
        self.number = match (byte, self.number) {
            (b'0'..=b'9', None) => Some(Number::Whole(1)),
            (b'0'..=b'9', Some(Number::Whole(digits))) => Some(Number::Whole(digits + 1)),
            (b'0'..=b'9', Some(Number::Fraction(digits))) => Some(Number::Fraction(digits + 1)),
            (b'0'..=b'9', Some(Number::Exponent(digits))) => Some(Number::Exponent(digits + 1)),
            (b'.', Some(Number::Whole(_))) => Some(Number::Fraction(0)),
            (b'e' | b'E', Some(_)) | (b'+' | b'-', Some(Number::Exponent(0))) => {
                Some(Number::Exponent(0))
            }
            _ => None,
        };
        match byte {
            b'"' => self.in_string = true,
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
    }

    /// Forbids tokens that would continue a part at its limit, if any other token is allowed.
    pub(super) fn bound(&self, allowed: &mut SimpleVob, going: &Going) {
        let is_long = match self.number {
            None => false,
            Some(Number::Whole(digits)) => digits >= MOST_DIGITS,
            Some(Number::Fraction(digits)) => digits >= MOST_FRACTION,
            Some(Number::Exponent(digits)) => digits >= MOST_EXPONENT,
        };
        let unwanted = match () {
            () if is_long => &going.digits,
            () if self.depth >= DEEPEST && !self.in_string => &going.openers,
            () => return,
        };
        let mut rest = allowed.clone();
        rest.sub(unwanted);
        if !rest.is_zero() {
            *allowed = rest;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(text: &str) -> Guard {
        let mut guard = Guard::default();
        guard.push(text.as_bytes());
        guard
    }

    #[test]
    fn digits_are_those_of_the_number_at_hand_and_none_in_a_string() {
        for (text, number) in [
            ("{\"a1\": ", None),
            ("{\"a\": 12", Some(Number::Whole(2))),
            ("[-12.50", Some(Number::Fraction(2))),
            ("[1.5e-30", Some(Number::Exponent(2))),
            ("[1.5e", Some(Number::Exponent(0))),
            ("[1, ", None),
            ("[\"1.5\\\"7", None),
            ("[true", None),
        ] {
            assert_eq!(after(text).number, number, "{text}");
        }
        assert_eq!(after("[{\"{[\": [{}, 1").depth, 3);
    }
}
