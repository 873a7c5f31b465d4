//! Ways that stall for a second, and ways on which rows take seconds: devices that are well are not
//! taken for dead again and again.

use std::time::Duration;

use super::device::{Devices, ask, measured, talk};
use super::{LIMIT, finish};
use crate::machine::Choice;
use crate::placement::Forced;
use crate::session::{Cause, FAIL_AFTER, MOST_PATIENCE, SessionEvent};
use crate::world::{Fault, LAYERS, Life};

const WANTED: usize = 400;
/// The requester has room for the ends, and its only helper for the rest.
const OFFERS: [(u64, u64); 2] = [(10, 300), (80, 2_000)];

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A session whose way to its helper stalls for so long at these times after it began.
fn stalling(stalls: &[(u64, u64)]) -> Devices {
    let mut world = measured(&OFFERS);
    // About 30 ms a token.
    world.strike(Fault::Slow(1, 40));
    ask(&mut world, 0, 1, Choice::Best, WANTED);
    for &(at, lasts) in stalls {
        let stall = Fault::Stall(0, 1, ms(lasts));
        world.fault_at(world.now + ms(at), stall);
    }
    world
}

/// When a stage was given up, and for how long nothing had been heard of it.
fn silences(world: &Devices) -> Vec<(Duration, Duration)> {
    let events = talk(world, 0, 1).events.iter();
    let silence = |(at, event): &(Duration, SessionEvent)| match event {
        SessionEvent::Broken {
            cause: Cause::Silent(silence),
            ..
        } => Some((*at, *silence)),
        _ => None,
    };
    events.filter_map(silence).collect()
}

#[test]
fn a_way_that_stalls_again_is_waited_for() {
    let mut world = stalling(&[(200, 1_000), (2_500, 1_000), (4_000, 1_400), (6_500, 1_900)]);
    finish(&mut world, 0, 1);
    assert_eq!(talk(&world, 0, 1).broken(), [world.peer(1)], "once");
    // It was under way all the time, and stood still for no longer than a stall and what it costs.
    assert!(world.now > ms(3_000 + 6_500 + 1_900), "{:?}", world.now);
    assert!(talk(&world, 0, 1).stall() < ms(2_000));
}

#[test]
fn a_stall_that_was_too_short_to_fail_makes_the_next_one_bearable() {
    let mut world = stalling(&[(200, 600), (1_500, 1_100)]);
    finish(&mut world, 0, 1);
    assert!(talk(&world, 0, 1).broken().is_empty());
}

#[test]
fn what_was_borne_in_one_session_is_in_the_next() {
    let mut world = stalling(&[(200, 1_000)]);
    finish(&mut world, 0, 1);
    world.nodes[0]
        .machine
        .finish(world.now, crate::SessionId(1));
    ask(&mut world, 0, 2, Choice::Best, WANTED);
    world.fault_at(world.now + ms(200), Fault::Stall(0, 1, ms(1_000)));
    finish(&mut world, 0, 2);
    assert!(talk(&world, 0, 2).broken().is_empty());
}

#[test]
fn who_was_given_up_wrongly_is_used_again_a_second_later() {
    let mut world = stalling(&[(200, 1_000)]);
    finish(&mut world, 0, 1);
    let &[(given_up, FAIL_AFTER)] = &silences(&world)[..] else {
        panic!("{:?}", silences(&world));
    };
    let events = talk(&world, 0, 1).events.iter();
    let placed = |(_, event): &&(Duration, SessionEvent)| matches!(event, SessionEvent::Placed(_));
    let placed: Vec<_> = events.filter(placed).map(|(at, _)| *at).collect();
    assert_eq!(placed[1..], [given_up + ms(1_000)]);
}

#[test]
fn a_device_that_dies_after_stalls_is_given_up_within_three_seconds() {
    let mut world = stalling(&[(200, 1_900)]);
    world.pass(ms(4_000));
    assert!(!talk(&world, 0, 1).is_done());
    let died = world.now;
    world.strike(Fault::Set(1, Life::Frozen));
    world.pass(ms(4_000));
    let &(given_up, silence) = silences(&world).last().expect("given up");
    assert!(given_up > died && silence <= MOST_PATIENCE, "{silence:?}");
    assert!(given_up <= died + MOST_PATIENCE + ms(20), "{given_up:?}");
}

#[test]
fn over_a_new_connection_patience_begins_anew() {
    let mut world = stalling(&[(200, 1_000)]);
    world.pass(ms(2_500));
    world.strike(Fault::Cut(0, 1, true));
    world.strike(Fault::Cut(0, 1, false));
    // Its stage failed with the connection.
    world.pass(ms(6_000));
    assert!(!talk(&world, 0, 1).is_done());
    let frozen = world.now;
    world.strike(Fault::Set(1, Life::Frozen));
    world.pass(ms(1_000));
    let &(given_up, silence) = silences(&world).last().expect("given up");
    assert!(given_up > frozen && silence == FAIL_AFTER, "{silence:?}");
}

#[test]
fn a_requester_that_did_not_run_has_not_become_patient() {
    let mut world = stalling(&[]);
    world.pass(ms(300));
    world.strike(Fault::Set(0, Life::Frozen));
    world.pass(ms(8_000));
    world.strike(Fault::Set(0, Life::Running));
    world.pass(ms(300));
    assert!(!talk(&world, 0, 1).is_done() && talk(&world, 0, 1).broken().is_empty());
    world.strike(Fault::Set(1, Life::Frozen));
    world.pass(ms(1_000));
    let &[(_, silence)] = &silences(&world)[..] else {
        panic!("{:?}", silences(&world));
    };
    assert_eq!(silence, FAIL_AFTER);
}

/// A session of a prompt whose rows take six seconds and more from stage to stage.
fn on_slow_ways(stages: &[(usize, std::ops::Range<u32>)]) -> Devices {
    let mut world = measured(&[(60, 2_000), (80, 2_000), (80, 2_000)]);
    world.data_byte = ms(15);
    let text: Vec<_> = stages
        .iter()
        .map(|(node, layers)| format!("{node}:{}..{}", layers.start, layers.end))
        .collect();
    let lookup = |name: &str| Some(world.peer(name.parse().ok()?));
    let forced = Forced::parse(&text.join(","), LAYERS, lookup).expect("a placement");
    ask(&mut world, 0, 1, Choice::Forced(forced), 2);
    let limit = world.now + LIMIT;
    assert!(world.run(limit, |world| talk(world, 0, 1).is_done()));
    assert!(talk(&world, 0, 1).is_right());
    world
}

#[test]
fn rows_that_take_seconds_on_their_way_are_not_lost() {
    let world = on_slow_ways(&[(1, 0..6), (2, 6..LAYERS)]);
    let talk = talk(&world, 0, 1);
    assert!(talk.broken().is_empty(), "{:?}", talk.events);
    assert!(
        talk.answered_at[0] > ms(3_000) + 2 * ms(6_000),
        "it was quick"
    );
}

#[test]
fn signs_of_life_that_wait_behind_rows_are_not_missed() {
    // What the helper says comes behind what it computed, as the requester computes on.
    let world = on_slow_ways(&[(1, 0..6), (0, 6..LAYERS)]);
    let talk = talk(&world, 0, 1);
    assert!(talk.broken().is_empty(), "{:?}", talk.events);
}
