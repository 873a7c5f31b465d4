//! Resource bounds, and memory that becomes free.

use super::*;
use crate::stages::MemoryBudget;

#[test]
fn who_goes_away_frees_the_place_and_the_memory_at_once() {
    let kitchen = Kitchen::with_context(ENDLESS);
    let service = kitchen.serve(|settings| {
        settings.streams = 1;
        settings.kept_bytes = 0;
    });
    let mut talking = (service.submit(kitchen.request(&tokens(1, 5), 1, ENDLESS))).expect("taken");
    until_content(&mut talking);
    let next = service.submit(kitchen.request(&tokens(2, 5), 2, 3));
    assert!(service.numbers().kv_bytes >= kitchen.kv(ENDLESS));
    drop(talking);
    assert_eq!(
        hear(next.expect("it is taken")).ids,
        kitchen.alone(&tokens(2, 5), 2, 3)
    );
    until(|| service.numbers().kv_bytes == 0);
    let numbers = service.numbers();
    assert_eq!(numbers.requests[&Outcome::Cancelled], 1);
    assert!((numbers.completion_tokens as usize) < ENDLESS / 2);
    assert_eq!((numbers.running, numbers.kept_bytes), (0, 0));
    assert_eq!(numbers.weight_bytes, kitchen.weights());
}

#[test]
fn requests_wait_in_order_and_more_than_may_are_told_when_to_come_again() {
    let kitchen = Kitchen::with_context(ENDLESS);
    let service = kitchen.serve(|settings| {
        settings.streams = 1;
        settings.waiting = 2;
    });
    let mut talking = (service.submit(kitchen.request(&tokens(1, 5), 1, ENDLESS))).expect("taken");
    until_content(&mut talking);
    let ask = |seed| service.submit(kitchen.request(&tokens(seed, 5), u64::from(seed), 2));
    let (second, third) = (ask(2).expect("it is taken"), ask(3).expect("it is taken"));
    for _ in 0..2 {
        match ask(4).map(drop) {
            Err(RequestError::Busy {
                waiting,
                retry_after,
            }) => {
                assert_eq!(waiting, 2);
                assert!((1..=60).contains(&retry_after.as_secs()));
            }
            Err(error) => panic!("{error}"),
            Ok(()) => panic!("three wait"),
        }
    }
    assert_eq!(service.numbers().waiting, 2);
    // A client that leaves the queue frees its place.
    drop(second);
    let since = Instant::now();
    let fourth = loop {
        // If it is being prepared, that is noticed only afterwards.
        match ask(4) {
            Ok(fourth) => break fourth,
            Err(_) => assert!(since.elapsed() < PATIENCE),
        }
    };
    drop(talking);
    let (third, fourth) = (hear(third), hear(fourth));
    assert_eq!(third.ids, kitchen.alone(&tokens(3, 5), 3, 2));
    assert_eq!(fourth.ids, kitchen.alone(&tokens(4, 5), 4, 2));
    assert_eq!((third.waiting[0], fourth.waiting[0]), (1, 1));
    assert!(service.numbers().requests[&Outcome::Busy] >= 2);
}

#[test]
fn a_request_waits_for_memory_that_comes_free_and_fails_for_want_of_what_never_does() {
    let kitchen = Kitchen::new();
    let memory = MemoryBudget::new(Some(kitchen.weights() + kitchen.kv(700)));
    let service = kitchen.serve(|settings| settings.memory = memory.clone());
    let ask = |seed: u32, tokens_wanted| {
        let prompt = tokens(seed, 100);
        let request = kitchen.request(&prompt, u64::from(seed), tokens_wanted);
        service.submit(request).expect("it is taken")
    };
    // Each takes more than half, so the first one's prefix is evicted for the second.
    let both = [ask(1, 300), ask(2, 300)].map(hear);
    for (heard, seed) in both.iter().zip(1..) {
        assert_eq!(
            heard.ids,
            kitchen.alone(&tokens(seed, 100), u64::from(seed), 300)
        );
    }
    let refused = hear(ask(3, 800));
    assert!(matches!(refused.error, Some(RequestError::NoMemory { .. })));
    assert_eq!(hear(ask(4, 10)).done().completion_tokens, 10);
    service.stop();
    assert_eq!(memory.reserved(), 0);
}

#[test]
fn when_it_stops_those_who_wait_are_told_and_answers_end_within_the_grace() {
    let kitchen = Kitchen::with_context(ENDLESS);
    let service = kitchen.serve(|settings| {
        settings.streams = 2;
        settings.grace = Duration::from_millis(50);
    });
    let ask = |seed| service.submit(kitchen.request(&tokens(seed, 5), 1, ENDLESS));
    let mut talking = [ask(1), ask(2)].map(|answering| answering.expect("it is taken"));
    talking.iter_mut().for_each(until_content);
    let waiting = ask(3).expect("it is taken");
    service.stop();
    assert_eq!(hear(waiting).error, Some(RequestError::Stopping));
    for heard in talking.map(hear) {
        assert!(heard.ids.len() < ENDLESS / 2);
        assert_eq!(heard.error, Some(RequestError::Stopping));
    }
    assert_eq!(ask(4).map(drop), Err(RequestError::Stopping));
    assert!(service.loaded().is_empty());
}

#[test]
fn sixty_four_at_once_are_all_answered_in_order() {
    let kitchen = Kitchen::new();
    let service = kitchen.serve(|settings| settings.streams = 64);
    let ask = |seed: u32| service.submit(kitchen.request(&tokens(seed, 20), u64::from(seed), 30));
    let answering: Vec<_> = (0..64).map(ask).collect();
    for (answering, seed) in answering.into_iter().zip(0..) {
        let heard = hear(answering.expect("it is taken"));
        assert_eq!(
            heard.ids,
            kitchen.alone(&tokens(seed, 20), u64::from(seed), 30)
        );
    }
}
