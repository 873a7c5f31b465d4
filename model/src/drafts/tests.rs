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
