use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

/// Guesses behind a text until none is worth sending.
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
    let before = drafter.lookups.map(Rate::of_one);
    // As after a failure: it begins again behind what is known.
    chain(&mut drafter, &text, 3);
    assert_eq!(drafter.lookups.map(Rate::of_one), before);
}

#[test]
fn a_step_gets_as_many_guesses_as_pay_and_as_there_is_room_for() {
    let mut drafter = Drafter::default();
    let text: Vec<TokenId> = (0..8).chain(0..4).collect();
    let mut costs = StepCosts::default();
    let mut planned = Planned::of(1);
    let guesses = drafter.propose(&text, 100, &mut planned, &mut costs);
    assert!((1..=MOST_GUESSES).contains(&guesses.len()));
    assert_eq!(guesses, text[4..4 + guesses.len()]);
    assert_eq!(planned.rows, 1 + guesses.len());
    assert!(planned.tokens > 1.5);
    for room in 0..3 {
        let mut planned = Planned::of(1);
        let guesses = drafter.propose(&text, room, &mut planned, &mut costs);
        assert!(guesses.len() <= room);
    }
    // Nothing came before.
    let mut planned = Planned::of(1);
    assert!(
        drafter
            .propose(&[1, 2, 3], 9, &mut planned, &mut costs)
            .is_empty()
    );
    // Rows that cost as much as a step do not pay.
    for rows in 1..=9 {
        for _ in 0..16 {
            costs.took(rows, Duration::from_millis(10 * rows as u64));
        }
    }
    let mut planned = Planned::of(1);
    assert!(
        drafter
            .propose(&text, 9, &mut planned, &mut costs)
            .is_empty()
    );
}

/// Guesses a token of its own after each text, and counts how often it is asked.
#[derive(Debug, Default, Clone)]
struct Says(Arc<AtomicUsize>);

impl Says {
    fn after(text: &[TokenId]) -> TokenId {
        1_000_000 + text.len() as TokenId
    }

    fn asked(&self) -> usize {
        self.0.swap(0, Ordering::Relaxed)
    }
}

impl Guesser for Says {
    fn share(&self) -> f64 {
        0.1
    }

    fn chosen_with(&mut self, _: &SamplerSettings, _: usize) {}

    fn listens(&self) -> bool {
        false
    }

    fn hear(&mut self, _: usize, _: &[f32]) {}

    fn truncate(&mut self, _: usize) {}

    fn catch_up(&mut self, _: &[TokenId]) -> bool {
        true
    }

    fn guess(&mut self, text: &[TokenId], _: usize) -> Option<(TokenId, f32)> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Some((Self::after(text), 0.9))
    }
}

#[test]
fn a_guess_that_is_not_worth_sending_is_not_computed_again() {
    let says = Says::default();
    let mut drafter = Drafter::by(Box::new(says.clone()));
    // At last so many guesses of a chain are unlikely to be all right.
    let first = chain(&mut drafter, &[1, 2, 3], 100);
    assert!((1..100).contains(&first.len()));
    let _ = says.asked();
    let all = [&[1, 2, 3], &first[..]].concat();
    for _ in 0..5 {
        assert_eq!(drafter.guess(&all, 3), None);
    }
    assert_eq!(says.asked(), 0);
    assert!(drafter.guess(&all, 5).is_some());
}

/// Guesses one token behind each of `count` more, of which nothing can be looked up.
fn go_on(
    drafter: &mut Drafter,
    text: &mut Vec<TokenId>,
    count: usize,
    right: bool,
    trip: Duration,
) {
    for _ in 0..count {
        let _ = drafter.guess(text, text.len());
        drafter.trip_took(trip);
        text.push(match right {
            true => Says::after(text),
            false => text.len() as TokenId,
        });
    }
}

#[test]
fn a_source_that_is_not_right_is_asked_less_and_less_until_it_is() {
    let says = Says::default();
    let mut drafter = Drafter::by(Box::new(says.clone()));
    let (mut text, hour) = (vec![1], Duration::from_secs(3600));
    go_on(&mut drafter, &mut text, 1000, false, hour);
    let asked = says.asked();
    assert!((10..300).contains(&asked), "{asked}");
    go_on(&mut drafter, &mut text, 2000, false, hour);
    let asked = says.asked();
    assert!((1..100).contains(&asked), "{asked}");
    go_on(&mut drafter, &mut text, 1100, true, hour);
    assert!(says.asked() > 0);
    assert_eq!(drafter.guess(&text, text.len()), Some(Says::after(&text)));
}

#[test]
fn guesses_that_take_longer_than_a_trip_are_hardly_asked_for() {
    let says = Says::default();
    let mut drafter = Drafter::by(Box::new(says.clone()));
    let mut text = vec![1];
    go_on(&mut drafter, &mut text, 2000, true, Duration::from_nanos(1));
    let asked = says.asked();
    assert!((2..50).contains(&asked), "{asked}");
}
