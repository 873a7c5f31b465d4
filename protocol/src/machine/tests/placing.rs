//! Placements that a person wrote.

use std::time::Duration;

use super::device::{Device, Devices, ask, circle, identity, measured, request, talk};
use super::finish;
use super::talk::Talk;
use crate::SessionId;
use crate::machine::{Choice, Request};
use crate::placement::Forced;
use crate::session::SessionEvent;
use crate::world::{Fault, LAYERS, Life};

const WANTED: usize = 40;

/// A placement by the numbers of devices.
fn forced(text: &str) -> Choice {
    let lookup = |name: &str| {
        let node: usize = name.parse().ok()?;
        Some(identity(node).peer_id())
    };
    Choice::Forced(Forced::parse(text, LAYERS, lookup).expect("a placement"))
}

fn ring(world: &Devices, nodes: &[usize]) -> Vec<crate::PeerId> {
    nodes.iter().map(|node| world.peer(*node)).collect()
}

#[test]
fn a_written_placement_is_taken_though_others_are_faster() {
    for (text, nodes) in [
        ("0:0..4,1:4..8,2:8..12", &[0, 1, 2][..]),
        ("2:0..5,1:5..12", &[2, 1]),
        ("1:0..3,0:3..6,2:6..12", &[1, 0, 2]),
    ] {
        let mut world = measured(&[(100, 4_000), (80, 200), (80, 100)]);
        ask(&mut world, 0, 1, forced(text), WANTED);
        finish(&mut world, 0, 1);
        assert_eq!(
            talk(&world, 0, 1).placements(),
            [ring(&world, nodes)],
            "{text}"
        );
    }
}

/// A helper's process begins anew.
fn restart(world: &mut Devices, node: usize, offer: (u64, u64)) {
    let mut anew = Device::new(node, circle(world.nodes.len()));
    anew.measure(world.now, offer);
    world.restart(node, anew);
}

fn await_some_tokens(world: &mut Devices) {
    let some = |world: &Devices| talk(world, 0, 1).answered_at.len() > 5;
    let limit = world.now + Duration::from_secs(20);
    assert!(world.run(limit, some), "{:?}", talk(world, 0, 1).events);
}

#[test]
fn a_written_placement_waits_for_its_devices() {
    let mut world = measured(&[(100, 4_000), (80, 200), (80, 100)]);
    world.strike(Fault::Set(2, Life::Dead));
    world.pass(Duration::from_secs(1));
    ask(&mut world, 0, 1, forced("1:0..6,2:6..12"), 200);
    world.pass(Duration::from_secs(3));
    let waited = talk(&world, 0, 1).waited();
    assert!(
        waited.len() == 1 && waited[0].contains("\"2\" is not in reach"),
        "{waited:?}"
    );
    restart(&mut world, 2, (80, 100));
    await_some_tokens(&mut world);
    assert_eq!(talk(&world, 0, 1).placements(), [ring(&world, &[1, 2])]);
    world.strike(Fault::Set(1, Life::Dead));
    finish(&mut world, 0, 1);
    // Of those that it names, and this device, the fastest is this one.
    assert_eq!(talk(&world, 0, 1).placements()[1..], [ring(&world, &[0])]);
}

/// The requester has room for two layers; the others, of which the last is fastest, for all.
const LITTLE: [(u64, u64); 4] = [(14, 300), (80, 200), (80, 150), (80, 4_000)];

#[test]
fn who_lacks_a_paired_device_that_is_away_hears_its_name() {
    let mut world = measured(&LITTLE[..2]);
    world.strike(Fault::Set(1, Life::Dead));
    world.pass(Duration::from_secs(10));
    ask(&mut world, 0, 1, Choice::Best, WANTED);
    world.pass(Duration::from_secs(3));
    let waited = talk(&world, 0, 1).waited();
    assert!(
        waited.len() == 1 && waited[0].contains(" is away: run `potluck up` on it"),
        "{waited:?}"
    );
    restart(&mut world, 1, LITTLE[1]);
    finish(&mut world, 0, 1);
}

#[test]
fn who_is_not_named_has_no_layer_and_stands_by_for_none() {
    let mut world = measured(&LITTLE);
    ask(&mut world, 0, 1, forced("1:0..6,2:6..12"), 300);
    await_some_tokens(&mut world);
    world.strike(Fault::Set(1, Life::Dead));
    finish(&mut world, 0, 1);
    let found = talk(&world, 0, 1);
    assert_eq!(found.broken(), [world.peer(1)]);
    let named = [world.peer(0), world.peer(2)];
    for placement in &found.placements()[1..] {
        assert!(placement.iter().all(|peer| named.contains(peer)));
    }
    let host = &world.hosts[3];
    assert!(host.steps.is_empty() && host.sessions().count() == 0);
}

#[test]
fn a_session_waits_for_the_only_device_that_is_named() {
    let mut world = measured(&LITTLE);
    ask(&mut world, 0, 1, forced("1:0..12"), 300);
    await_some_tokens(&mut world);
    world.strike(Fault::Set(1, Life::Dead));
    world.pass(Duration::from_secs(30));
    let waited = talk(&world, 0, 1).waited();
    assert!(
        waited.len() == 1
            && waited[0].contains("\"1\" cannot help now")
            && waited[0].contains("ends with ,*"),
        "{waited:?}"
    );
    restart(&mut world, 1, LITTLE[1]);
    finish(&mut world, 0, 1);
    let idle = |node: usize| {
        let host = &world.hosts[node];
        host.steps.is_empty() && host.sessions().count() == 0
    };
    assert!(idle(2) && idle(3), "somebody helped whom nobody named");
}

#[test]
fn others_help_where_the_placement_says_so() {
    let mut world = measured(&LITTLE);
    ask(&mut world, 0, 1, forced("1:0..12, *"), 300);
    await_some_tokens(&mut world);
    assert_eq!(talk(&world, 0, 1).placements(), [ring(&world, &[1])]);
    assert!(world.hosts[3].sessions().count() > 0, "it stands by");
    world.strike(Fault::Set(1, Life::Dead));
    finish(&mut world, 0, 1);
    assert_eq!(talk(&world, 0, 1).placements()[1..], [ring(&world, &[3])]);
}

#[test]
fn a_session_whose_devices_do_not_come_is_given_up_and_says_which() {
    let given_up = |world: &Devices| {
        let events = talk(world, 0, 1).events.iter();
        let mut given_up = events.filter_map(|(at, event)| match event {
            SessionEvent::GivenUp(why) => Some((*at, why.clone())),
            _ => None,
        });
        let first = given_up.next();
        assert!(given_up.next().is_none(), "it was said twice");
        first
    };
    let patience = Duration::from_secs(20);
    let ask = |world: &mut Devices, text: &str| {
        let now = world.now;
        let device = &mut world.nodes[0];
        device.talks.insert(SessionId(1), Talk::new(300));
        let request = Request {
            patience: Some(patience),
            ..request(1, forced(text))
        };
        device.machine.start(now, request).expect("there is room");
    };
    // In the middle, a while after a failure that it survived.
    let mut world = measured(&LITTLE);
    ask(&mut world, "1:0..6,2:6..12");
    await_some_tokens(&mut world);
    world.strike(Fault::Set(1, Life::Dead));
    world.pass(Duration::from_secs(1));
    world.strike(Fault::Set(2, Life::Dead));
    let died = world.now;
    world.pass(patience - Duration::from_secs(1));
    assert_eq!(given_up(&world), None);
    world.pass(Duration::from_secs(60));
    let (at, why) = given_up(&world).expect("it does not wait for ever");
    assert!(at >= died + patience && at < died + 2 * patience, "{at:?}");
    assert!(why.contains("\"1\", \"2\" cannot help now"), "{why}");
    restart(&mut world, 1, LITTLE[1]);
    let tokens = talk(&world, 0, 1).tokens.len();
    world.pass(Duration::from_secs(20));
    assert_eq!(talk(&world, 0, 1).tokens.len(), tokens, "it is over");
    let now = world.now;
    world.nodes[0].machine.finish(now, SessionId(1));

    // From the beginning.
    let mut world = measured(&LITTLE);
    world.strike(Fault::Set(2, Life::Dead));
    world.pass(Duration::from_secs(1));
    ask(&mut world, "1:0..6,2:6..12");
    world.pass(2 * patience);
    let (_, why) = given_up(&world).expect("it does not wait for ever");
    assert!(why.contains("\"2\" is not in reach"), "{why}");
}
