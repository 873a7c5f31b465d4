//! Which turns the model is shown.
//!
//! | condition | effect |
//! |---|---|
//! | the turns shown, with room for a short message, exceed three quarters of the context | oldest turns are left out, until they take half of it at most |
//! | the prompt exceeds three quarters of the context | the same, for the prompt |
//!
//! What was read behind a turn that is left out has to be read again. So a quarter of the context is
//! freed at a time: with turns of `t` tokens, `context / 2` tokens are read again once in
//! `context / (4 t)` turns, twice as many as the turns themselves have.
//!
//! The first row depends on turns that are complete, so that reading again can be done before the next
//! message is there. Both depend on lengths only, never on time: a conversation shows its model the
//! same turns wherever it is held.

use crate::engine::TokenId;

/// How the context is shared out, in tokens.
#[derive(Debug, Clone, Copy)]
struct Shares {
    /// The most that a prompt may take: a quarter is for the answer.
    most: usize,
    /// What is left of a prompt that takes more.
    kept: usize,
    /// Room for a message that is not there yet.
    message: usize,
}

impl Shares {
    fn of(capacity: usize) -> Self {
        let most = capacity - capacity / 4;
        Self {
            most,
            kept: most - capacity / 4,
            message: capacity / 16,
        }
    }

    /// The first turn to be shown, of those from `first` on before turn `turns`, where what is shown
    /// from a turn on has so many tokens. The last turn is what a message most likely refers to: it
    /// stays if there is room at all.
    fn cut<E>(
        self,
        first: usize,
        turns: usize,
        tokens: &mut dyn FnMut(usize) -> Result<usize, E>,
    ) -> Result<usize, E> {
        if tokens(first)? <= self.most {
            return Ok(first);
        }
        for later in first + 1..turns {
            let shown = tokens(later)?;
            let is_last = later + 1 == turns;
            if shown <= self.kept || (is_last && shown <= self.most) {
                return Ok(later);
            }
        }
        Ok(turns)
    }
}

/// The first turn that the next message will follow, if the last one followed those from
/// `first_shown` of `turns` on. A turn once left out stays out.
///
/// `shortest(first)` is how many tokens the shortest prompt has that shows the turns from `first` on.
pub(super) fn before_message<E>(
    first_shown: usize,
    turns: usize,
    capacity: usize,
    shortest: &mut dyn FnMut(usize) -> Result<usize, E>,
) -> Result<usize, E> {
    let shares = Shares::of(capacity);
    let with_message = &mut |first| Ok(shortest(first)? + shares.message);
    shares.cut(first_shown, turns, with_message)
}

/// The prompt to give the model, and the first turn in it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) ids: Vec<TokenId>,
    pub(super) first_shown: usize,
}

/// The prompt of a message that is to follow the turns from `first_shown` of `turns` on. Without any
/// turn it may take more than its share; whether it fits at all is for the caller to check.
///
/// `encode(first)` gives the ids of the prompt that starts with turn `first`.
pub(super) fn fit<E>(
    first_shown: usize,
    turns: usize,
    capacity: usize,
    encode: &mut dyn FnMut(usize) -> Result<Vec<TokenId>, E>,
) -> Result<Window, E> {
    let mut ids = Vec::new();
    let tokens = &mut |first| {
        ids = encode(first)?;
        Ok(ids.len())
    };
    let first = Shares::of(capacity).cut(first_shown, turns, tokens)?;
    if first == turns && first != first_shown {
        ids = encode(first)?;
    }
    Ok(Window {
        ids,
        first_shown: first,
    })
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    /// Of a context of 160 tokens: 120 for a prompt, 80 after a cut, 10 for a short message.
    const CAPACITY: usize = 160;

    /// The first turn shown and the tokens of the prompt, of a system message of two tokens, turns of
    /// `turn` tokens each and a message.
    fn fitted(first: usize, turns: usize, turn: usize, message: usize) -> (usize, usize) {
        let window = fit(first, turns, CAPACITY, &mut |first| {
            Ok::<_, Infallible>(vec![0; 2 + (turns - first) * turn + message])
        });
        match window {
            Ok(window) => (window.first_shown, window.ids.len()),
        }
    }

    fn before(first: usize, turns: usize, turn: usize) -> usize {
        let shortest =
            &mut |first: usize| Ok::<_, Infallible>(2 + turns.saturating_sub(first) * turn);
        match before_message(first, turns, CAPACITY, shortest) {
            Ok(first) => first,
        }
    }

    #[test]
    fn a_prompt_beyond_its_share_frees_a_quarter_of_the_context() {
        assert_eq!(fitted(0, 11, 10, 8), (0, 120), "it just fits");
        assert_eq!(fitted(0, 11, 10, 9), (5, 71), "the oldest turns go");
        assert_eq!(fitted(5, 11, 10, 9), (5, 71), "nothing more to leave out");
        assert_eq!(fitted(9, 11, 10, 9), (9, 31), "what was left out stays out");
    }

    #[test]
    fn turns_are_left_out_before_the_message_that_would_not_fit() {
        assert_eq!(before(0, 10, 10), 0, "a message of eighteen fits");
        assert_eq!(before(0, 11, 10), 5);
        assert_eq!(before(5, 11, 10), 5, "nothing more to leave out");
        // Four turns follow before it happens again.
        let first = (11..22).scan(0, |first, turns| {
            *first = before(*first, turns, 10);
            Some(*first)
        });
        let first: Vec<_> = first.collect();
        assert_eq!(first, [5, 5, 5, 5, 5, 10, 10, 10, 10, 10, 15]);
    }

    #[test]
    fn the_last_turn_stays_while_there_is_room_for_it() {
        assert_eq!(before(0, 2, 90), 1, "more than what a cut leaves");
        assert_eq!(before(1, 2, 90), 1);
        assert_eq!(before(0, 2, 109), 2, "no room for a message behind it");
        assert_eq!(fitted(0, 2, 90, 20), (1, 112));
        assert_eq!(fitted(0, 2, 90, 30), (2, 32));
    }

    #[test]
    fn the_question_alone_is_returned_even_if_it_does_not_fit() {
        assert_eq!(fitted(0, 4, 10, 500), (4, 502));
        assert_eq!(fitted(4, 4, 10, 500), (4, 502));
        assert_eq!(fitted(0, 0, 10, 500), (0, 502));
    }
}
