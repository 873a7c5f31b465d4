//! Whoever asked sees how far the weights of its stages are.

use std::time::Duration;

use super::device::{Devices, ask, measured, talk};
use super::finish;
use super::shelf::{LAYER_BYTES, Shelf};
use crate::PeerId;
use crate::machine::{Choice, SessionEvent, TELL_EVERY};
use crate::placement::Forced;
use crate::world::LAYERS;

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
