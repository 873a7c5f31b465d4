//! Guesses of the tokens that follow.

use std::collections::VecDeque;

use crate::tokenizer::TokenId;

/// So many last tokens are compared with earlier ones at most.
const LONGEST: usize = 4;
/// So far back they are looked for.
const SEARCHED: usize = 4096;
/// A guess that is right less often is not made: it costs others their time and battery.
const WORTH: f32 = 0.1;
/// How often a guess is right, by how many tokens before it were the same, until that is known of the
/// text at hand. Measured on 36 answers of `SmolLM2-135M`, a third of them greedy.
const AT_FIRST: [f32; LONGEST] = [0.2, 0.45, 0.5, 0.75];
/// What is known at first counts as so many guesses.
const AT_FIRST_COUNTS: f32 = 10.0;
/// Of more guesses than this the older half counts half.
const REMEMBERED: f32 = 64.0;

/// Guesses tokens that follow a text: those that followed its last tokens when these came before
/// (prompt lookup decoding, A. Saxena, 2023).
///
/// It learns how often that is right, and keeps guesses to itself that are not worth it. What is done
/// with a guess changes no token, only when it is known.
#[derive(Debug, Clone)]
pub struct Drafter {
    rates: [Rate; LONGEST],
    /// Of which it is not known whether they are right, in the order of their positions.
    open: VecDeque<Guess>,
}

#[derive(Debug, Clone, Copy)]
struct Guess {
    position: usize,
    token: TokenId,
    /// How many tokens before it were the same.
    same: usize,
}

/// How often guesses of a kind are right.
#[derive(Debug, Clone, Copy)]
struct Rate {
    right: f32,
    made: f32,
}

impl Rate {
    fn heard(&mut self, right: bool) {
        if self.made >= REMEMBERED {
            self.right /= 2.0;
            self.made /= 2.0;
        }
        self.made += 1.0;
        self.right += f32::from(u8::from(right));
    }

    fn of_one(self) -> f32 {
        self.right / self.made
    }
}

impl Default for Drafter {
    fn default() -> Self {
        Self {
            rates: AT_FIRST.map(|rate| Rate {
                right: rate * AT_FIRST_COUNTS,
                made: AT_FIRST_COUNTS,
            }),
            open: VecDeque::new(),
        }
    }
}

impl Drafter {
    /// The token that may follow `tokens`, of which those from `known` on are guesses themselves, made
    /// here for the same text.
    pub fn guess(&mut self, tokens: &[TokenId], known: usize) -> Option<TokenId> {
        self.learn(&tokens[..known]);
        // What was guessed beyond was not used.
        self.open.retain(|guess| guess.position < tokens.len());
        let (same, token) = follower(tokens)?;
        self.open.push_back(Guess {
            position: tokens.len(),
            token,
            same,
        });
        // It is right only if those before it are.
        let rates = self.open.iter().map(|guess| self.rates[guess.same - 1]);
        let right: f32 = rates.map(Rate::of_one).product();
        (right >= WORTH).then_some(token)
    }

    fn learn(&mut self, known: &[TokenId]) {
        while let Some(guess) = self.open.pop_front_if(|guess| guess.position < known.len()) {
            let right = known[guess.position] == guess.token;
            self.rates[guess.same - 1].heard(right);
            if !right {
                // Those behind it were made for another text.
                self.open.clear();
            }
        }
    }
}

/// What followed the most of the last tokens, the last time that they came, and how many were the same.
fn follower(tokens: &[TokenId]) -> Option<(usize, TokenId)> {
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

    /// Guesses behind a text until none is worth it.
    fn chain(drafter: &mut Drafter, text: &[TokenId], most: usize) -> Vec<TokenId> {
        let mut tokens = text.to_vec();
        while tokens.len() < text.len() + most
            && let Some(token) = drafter.guess(&tokens, text.len())
        {
            tokens.push(token);
        }
        tokens.split_off(text.len())
    }

    #[test]
    fn guesses_go_on_while_all_are_likely_to_be_right() {
        let mut drafter = Drafter::default();
        let text = [1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4];
        assert_eq!(chain(&mut drafter, &text, 3), [5, 6, 7]);
        let mut drafter = Drafter::default();
        // One token is the same: right in one of five, and with the next in less than one of ten.
        assert_eq!(chain(&mut drafter, &[1, 2, 3, 1], 3), [2]);
    }

    #[test]
    fn what_is_never_right_is_not_guessed_any_more_until_it_would_have_been() {
        let mut drafter = Drafter::default();
        let mut text = vec![0, 1_000];
        let mut made = Vec::new();
        for next in 1..200 {
            text.push(0);
            made.push(drafter.guess(&text, text.len()).is_some());
            text.push(next);
        }
        let stopped = made.iter().position(|made| !made).expect("it stops");
        assert!((5..50).contains(&stopped), "{stopped}");
        assert!(made[stopped..].iter().all(|made| !made));
        for _ in 0..200 {
            text.push(0);
            made.push(drafter.guess(&text, text.len()).is_some());
            text.push(7);
        }
        assert!(made[made.len() - 50..].iter().all(|made| *made));
    }

    #[test]
    fn of_guesses_that_were_dropped_nothing_is_learnt() {
        let mut drafter = Drafter::default();
        let text = [1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4];
        chain(&mut drafter, &text, 3);
        let before = drafter.rates.map(Rate::of_one);
        // As after a failure: it begins again behind what is known.
        chain(&mut drafter, &text, 3);
        assert_eq!(drafter.rates.map(Rate::of_one), before);
    }
}
