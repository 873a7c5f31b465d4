//! Cached prefixes are not computed again.

use super::*;

#[test]
fn the_next_turn_reads_what_is_new_only() {
    let kitchen = Kitchen::new();
    let service = kitchen.serve(|_| ());
    let mut prompt = tokens(1, 300);
    let first = ask(&service, kitchen.request(&prompt, 1, 20));
    assert_eq!(first.cached, 0);
    prompt.extend(&first.ids);
    // The answer's last token was not processed by any step.
    let held = prompt.len() - 1;
    prompt.extend(tokens(2, 30));
    let second = ask(&service, kitchen.request(&prompt, 2, 20));
    assert_eq!(second.cached, held);
    assert_eq!(second.done().cached_tokens, held);
    assert_eq!(second.ids, kitchen.alone(&prompt, 2, 20));
    // The same prompt again: all but the last token is cached, because its logits are not kept.
    let again = ask(&service, kitchen.request(&prompt, 3, 20));
    assert_eq!(again.cached, prompt.len() - 1);
    assert_eq!(again.ids, kitchen.alone(&prompt, 3, 20));
    until(|| service.numbers().kept_prefixes == 1);
    assert_eq!(
        service.numbers().cached_tokens,
        (held + prompt.len() - 1) as u64
    );
}

#[test]
fn ten_conversations_that_take_turns_keep_their_prefixes_within_the_bound() {
    let kitchen = Kitchen::new();
    // The size of all prefixes at the end; while running, each request reserves more.
    let bound = 10 * kitchen.kv(512);
    let service = kitchen.serve(|settings| settings.kept_bytes = bound);
    let system = tokens(99, 100);
    let mut talks: Vec<_> = (0..10)
        .map(|n| [&system[..], &tokens(n, 100)].concat())
        .collect();
    for turn in 0..4 {
        for (talk, seed) in talks.iter_mut().zip(0..) {
            let mut request = kitchen.request(talk, seed, 10);
            // The limit is higher than the actual length.
            request.max_tokens = Some(400);
            request.stop = "aeiou .,1\n\u{fffd}"
                .chars()
                .map(|c| c.to_string().into())
                .collect();
            let known = talk.len() - 1;
            let heard = ask(&service, request);
            match turn {
                0 if seed == 0 => assert_eq!(heard.cached, 0),
                // The common prefix of all conversations.
                0 => assert!((100..120).contains(&heard.cached), "{}", heard.cached),
                _ => assert!(heard.cached + 31 >= known, "{} of {known}", heard.cached),
            }
            talk.extend(&heard.ids);
            talk.extend(tokens(100 + turn, 30));
            let numbers = service.numbers();
            assert!(numbers.kept_bytes <= bound, "{numbers:?}");
        }
    }
    until(|| service.numbers().kept_prefixes == 10);
}

#[test]
fn the_longest_unused_goes_first() {
    let kitchen = Kitchen::new();
    let service = kitchen.serve(|settings| settings.kept_bytes = 2 * kitchen.kv(128));
    let cached = |seed| ask(&service, kitchen.request(&tokens(seed, 120), 1, 5)).cached;
    assert_eq!([cached(1), cached(2), cached(1), cached(3)], [0, 0, 119, 0]);
    assert_eq!(cached(2), 0, "it went for the third");
    assert_eq!(cached(3), 119);
}

#[test]
fn what_was_read_when_it_was_cancelled_is_kept() {
    let kitchen = Kitchen::new();
    let service = kitchen.serve(|_| ());
    let prompt = tokens(1, 500);
    let mut talking = (service.submit(kitchen.request(&prompt, 1, 400))).expect("it is taken");
    until_content(&mut talking);
    drop(talking);
    until(|| service.numbers().kept_prefixes == 1);
    let again = ask(&service, kitchen.request(&prompt, 1, 3));
    assert_eq!(again.cached, 499);
    assert_eq!(again.ids, kitchen.alone(&prompt, 1, 3));
}

#[test]
fn answers_to_one_prompt_read_it_once() {
    let kitchen = Kitchen::new();
    let service = kitchen.serve(|_| ());
    let prompt = tokens(1, 600);
    let answering: Vec<_> = (0..4)
        .map(|seed| service.submit(kitchen.request(&prompt, seed, 12)))
        .collect();
    let heard: Vec<_> = (answering.into_iter())
        .map(|answering| hear(answering.expect("it is taken")))
        .collect();
    let cached: Vec<_> = heard.iter().map(|heard| heard.cached).collect();
    assert_eq!(cached, [0, 599, 599, 599]);
    for (heard, seed) in heard.iter().zip(0..) {
        assert_eq!(heard.ids, kitchen.alone(&prompt, seed, 12));
    }
}

#[test]
fn one_who_waited_for_another_to_read_goes_on_when_that_one_goes_away() {
    let kitchen = Kitchen::new();
    let service = kitchen.serve(|_| ());
    let prompt = tokens(1, 1000);
    let first = service
        .submit(kitchen.request(&prompt, 1, 12))
        .expect("taken");
    let second = service
        .submit(kitchen.request(&prompt, 2, 12))
        .expect("taken");
    drop(first);
    assert_eq!(hear(second).ids, kitchen.alone(&prompt, 2, 12));
}

#[test]
fn a_prefix_is_used_again_only_while_layers_with_windows_hold_what_follows_it_sees() {
    let kitchen = Kitchen::with_windows(4_096);
    let service = kitchen.serve(|_| ());
    let mut prompt = tokens(1, 1_500);
    let first = ask(&service, kitchen.request(&prompt, 1, 20));
    assert_eq!(first.ids, kitchen.alone(&prompt, 1, 20));
    // The next turn, and another one in its place.
    prompt.extend(&first.ids);
    let held = prompt.len() - 1;
    for (seed, cached) in [(2, held), (3, held + 1)] {
        let turn = [&prompt[..], &tokens(seed, 200)].concat();
        let heard = ask(&service, kitchen.request(&turn, seed.into(), 30));
        assert_eq!(heard.cached, cached);
        assert_eq!(heard.ids, kitchen.alone(&turn, seed.into(), 30));
    }
    // An early message is changed, and then an earlier one.
    for len in [900, 200] {
        let changed = [&prompt[..len], &tokens(4, 100)].concat();
        let heard = ask(&service, kitchen.request(&changed, 4, 10));
        assert_eq!(heard.cached, 0);
        assert_eq!(heard.ids, kitchen.alone(&changed, 4, 10));
    }
}

#[test]
fn of_two_sessions_with_one_beginning_the_one_that_can_go_on_from_it_is_used() {
    let kitchen = Kitchen::with_windows(4_096);
    let service = kitchen.serve(|_| ());
    let system = tokens(1, 300);
    let cached = |end: &[TokenId]| {
        let prompt = [&system[..], end].concat();
        let heard = ask(&service, kitchen.request(&prompt, 1, 8));
        assert_eq!(heard.ids, kitchen.alone(&prompt, 1, 8));
        heard.cached
    };
    assert_eq!(cached(&tokens(2, 250)), 0);
    // A copy of its beginning goes on.
    assert!((300..304).contains(&cached(&tokens(3, 1_200))));
    until(|| service.numbers().kept_prefixes == 2);
    assert!((300..304).contains(&cached(&tokens(4, 20))));
}

#[test]
fn answers_to_one_long_prompt_read_it_once_with_windows_too() {
    let kitchen = Kitchen::with_windows(4_096);
    let service = kitchen.serve(|settings| settings.drafts = true);
    let prompt = tokens(1, 1_700);
    let answering: Vec<_> = (0..3)
        .map(|seed| service.submit(kitchen.request(&prompt, seed, 60)))
        .collect();
    for (answering, seed) in answering.into_iter().zip(0..) {
        let heard = hear(answering.expect("it is taken"));
        assert_eq!(heard.cached, if seed == 0 { 0 } else { 1_699 });
        assert_eq!(heard.ids, kitchen.alone(&prompt, seed, 60));
    }
}
