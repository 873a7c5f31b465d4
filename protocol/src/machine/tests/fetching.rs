//! Whoever asked sees how far the weights of its stages are.

use std::time::Duration;

use super::device::{CONTEXT, Devices, ask, measured, model, talk};
use super::finish;
use super::shelf::{LAYER_BYTES, MANIFEST, Shelf};
use super::solo::{Solo, hello};
use crate::machine::{Choice, Input, TELL_EVERY};
use crate::placement::{Fetch, Forced, PlacementOptions, Prediction};
use crate::session::SessionEvent;
use crate::wire::{ContentHash, Control, ModelOffer};
use crate::world::{Fault, LAYERS, Life};
use crate::{LayerRange, PeerId};

/// The first has room for the ends only, and the weights; the others have none.
fn world() -> Devices {
    let mut world = measured(&[(5, 500), (80, 4_000), (70, 500)]);
    for node in 1..3 {
        world.nodes[node].shelf = Shelf::empty();
    }
    world
}

/// What a conversation was told of a peer's weights: when, how many bytes, and of how many.
fn told(world: &Devices, id: u64, of: PeerId) -> Vec<(Duration, u64, u64)> {
    let events = talk(world, 0, id).events.iter();
    let told = events.filter_map(|(at, event)| match event {
        SessionEvent::Fetching {
            peer,
            received_bytes,
            total_bytes,
        } if *peer == of => Some((*at, *received_bytes, *total_bytes)),
        _ => None,
    });
    told.collect()
}

#[test]
fn a_requester_sees_how_far_the_weights_of_its_stages_are() {
    let mut world = world();
    let begun = world.now;
    let forced = Forced::parse("two:0..3,three:3..12", LAYERS, |name| {
        Some(world.peer(if name == "two" { 2 } else { 1 }))
    });
    let choice = Choice::Forced(forced.expect("whole"));
    ask(&mut world, 0, 1, choice.clone(), 30);
    finish(&mut world, 0, 1);
    for (node, layers, times) in [(1, 9, 2), (2, 3, 1)] {
        let told = told(&world, 1, world.peer(node));
        assert!(told.len() >= times, "{told:?}");
        assert!(told[0].0 < begun + TELL_EVERY, "{told:?}");
        for (_, received, total) in &told {
            assert!(received <= total);
            // Its layers, and what every device needs.
            let expected = layers * LAYER_BYTES;
            assert!((expected..expected + 200_000).contains(total), "{told:?}");
        }
        for pair in told.windows(2) {
            assert!(pair[0].1 < pair[1].1, "{told:?}");
            // But for what the way takes longer the one time than the other.
            let apart = pair[1].0 - pair[0].0;
            assert!(apart + Duration::from_millis(20) >= TELL_EVERY, "{apart:?}");
        }
    }
    // Between the placement and the first row, and not in a conversation that finds them there.
    let events = &talk(&world, 0, 1).events;
    let ready = |(_, event): &(Duration, SessionEvent)| matches!(event, SessionEvent::Ready { .. });
    let ready = events.iter().position(ready).expect("it opened");
    let fetching =
        |(_, event): &(Duration, SessionEvent)| matches!(event, SessionEvent::Fetching { .. });
    assert!(matches!(events[0].1, SessionEvent::Placed(_)));
    assert!(events[1..ready].iter().all(fetching), "{events:?}");
    assert!(!events[ready..].iter().any(fetching), "{events:?}");
    ask(&mut world, 0, 2, choice, 30);
    finish(&mut world, 0, 2);
    assert!(!talk(&world, 0, 2).events.iter().any(fetching));
}

fn plan(world: &Devices) -> Prediction {
    let options = PlacementOptions {
        context: CONTEXT,
        ..PlacementOptions::default()
    };
    let plan = world.nodes[0].machine.plan(MANIFEST, &model(), &options);
    plan.expect("there is room").best
}

fn find_weights(world: &mut Devices) {
    let now = world.now;
    world.nodes[0].machine.find_weights(now, MANIFEST);
    let before = world.sent_bytes;
    world.nodes[0].machine.find_weights(now, MANIFEST);
    assert_eq!(world.sent_bytes, before);
    world.pass(Duration::from_millis(20));
    assert!(world.nodes[0].machine.knows_weights(MANIFEST));
}

#[test]
fn a_plan_says_what_is_to_be_fetched_and_about_how_long_that_takes() {
    let mut world = world();
    assert!(!world.nodes[0].machine.knows_weights(MANIFEST));
    assert_eq!(plan(&world).stages[0].fetch, None);
    find_weights(&mut world);
    let planned = plan(&world).stages[0];
    assert_eq!(planned.stage.peer, world.peer(1));
    let fetch = planned.fetch.expect("it has said what it has");
    assert_eq!(fetch.bytes, u64::from(LAYERS) * LAYER_BYTES);

    // It takes about so long.
    let begun = world.now;
    ask(&mut world, 0, 1, Choice::Best, 30);
    finish(&mut world, 0, 1);
    let ready = |(at, event): &(Duration, SessionEvent)| match event {
        SessionEvent::Ready { .. } => Some(*at - begun),
        _ => None,
    };
    let took = talk(&world, 0, 1).events.iter().find_map(ready);
    let (took, told) = (took.expect("it opened"), fetch.time.expect("it is known"));
    assert!(
        took > told * 9 / 10 && took < told * 5 / 4,
        "{took:?} {told:?}"
    );

    // It keeps them.
    world.pass(Duration::from_secs(1));
    find_weights(&mut world);
    let nothing = Fetch {
        bytes: 0,
        time: Some(Duration::ZERO),
    };
    assert_eq!(plan(&world).stages[0].fetch, Some(nothing));
}

#[test]
fn a_session_goes_to_who_has_the_weights_if_that_is_as_good() {
    let mut world = measured(&[(5, 500), (80, 2_000), (80, 2_000)]);
    world.nodes[1].shelf = Shelf::empty();
    find_weights(&mut world);
    ask(&mut world, 0, 1, Choice::Best, 30);
    finish(&mut world, 0, 1);
    assert_eq!(talk(&world, 0, 1).placements(), [[world.peer(2)]]);
    assert_eq!(world.nodes[1].shelf.kept_bytes, 0);
    // Who is gone has nothing.
    world.strike(Fault::Set(2, Life::Dead));
    world.pass(Duration::from_secs(1));
    let devices = world.nodes[0].machine.devices_for(MANIFEST);
    let known = [0, 1, 2].map(|node| devices.holdings.contains(world.peer(node)));
    assert_eq!(known, [true, true, false]);
}

#[test]
fn of_few_models_it_is_known_who_has_them() {
    let mut world = world();
    let manifests = [9, 10, 11, 12, 13].map(|byte| ContentHash([byte; 32]));
    for manifest in manifests {
        let now = world.now;
        world.nodes[0].machine.find_weights(now, manifest);
        world.pass(Duration::from_millis(20));
    }
    let known = manifests.map(|manifest| world.nodes[0].machine.knows_weights(manifest));
    assert_eq!(known, [false, true, true, true, true]);
}

#[test]
fn nobody_is_asked_again_at_once_and_who_is_new_is() {
    let mut solo = Solo::greeted();
    let asked = |solo: &mut Solo| {
        solo.machine.find_weights(solo.now, MANIFEST);
        let heard = solo.heard();
        let query = |message: &&Control| matches!(message, Control::ModelQuery(_));
        heard.iter().filter(query).count()
    };
    assert_eq!([asked(&mut solo), asked(&mut solo)], [1, 0]);
    // What it says is what it has; the store has not answered.
    let offer = ModelOffer {
        manifest: MANIFEST,
        layers: vec![LayerRange::new(2, 4).expect("forwards")],
        ends: false,
        manifest_bytes: 1,
    };
    solo.say(offer);
    let devices = solo.machine.devices_for(MANIFEST);
    assert!(devices.holdings.has(solo.peer, 3) && !devices.holdings.has(solo.peer, 4));
    assert!(!solo.machine.knows_weights(MANIFEST));
    assert_eq!(asked(&mut solo), 0);
    solo.pass(Duration::from_millis(1_100));
    solo.heard();
    assert_eq!(asked(&mut solo), 1);
    // A new connection has said nothing.
    let peer = solo.peer;
    solo.machine
        .handle_input(solo.now, Input::Disconnected(peer));
    let mut anew = Solo::greeted();
    anew.machine = solo.machine;
    anew.now = solo.now;
    let connected = Input::Connected(peer);
    anew.machine.handle_input(anew.now, connected);
    assert_eq!(asked(&mut anew), 0);
    anew.say(hello());
    assert_eq!(asked(&mut anew), 1);
}
