//! The owner goes first, guests take turns, and prefixes are not shared between callers.

use std::sync::Arc;

use super::*;
use crate::stages::MemoryBudget;

fn guest(id: u64) -> Caller {
    with_tokens(id, 1_000_000).0
}

fn with_tokens(id: u64, tokens: u64) -> (Caller, Arc<Tab>) {
    let tab = Arc::new(Tab::new(id, 0, tokens));
    (Caller::Guest(Arc::clone(&tab)), tab)
}

fn by(caller: &Caller, request: Request) -> Request {
    Request {
        caller: caller.clone(),
        ..request
    }
}

#[test]
fn what_one_caller_asked_is_in_no_cache_of_another() {
    let kitchen = Kitchen::new();
    let service = kitchen.serve(|_| ());
    let prompt = tokens(1, 300);
    let (anna, ben) = (guest(1), guest(2));
    let ask = |caller: &Caller| ask(&service, by(caller, kitchen.request(&prompt, 1, 5)));
    for caller in [&Caller::Owner, &anna, &ben] {
        let heard = ask(caller);
        assert_eq!((heard.cached, heard.done().cached_tokens), (0, 0));
        assert_eq!(heard.ids, kitchen.alone(&prompt, 1, 5));
    }
    until(|| service.numbers().kept_prefixes == 3);
    for caller in [&Caller::Owner, &anna, &ben] {
        assert_eq!(ask(caller).cached, 299, "its own is");
    }
    // A running request's prefix is not shared either.
    let slow = tokens(2, 900);
    let first = service.submit(kitchen.request(&slow, 1, 5)).expect("taken");
    let second = service.submit(by(&anna, kitchen.request(&slow, 1, 5)));
    assert_eq!(hear(first).cached, 0);
    assert_eq!(hear(second.expect("taken")).cached, 0);
}

#[test]
fn what_is_kept_of_guests_goes_before_what_is_kept_of_the_owner() {
    let kitchen = Kitchen::new();
    let service = kitchen.serve(|settings| settings.kept_bytes = 3 * kitchen.kv(128));
    let cached = |caller: &Caller, seed| {
        let request = by(caller, kitchen.request(&tokens(seed, 120), 1, 5));
        ask(&service, request).cached
    };
    assert_eq!(cached(&Caller::Owner, 1), 0);
    for seed in 2..6 {
        assert_eq!(cached(&guest(1), seed), 0);
    }
    assert_eq!(cached(&Caller::Owner, 1), 119);
}

#[test]
fn the_owner_waits_for_no_place_that_guests_have_and_goes_before_those_who_wait() {
    let kitchen = Kitchen::with_context(ENDLESS);
    let service = kitchen.serve(|settings| {
        (settings.streams, settings.waiting) = (1, 4);
    });
    let endless = |caller: &Caller, seed| {
        let request = kitchen.request(&tokens(seed, 5), u64::from(seed), ENDLESS);
        service.submit(by(caller, request))
    };
    let (anna, ben) = (guest(1), guest(2));
    let mut running = endless(&anna, 1).expect("taken");
    until_content(&mut running);
    let waiting = [endless(&anna, 2), endless(&ben, 3)].map(|taken| taken.expect("taken"));
    // Guests get half of the queue.
    assert!(matches!(
        endless(&ben, 4).err(),
        Some(RequestError::Busy { waiting: 2, .. })
    ));
    for seed in 10..13 {
        let heard = ask(&service, kitchen.request(&tokens(seed, 5), 1, 3));
        assert_eq!(heard.ids, kitchen.alone(&tokens(seed, 5), 1, 3));
    }
    let mut owner = endless(&Caller::Owner, 20).expect("taken");
    until_content(&mut owner);
    assert_eq!(service.numbers().running, 2);
    // The owner waits for the owner's own requests.
    let second = endless(&Caller::Owner, 21).expect("taken");
    until(|| service.numbers().waiting == 3);
    // The guest's answer continues beside the owner's.
    until_content(&mut running);
    drop(owner);
    drop(second);
    drop(running);
    // The guest without a turn so far is next.
    let [mut of_anna, mut of_ben] = waiting;
    until_content(&mut of_ben);
    drop(of_ben);
    until_content(&mut of_anna);
}

#[test]
fn an_answer_ends_with_the_days_tokens_and_none_is_begun_after() {
    let kitchen = Kitchen::new();
    let service = kitchen.serve(|_| ());
    let (caller, tab) = with_tokens(1, 100);
    let prompt = tokens(1, 60);
    let request = |tokens_wanted| by(&caller, kitchen.request(&prompt, 1, tokens_wanted));
    let heard = ask(&service, request(10));
    assert_eq!((heard.ids.len(), tab.used()), (10, 70));
    // All but the last prompt token is cached and does not count again.
    let heard = ask(&service, request(500));
    assert_eq!(heard.done().finish, Finish::Length);
    assert_eq!(heard.ids, kitchen.alone(&prompt, 1, heard.ids.len()));
    assert_eq!((heard.ids.len(), tab.left()), (29, 0));
    let refused = ask(&service, request(1));
    assert!(matches!(refused.error, Some(RequestError::Spent { .. })));
    let inputs = vec![Input::Tokens(tokens(2, 5).into())];
    let refused = service.embed("", inputs, caller.clone()).expect("taken");
    assert!(matches!(
        refused.blocking(),
        Err(RequestError::Spent { .. })
    ));
    tab.begin_day();
    let inputs = vec![Input::Tokens(tokens(2, 5).into())];
    let embedded = service.embed("", inputs, caller.clone()).expect("taken");
    assert!(embedded.blocking().is_ok());
    assert_eq!(tab.used(), 5);
    // A prompt longer than the tokens left is not processed.
    tab.set_limit(100);
    let long = ask(
        &service,
        by(&caller, kitchen.request(&tokens(3, 300), 1, 1)),
    );
    assert!(matches!(long.error, Some(RequestError::Spent { .. })));
    assert_eq!(tab.used(), 5);
}

#[test]
fn a_guest_who_is_withdrawn_loses_what_runs_and_what_waits_and_the_others_nothing() {
    let kitchen = Kitchen::with_context(ENDLESS);
    let service = kitchen.serve(|settings| settings.streams = 1);
    let (anna, tab) = with_tokens(1, 1_000_000);
    let endless = |seed| by(&anna, kitchen.request(&tokens(seed, 5), 1, ENDLESS));
    let mut running = service.submit(endless(1)).expect("taken");
    let waiting = service.submit(endless(2)).expect("taken");
    until_content(&mut running);
    let other = by(&guest(2), kitchen.request(&tokens(3, 5), 1, 3));
    let other = service.submit(other).expect("taken");
    tab.set_withdrawn(true);
    for answering in [running, waiting] {
        assert_eq!(hear(answering).error, Some(RequestError::Withdrawn));
    }
    assert_eq!(hear(other).ids, kitchen.alone(&tokens(3, 5), 1, 3));
}

#[test]
fn guests_leave_memory_for_the_owner() {
    let kitchen = Kitchen::new();
    // Room for two and a half long requests.
    let bytes = kitchen.weights() + kitchen.kv(CONTEXT) * 5 / 2;
    let memory = MemoryBudget::new(Some(bytes));
    let service = kitchen.serve(|settings| {
        (settings.memory, settings.kept_bytes) = (memory.clone(), 0);
    });
    let long = |caller: &Caller, seed| {
        let request = kitchen.request(&tokens(seed, 5), 1, CONTEXT - 5);
        service.submit(by(caller, request)).expect("taken")
    };
    let mut first = long(&guest(1), 1);
    until_content(&mut first);
    // It would fit, but then the owner's would not.
    let second = long(&guest(2), 2);
    until(|| service.numbers().waiting == 1);
    let mut owner = long(&Caller::Owner, 3);
    until_content(&mut owner);
    assert_eq!(service.numbers().waiting, 1);
    drop((owner, first));
    assert_eq!(hear(second).done().completion_tokens, CONTEXT - 5);
    assert_eq!(memory.reserved(), kitchen.weights());
}

#[test]
fn texts_that_wait_together_do_not_take_the_same_tokens_twice() {
    let kitchen = Kitchen::with_context(ENDLESS);
    let service = kitchen.serve(|settings| settings.streams = 1);
    let mut running = service
        .submit(kitchen.request(&tokens(1, 5), 1, ENDLESS))
        .expect("taken");
    until_content(&mut running);
    let (anna, tab) = with_tokens(1, 100);
    let embed = |seed| {
        let input = Input::Tokens(tokens(seed, 60).into());
        let embedding = service.embed("", vec![input], anna.clone());
        embedding.expect("taken")
    };
    let both = [embed(2), embed(3)];
    until(|| service.numbers().waiting == 2);
    drop(running);
    let done = both.map(|embedding| embedding.blocking().is_ok());
    assert_eq!((done, tab.used()), ([true, false], 60));
}
