//! Conversations over machines: placed, answered, ended.

use std::time::Duration;

use super::device::{CONTEXT, MIB, ask, devices, measured, model, request, talk};
use super::finish;
use crate::SessionId;
use crate::machine::{Choice, Input, LoadRefused, MAX_REQUESTS, StartError};
use crate::placement::{PlacementOptions, UnusedReason};
use crate::session::{Cause, SessionEvent, SubmitError};
use crate::wire::{Answer, HandOverReason, StageRefusedCode};
use crate::world::{Fault, Life};

const WANTED: usize = 40;
/// None has room for all: the first holds one layer, the others five, eight and three.
const OFFERS: [(u64, u64); 4] = [(10, 2_000), (30, 1_000), (44, 3_000), (20, 500)];

#[test]
fn the_best_placement_gives_the_tokens_of_one_device() {
    let mut world = measured(&OFFERS);
    let options = PlacementOptions {
        context: CONTEXT,
        ..PlacementOptions::default()
    };
    let plan = world.nodes[0]
        .machine
        .plan(super::shelf::MANIFEST, &model(), &options);
    let best = plan.expect("there is room together").best;
    assert!(best.stages.len() > 1);
    ask(&mut world, 0, 1, Choice::Best, WANTED);
    finish(&mut world, 0, 1);
    let talk = talk(&world, 0, 1);
    let ring: Vec<_> = best.stages.iter().map(|placed| placed.stage.peer).collect();
    assert_eq!(talk.placements(), [ring]);
    assert!(talk.broken().is_empty() && talk.waited().is_empty());

    // Freed when it is finished.
    let now = world.now;
    assert!((1..4).any(|node| !world.nodes[node].machine.is_idle()));
    world.nodes[0].machine.finish(now, SessionId(1));
    world.pass(Duration::from_secs(1));
    assert!((0..4).all(|node| world.nodes[node].machine.is_idle()));
    assert!((0..4).all(|node| world.hosts[node].sessions().count() == 0));
}

#[test]
fn a_plan_names_the_members_that_are_away() {
    let mut world = measured(&OFFERS);
    world.strike(Fault::Set(3, Life::Dead));
    world.pass(Duration::from_secs(1));
    let options = PlacementOptions {
        context: CONTEXT,
        ..PlacementOptions::default()
    };
    let machine = &world.nodes[0].machine;
    let plan = machine.plan(super::shelf::MANIFEST, &model(), &options);
    let unused = plan.expect("the others have room").unused;
    let away = unused
        .iter()
        .find(|unused| unused.reason == UnusedReason::Away);
    assert_eq!(away.map(|unused| unused.peer), Some(world.peer(3)));
    let said = UnusedReason::Away.to_string();
    assert!(
        said.contains("away") && said.contains("potluck up"),
        "{said}"
    );
}

#[test]
fn who_asks_right_after_connecting_does_not_stay_alone() {
    // Alone it could, but the other is ten times as fast.
    let mut world = devices(&[(100, 100), (100, 4_000)]);
    ask(&mut world, 0, 1, Choice::Best, WANTED);
    finish(&mut world, 0, 1);
    let talk = talk(&world, 0, 1);
    assert_eq!(talk.placements(), [[world.peer(1)]]);
    assert_eq!(talk.waited().len(), 1);
    assert!(talk.events[1].0 < Duration::from_secs(1));
}

#[test]
fn whoever_chooses_to_stay_alone_sends_nothing() {
    let mut world = measured(&[(100, 100), (100, 4_000)]);
    let before = world.hosts[1].steps.len();
    ask(&mut world, 0, 1, Choice::Alone, WANTED);
    finish(&mut world, 0, 1);
    assert_eq!(talk(&world, 0, 1).placements(), [[world.peer(0)]]);
    assert_eq!(world.hosts[1].steps.len(), before);
    let ready = |(_, event): &(Duration, SessionEvent)| match event {
        SessionEvent::Ready { prefill_rows, .. } => Some(prefill_rows.get()),
        _ => None,
    };
    // 256, but a frame has no more.
    assert_eq!(talk(&world, 0, 1).events.iter().find_map(ready), Some(64));

    let mut world = measured(&[(20, 100), (100, 4_000)]);
    ask(&mut world, 0, 1, Choice::Alone, WANTED);
    world.pass(Duration::from_secs(5));
    let waited = talk(&world, 0, 1).waited();
    assert!(
        waited.len() == 1 && waited[0].contains("this device offers 20 MiB"),
        "{waited:?}"
    );
}

#[test]
fn a_session_waits_for_the_profile_of_its_own_device() {
    let mut world = measured(&OFFERS);
    world.restart(0, super::device::Device::new(0, super::device::circle(4)));
    world.pass(Duration::from_secs(3));
    ask(&mut world, 0, 1, Choice::Best, WANTED);
    world.pass(Duration::from_secs(1));
    let waited = talk(&world, 0, 1).waited();
    assert!(
        waited.len() == 1 && waited[0].contains("not measured itself"),
        "{waited:?}"
    );
    let now = world.now;
    world.nodes[0].measure(now, OFFERS[0]);
    finish(&mut world, 0, 1);
}

#[test]
fn two_requesters_share_two_helpers() {
    let mut world = measured(&[(10, 500), (10, 500), (80, 2_000), (80, 2_000)]);
    for node in 0..2 {
        ask(&mut world, node, node as u64, Choice::Best, WANTED);
        ask(&mut world, node, 10 + node as u64, Choice::Best, WANTED);
    }
    for node in 0..2 {
        finish(&mut world, node, node as u64);
        finish(&mut world, node, 10 + node as u64);
    }
    let shared = |node: usize| world.hosts[node].steps.iter().any(|sessions| *sessions > 1);
    assert!(shared(2) || shared(3));
}

#[test]
fn a_helper_that_stops_hands_over_and_no_row_is_lost() {
    let mut world = measured(&[(10, 500), (80, 2_000), (80, 1_500)]);
    ask(&mut world, 0, 1, Choice::Best, 60);
    world.pass(Duration::from_millis(150));
    assert_eq!(talk(&world, 0, 1).placements(), [[world.peer(1)]]);
    let now = world.now;
    let hand_over = Input::HandOver {
        reason: HandOverReason::Stopping,
        within: Duration::from_secs(5),
    };
    world.nodes[1].machine.handle_input(now, hand_over);
    finish(&mut world, 0, 1);
    let found = talk(&world, 0, 1);
    assert_eq!(found.placements(), [[world.peer(1)], [world.peer(2)]]);
    assert!(found.broken().is_empty());
    assert!(
        found.stall() < Duration::from_millis(150),
        "{:?}",
        found.stall()
    );
    assert!(world.nodes[1].machine.is_idle(), "it may go");

    // It takes no other and is not asked to, until it is measured again.
    world.pass(Duration::from_secs(1));
    ask(&mut world, 0, 2, Choice::Best, 10);
    finish(&mut world, 0, 2);
    let without = talk(&world, 0, 2);
    assert_eq!(without.placements(), [[world.peer(2)]]);
    let now = world.now;
    world.nodes[1].measure(now, (80, 2_000));
    world.pass(Duration::from_secs(1));
    ask(&mut world, 0, 3, Choice::Best, 10);
    finish(&mut world, 0, 3);
    assert_eq!(talk(&world, 0, 3).placements(), [[world.peer(1)]]);
}

#[test]
fn a_helper_that_leaves_without_another_computes_on_until_it_is_gone() {
    let mut world = measured(&[(10, 500), (80, 2_000)]);
    ask(&mut world, 0, 1, Choice::Best, 400);
    world.pass(Duration::from_millis(150));
    let now = world.now;
    let hand_over = || Input::HandOver {
        reason: HandOverReason::Battery,
        within: Duration::from_secs(5),
    };
    world.nodes[1].machine.handle_input(now, hand_over());
    world.nodes[1].machine.handle_input(now, hand_over());
    let before = talk(&world, 0, 1).tokens.len();
    world.pass(Duration::from_secs(1));
    let found = talk(&world, 0, 1);
    assert!(found.tokens.len() > before + 50 && found.waited().is_empty());
    let leaving =
        |(_, event): &&(Duration, SessionEvent)| matches!(event, SessionEvent::Leaving { .. });
    assert_eq!(found.events.iter().filter(leaving).count(), 1);
    // It is measured anew, as one with a fuller battery: the session may go back to it.
    world.strike(Fault::Set(1, Life::Dead));
    world.pass(Duration::from_secs(1));
    assert_eq!(talk(&world, 0, 1).waited().len(), 1);
}

#[test]
fn a_helper_without_memory_is_done_without_and_its_words_are_told() {
    let mut world = measured(&[(10, 500), (80, 2_000), (80, 1_500)]);
    world.nodes[1].refuses = Some(LoadRefused {
        code: StageRefusedCode::Memory,
        words: "another program\ntook it".to_owned(),
        available_bytes: 3 * MIB,
    });
    ask(&mut world, 0, 1, Choice::Best, WANTED);
    finish(&mut world, 0, 1);
    let found = talk(&world, 0, 1);
    assert_eq!(found.placements(), [[world.peer(1)], [world.peer(2)]]);
    let words = found.events.iter().find_map(|(_, event)| match event {
        SessionEvent::Broken {
            cause: Cause::Refused { words, .. },
            ..
        } => Some(words.as_str()),
        _ => None,
    });
    assert_eq!(words, Some("another program took it"));

    // Its own, too: it keeps the ends.
    let mut world = measured(&[(100, 2_000), (80, 500)]);
    world.nodes[0].refuses = world.nodes[1].refuses.clone().or(Some(LoadRefused {
        code: StageRefusedCode::NoWeights,
        words: String::new(),
        available_bytes: 0,
    }));
    ask(&mut world, 0, 1, Choice::Best, WANTED);
    finish(&mut world, 0, 1);
    assert_eq!(
        talk(&world, 0, 1).placements(),
        [[world.peer(0)], [world.peer(1)]]
    );
}

#[test]
fn a_helper_whose_memory_others_have_is_used_with_what_it_has_left() {
    let mut world = measured(&OFFERS);
    let full = |available_bytes| LoadRefused {
        code: StageRefusedCode::Memory,
        words: "others have it".to_owned(),
        available_bytes,
    };
    ask(&mut world, 0, 1, Choice::Best, WANTED);
    finish(&mut world, 0, 1);
    let before = talk(&world, 0, 1).placements()[0].clone();
    assert!(
        before.contains(&world.peer(2)),
        "the fastest, with most room"
    );
    // All are needed for the nine layers, and this one has room for five of its eight.
    world.nodes[2].refuses = Some(full(24 * MIB));
    ask(&mut world, 0, 2, Choice::Best, WANTED);
    finish(&mut world, 0, 2);
    let found = talk(&world, 0, 2);
    assert_eq!(found.broken(), [world.peer(2)]);
    let [_, after] = &found.placements()[..] else {
        panic!("{:?}", found.placements());
    };
    assert!(after.contains(&world.peer(2)), "{after:?}");
    // It asks again now and then whether there is more.
    world.nodes[2].refuses = Some(full(3 * MIB));
    ask(&mut world, 0, 3, Choice::Best, WANTED);
    world.pass(Duration::from_secs(5));
    let waits = talk(&world, 0, 3);
    assert_eq!((waits.placements().len(), waits.waited().len()), (1, 1));
    world.nodes[2].refuses = None;
    finish(&mut world, 0, 3);
    assert_eq!(talk(&world, 0, 3).placements().len(), 2);
}

#[test]
fn a_session_that_is_rolled_back_goes_the_same_way_again() {
    let mut world = measured(&OFFERS);
    ask(&mut world, 0, 1, Choice::Best, WANTED);
    finish(&mut world, 0, 1);
    for left in [Duration::ZERO, Duration::from_millis(60)] {
        // With answers of before on their way, too.
        let now = world.now;
        let device = &mut world.nodes[0];
        let talk = device.talks.get_mut(&SessionId(1)).expect("it asks");
        talk.again(now, SessionId(1), &mut device.machine);
        world.pass(left);
    }
    finish(&mut world, 0, 1);
    assert!(talk(&world, 0, 1).broken().is_empty());
    let unknown = SessionId(77);
    let now = world.now;
    let machine = &mut world.nodes[0].machine;
    machine.roll_back(now, unknown, 3);
    machine.finish(now, unknown);
    let submitted = machine.submit(now, unknown, 0, 1, Answer::Done, vec![0; 8]);
    assert_eq!(submitted, Err(SubmitError::NotReady));
    let wrong = machine.submit(now, SessionId(1), 89, 1, Answer::Done, vec![0; 12]);
    assert!(matches!(wrong, Err(SubmitError::Frame(_))), "{wrong:?}");
}

#[test]
fn so_many_sessions_and_no_more() {
    let mut world = measured(&[(10, 500)]);
    let machine = &mut world.nodes[0].machine;
    let now = Duration::from_secs(3);
    for id in 0..MAX_REQUESTS as u64 {
        assert_eq!(machine.start(now, request(id, Choice::Best)), Ok(()));
    }
    assert_eq!(
        machine.start(now, request(0, Choice::Best)),
        Err(StartError::InUse)
    );
    assert_eq!(
        machine.start(now, request(999, Choice::Best)),
        Err(StartError::TooMany)
    );
    machine.finish(now, SessionId(5));
    assert_eq!(machine.start(now, request(999, Choice::Best)), Ok(()));
}
