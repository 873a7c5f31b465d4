//! Devices outside the ring that hold what it would need next.

use std::time::Duration;

use super::device::{Devices, ask, measured, talk};
use super::finish;
use super::shelf::Shelf;
use crate::SessionId;
use crate::machine::Choice;
use crate::world::{Fault, Life};

const WANTED: usize = 60;
/// One of two is enough; the requester has room for nothing.
const OFFERS: [(u64, u64); 3] = [(10, 300), (80, 2_000), (80, 1_900)];

/// Whether a device holds anything of a session.
fn holds(world: &Devices, node: usize, session: u64) -> bool {
    let mut held = world.hosts[node].sessions();
    held.any(|held| held == SessionId(session))
}

#[test]
fn what_stands_by_takes_over_and_is_freed_when_it_is_not_needed() {
    let mut world = measured(&OFFERS);
    ask(&mut world, 0, 1, Choice::Best, WANTED);
    world.pass(Duration::from_millis(200));
    assert_eq!(talk(&world, 0, 1).placements(), [[world.peer(1)]]);
    assert!(holds(&world, 2, 1), "it has loaded the layers");
    assert!(world.nodes[2].machine.is_idle(), "and does not help yet");
    assert!(world.hosts[2].steps.is_empty());

    world.strike(Fault::Set(1, Life::Dead));
    finish(&mut world, 0, 1);
    let found = talk(&world, 0, 1);
    assert_eq!(found.placements()[1..], [[world.peer(2)]]);
    let now = world.now;
    world.nodes[0].machine.finish(now, SessionId(1));
    world.pass(Duration::from_secs(1));
    assert!(!holds(&world, 2, 1));

    // Not taken over: freed all the same.
    let mut world = measured(&OFFERS);
    ask(&mut world, 0, 2, Choice::Best, WANTED);
    finish(&mut world, 0, 2);
    assert!(holds(&world, 2, 2));
    let now = world.now;
    world.nodes[0].machine.finish(now, SessionId(2));
    world.pass(Duration::from_secs(1));
    assert!((0..3).all(|node| !holds(&world, node, 2)));
}

#[test]
fn who_lacks_the_weights_does_not_fetch_them_to_stand_by() {
    let mut world = measured(&OFFERS);
    world.nodes[2].shelf = Shelf::with(0..0);
    ask(&mut world, 0, 1, Choice::Best, WANTED);
    finish(&mut world, 0, 1);
    assert!(!holds(&world, 2, 1));
    assert_eq!(world.nodes[2].shelf.kept_bytes, 0);
}

#[test]
fn whoever_chose_to_stay_alone_has_nobody_stand_by() {
    let mut world = measured(&[(100, 2_000), (80, 1_900)]);
    for (session, choice) in [(1, Choice::Alone), (2, Choice::Best)] {
        ask(&mut world, 0, session, choice, 20);
        finish(&mut world, 0, session);
        assert_eq!(talk(&world, 0, session).placements(), [[world.peer(0)]]);
        assert!(!holds(&world, 1, session));
    }
}
