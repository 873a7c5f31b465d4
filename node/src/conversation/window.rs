//! Which turns the model is shown.

use crate::engine::TokenId;

/// The prompt to give the model, and the first turn in it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) ids: Vec<TokenId>,
    pub(super) first_shown: usize,
}

/// The prompt with the most turns that leaves a quarter of `capacity` for the answer, starting no
/// earlier than `first_shown` of `turns`. Without any turn it may take more; whether it fits at
/// all is for the caller to check.
///
/// A turn once left out stays out, and a whole quarter is freed at a time: the tokens after what
/// was left out have to be computed anew, which should not happen at every turn.
///
/// `encode(first)` gives the ids of the prompt that starts with turn `first`.
pub(super) fn fit<E>(
    first_shown: usize,
    turns: usize,
    capacity: usize,
    encode: &mut dyn FnMut(usize) -> Result<Vec<TokenId>, E>,
) -> Result<Window, E> {
    let most = capacity - capacity / 4;
    let mut window = Window {
        ids: encode(first_shown)?,
        first_shown,
    };
    while window.ids.len() > most && window.first_shown < turns {
        let first_shown = window.first_shown + 1;
        window = Window {
            ids: encode(first_shown)?,
            first_shown,
        };
    }
    Ok(window)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    /// Prompts of two tokens for the system message, ten for each turn and five for the question.
    fn fitted(first_shown: usize, turns: usize, capacity: usize) -> (usize, usize) {
        let window = fit(first_shown, turns, capacity, &mut |first| {
            Ok::<_, Infallible>(vec![0; 2 + (turns - first) * 10 + 5])
        });
        match window {
            Ok(window) => (window.first_shown, window.ids.len()),
        }
    }

    #[test]
    fn the_oldest_turns_go_first_and_a_quarter_stays_free() {
        assert_eq!(fitted(0, 3, 100), (0, 37));
        assert_eq!(fitted(0, 9, 100), (3, 67));
        assert_eq!(fitted(3, 9, 100), (3, 67), "nothing more to leave out");
        assert_eq!(fitted(5, 6, 100), (5, 17), "what was left out stays out");
    }

    #[test]
    fn the_question_alone_is_returned_even_if_it_does_not_fit() {
        assert_eq!(fitted(0, 4, 6), (4, 7));
        assert_eq!(fitted(0, 0, 0), (0, 7));
    }
}
