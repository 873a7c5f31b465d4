//! Prompt lookup: what followed the same tokens before may follow them again (A. Saxena, "prompt
//! lookup decoding", 2023).

use crate::tokenizer::TokenId;

/// At most this many last tokens are compared with earlier ones.
pub(super) const LONGEST: usize = 4;
/// How far back earlier tokens are searched.
const SEARCHED: usize = 4096;

/// What followed the longest match of the last tokens, at its latest place, and the length of that
/// match, `1..=LONGEST`.
pub(super) fn follower(tokens: &[TokenId]) -> Option<(usize, TokenId)> {
    let end = tokens.len();
    let mut best = None;
    let mut most = 0;
    for at in (end.saturating_sub(SEARCHED).max(1)..end).rev() {
        let before = tokens[..at].iter().rev().zip(tokens.iter().rev());
        let same = before.take(LONGEST).take_while(|(a, b)| a == b).count();
        if same > most {
            (most, best) = (same, Some((same, tokens[at])));
        }
        if same == LONGEST {
            break;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_followed_the_longest_and_latest_of_the_same_is_guessed() {
        assert_eq!(follower(&[]), None);
        assert_eq!(follower(&[1, 2, 3]), None);
        assert_eq!(follower(&[1, 2, 1]), Some((1, 2)));
        assert_eq!(follower(&[1, 2, 1, 3, 1]), Some((1, 3)));
        assert_eq!(follower(&[7, 1, 2, 8, 1, 3, 7, 1]), Some((2, 2)));
        assert_eq!(follower(&[5, 5, 5, 5, 5, 5]), Some((4, 5)));
    }
}
