//! What JSON may have without an end, and a small model goes on with once it has begun to repeat itself:
//! digits of a number, and values within values. Beyond a length that no program needs, a token that
//! goes on is forbidden as long as another one is allowed; so every value stays one of the grammar.

use llguidance::toktrie::{SimpleVob, TokTrie};

/// Digits of a whole number, or before the point: more are no i64.
const MOST_DIGITS: usize = 18;
/// Digits behind the point: more say nothing to a program that reads an f64.
const MOST_FRACTION: usize = 15;
/// Digits of an exponent: with more, a number may be beyond every f64.
const MOST_EXPONENT: usize = 2;
/// Objects and lists within each other. Many readers of JSON stop at 64 or 128.
const DEEPEST: usize = 32;

/// Where an answer in JSON is.
#[derive(Debug, Default, Clone)]
pub(super) struct Guard {
    in_string: bool,
    is_escaped: bool,
    number: Option<Number>,
    depth: usize,
}

/// A part of a number, and its digits so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Number {
    Whole(usize),
    Fraction(usize),
    Exponent(usize),
}

/// The tokens that go on with a number, and those that open a value within.
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
    /// Takes the bytes of the next token.
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

    /// Takes out what would go on with what is long enough, if anything else is allowed.
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
