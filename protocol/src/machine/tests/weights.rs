//! Weights come to those who lack them, from whoever has them.

use std::time::Duration;

use super::device::{Device, Devices, ask, circle, measured, talk};
use super::finish;
use super::shelf::{LAYER_BYTES, MANIFEST, Shelf};
use super::solo::{Solo, hello};
use crate::machine::{Choice, Event, Input, Output};
use crate::made_up::mix;
use crate::session::{Cause, FAIL_AFTER, SessionEvent};
use crate::transfer::{MOST_READ_FOR_PEER, STALLED_AFTER, STARVED_AFTER, StoreOrder};
use crate::wire::limits::MAX_PIECE_BYTES;
use crate::wire::{
    ByteRange, Control, ControlReader, Received, RefuseCode, ShardHeader, ShardRefusedCode,
    ShardRequest, StageRefusedCode,
};
use crate::world::{Fault, LAYERS, Life, Stream};

/// The first has room for the ends only, and the weights; the second is the fastest.
const OFFERS: [(u64, u64); 4] = [(5, 500), (80, 4_000), (70, 500), (70, 400)];
const ALL_BYTES: u64 = LAYERS as u64 * LAYER_BYTES;

/// These devices, of which the first has all weights, the second none, and the others as given.
fn world(others: [Shelf; 2]) -> Devices {
    let mut world = measured(&OFFERS);
    world.nodes[1].shelf = Shelf::empty();
    for (node, shelf) in (2..).zip(others) {
        world.nodes[node].shelf = shelf;
    }
    world
}

fn given(world: &Devices) -> [u64; 4] {
    std::array::from_fn(|node| world.nodes[node].shelf.given_bytes)
}

#[test]
fn a_helper_without_weights_gets_its_layers_and_no_others() {
    let mut world = world([Shelf::empty(), Shelf::empty()]);
    // A fetch that takes longer than a stage may be silent.
    let layers = "two:0..3,three:3..12".to_owned();
    let forced = crate::placement::Forced::parse(&layers, LAYERS, |name| {
        Some(world.peer(if name == "two" { 2 } else { 1 }))
    });
    ask(&mut world, 0, 1, Choice::Forced(forced.expect("whole")), 30);
    let begun = world.now;
    finish(&mut world, 0, 1);
    let found = talk(&world, 0, 1);
    assert!(found.broken().is_empty(), "{:?}", found.events);
    assert!(found.answered_at[0] > begun + FAIL_AFTER, "it was quick");
    let shelves = [1, 2].map(|node| &world.nodes[node].shelf);
    assert_eq!(shelves[0].layers(), (3..LAYERS).collect::<Vec<_>>());
    assert_eq!(shelves[1].layers(), [0, 1, 2]);
    for (shelf, layers) in shelves.into_iter().zip([9, 3]) {
        let expected = layers * LAYER_BYTES;
        assert!(shelf.kept_bytes >= expected && shelf.kept_bytes < expected + 200_000);
        assert!(!shelf.pinned);
    }
    // At 50 MB/s, of which little was lost to waiting.
    let wire = Duration::from_nanos(20 * ALL_BYTES);
    let opened = |(at, event): &(Duration, SessionEvent)| match event {
        SessionEvent::Ready { .. } => Some(*at - begun),
        _ => None,
    };
    let took = found.events.iter().find_map(opened).expect("it opened");
    assert!(took < wire * 5 / 4, "{took:?} for {wire:?}");
    let fetched = |event: &&Event| matches!(event, Event::Fetched(_) | Event::Fetching(_));
    let told = world.nodes[1].events.iter().filter(fetched);
    assert!(told.count() >= 3);
    assert_eq!(
        world.nodes[1].events.back(),
        Some(&Event::Fetched(MANIFEST))
    );
}

#[test]
fn it_comes_from_all_who_have_it_and_no_piece_twice() {
    let mut world = world([Shelf::with(0..7), Shelf::with(5..12)]);
    ask(&mut world, 0, 1, Choice::Best, 30);
    finish(&mut world, 0, 1);
    assert_eq!(talk(&world, 0, 1).placements(), [[world.peer(1)]]);
    let given = given(&world);
    assert!(
        given.iter().sum::<u64>() < ALL_BYTES + 1_000_000,
        "{given:?}"
    );
    for of in [0, 2, 3] {
        assert!(given[of] > ALL_BYTES / 5, "{given:?}");
    }
}

#[test]
fn who_sends_what_is_not_right_is_left_out() {
    let mut world = world([Shelf::whole(), Shelf::with(0..3)]);
    world.nodes[2].shelf.corrupts = true;
    ask(&mut world, 0, 1, Choice::Best, 30);
    finish(&mut world, 0, 1);
    assert!(talk(&world, 0, 1).broken().is_empty());
    let shelf = &world.nodes[1].shelf;
    assert!(shelf.refused >= 1 && shelf.has(crate::LayerRange::new(0, LAYERS).expect("all")));
    let given = given(&world);
    assert!(given[2] <= 17 * MAX_PIECE_BYTES, "{given:?}");
    assert!(given[3] > LAYER_BYTES, "{given:?}");

    // If nobody else has it, there is no stage.
    let mut world = measured(&OFFERS);
    world.nodes[0].shelf.corrupts = true;
    for node in 1..4 {
        world.nodes[node].shelf = Shelf::empty();
    }
    ask(&mut world, 0, 1, Choice::Best, 30);
    let begun = world.now;
    world.pass(Duration::from_secs(20));
    let found = talk(&world, 0, 1);
    assert_eq!(found.broken()[..1], [world.peer(1)]);
    assert!(found.events[1].0 < begun + STARVED_AFTER + Duration::from_millis(500));
    assert!((1..4).all(|node| world.nodes[node].shelf.kept_bytes == 0));
    assert!((1..4).all(|node| !world.nodes[node].shelf.pinned));
}

#[test]
fn what_a_peer_owed_that_dies_or_freezes_comes_of_another() {
    for (state, longer) in [(Life::Dead, Duration::ZERO), (Life::Frozen, STALLED_AFTER)] {
        let mut world = world([Shelf::whole(), Shelf::empty()]);
        ask(&mut world, 0, 1, Choice::Best, 30);
        let begun = world.now;
        world.pass(Duration::from_millis(150));
        assert!(given(&world)[2] > 0);
        world.strike(Fault::Set(2, state));
        finish(&mut world, 0, 1);
        let found = talk(&world, 0, 1);
        assert!(found.broken().is_empty());
        let took = found.answered_at[0] - begun;
        assert!(took < Duration::from_millis(1_800) + longer, "{took:?}");
    }
}

#[test]
fn an_interrupted_fetch_goes_on_where_it_was() {
    let mut world = world([Shelf::empty(), Shelf::empty()]);
    ask(&mut world, 0, 1, Choice::Best, 30);
    world.pass(Duration::from_millis(500));
    let kept = world.nodes[1].shelf.kept_bytes;
    assert!(kept > ALL_BYTES / 4 && kept < ALL_BYTES, "{kept}");
    let mut anew = Device::new(1, circle(4));
    anew.measure(world.now, OFFERS[1]);
    anew.shelf = world.nodes[1].shelf.clone();
    world.restart(1, anew);
    finish(&mut world, 0, 1);
    let now = world.now;
    world.nodes[0].machine.finish(now, crate::SessionId(1));
    world.nodes[0].measure(now, (5, 501));
    world.pass(Duration::from_secs(70));
    ask(&mut world, 0, 2, Choice::Best, 30);
    finish(&mut world, 0, 2);
    assert_eq!(
        talk(&world, 0, 2).placements().last(),
        Some(&vec![world.peer(1)])
    );
    let kept = world.nodes[1].shelf.kept_bytes;
    assert!(kept < ALL_BYTES + 200_000, "{kept}");
}

#[test]
fn a_model_that_nobody_has_is_refused_at_once() {
    let mut world = world([Shelf::empty(), Shelf::empty()]);
    world.nodes[0].shelf = Shelf::empty();
    ask(&mut world, 0, 1, Choice::Best, 30);
    let begun = world.now;
    world.pass(Duration::from_millis(300));
    let found = talk(&world, 0, 1);
    let refused = found.events.iter().find_map(|(at, event)| match event {
        SessionEvent::Broken {
            cause: Cause::Refused { code, words, .. },
            ..
        } => Some((*at - begun, *code, words.clone())),
        _ => None,
    });
    let (took, code, words) = refused.expect("it was refused");
    assert_eq!(code, StageRefusedCode::NoWeights);
    assert!(words.contains("nobody who is connected"), "{words}");
    assert!(took < Duration::from_millis(60), "{took:?}");
}

#[test]
fn a_store_without_room_says_so() {
    let mut world = world([Shelf::whole(), Shelf::whole()]);
    world.nodes[1].shelf.full = Some("allow more with --store".to_owned());
    ask(&mut world, 0, 1, Choice::Best, 30);
    finish(&mut world, 0, 1);
    let found = talk(&world, 0, 1);
    assert_eq!(found.broken(), [world.peer(1)]);
    let said = |(_, event): &(Duration, SessionEvent)| {
        matches!(event, SessionEvent::Broken {
        cause: Cause::Refused { words, .. }, .. } if words == "allow more with --store")
    };
    assert!(found.events.iter().any(said), "{:?}", found.events);
}

#[test]
fn a_fetch_that_nobody_waits_for_is_over() {
    let mut world = world([Shelf::empty(), Shelf::empty()]);
    ask(&mut world, 0, 1, Choice::Best, 30);
    world.pass(Duration::from_millis(200));
    assert!(world.nodes[1].shelf.pinned);
    let now = world.now;
    world.nodes[0].machine.finish(now, crate::SessionId(1));
    world.pass(Duration::from_millis(100));
    let kept = world.nodes[1].shelf.kept_bytes;
    assert!(!world.nodes[1].shelf.pinned);
    world.pass(Duration::from_secs(2));
    assert_eq!(world.nodes[1].shelf.kept_bytes, kept);
}

#[test]
fn weights_come_whatever_fails() {
    for seed in 0..150 {
        let random = |salt: u64, below: u64| mix(seed, salt) % below;
        let layers = |salt| {
            let first = random(salt, 12) as u32;
            Shelf::with(first..(first + 1 + random(salt + 1, 12) as u32).min(LAYERS))
        };
        let mut world = world([layers(1), layers(3)]);
        for node in 2..4 {
            world.nodes[node].shelf.corrupts = random(5 + node as u64, 4) == 0;
        }
        ask(&mut world, 0, 1, Choice::Best, 40);
        for fault in 0..random(9, 3) {
            let victim = 1 + random(10 + fault, 3) as usize;
            let at = world.now + Duration::from_millis(random(12 + fault, 1_500));
            let back = at + Duration::from_millis(random(14 + fault, 4_000));
            let (wrong, right) = match random(16 + fault, 3) {
                0 => (
                    Fault::Set(victim, Life::Frozen),
                    Fault::Set(victim, Life::Running),
                ),
                1 => (Fault::Cut(0, victim, true), Fault::Cut(0, victim, false)),
                _ => (
                    Fault::Cut(1, 2 + victim % 2, true),
                    Fault::Cut(1, 2 + victim % 2, false),
                ),
            };
            world.fault_at(at, wrong);
            world.fault_at(back, right);
        }
        finish(&mut world, 0, 1);
    }
}

/// What a peer hears on the stream for weights, and what the store is told.
fn on_stream(solo: &mut Solo, reader: &mut ControlReader) -> (Vec<Control>, Vec<StoreOrder>) {
    let (mut messages, mut orders) = (Vec::new(), Vec::new());
    while let Some(output) = solo.machine.poll_output() {
        match output {
            Output::SendTransfer(_, bytes) => {
                let mut bytes = bytes.as_slice();
                while let Some(received) = reader.read(&mut bytes).expect("well formed") {
                    let Received::Message(message) = received else {
                        panic!("not a message");
                    };
                    if let Control::ShardHeader(header) = &message {
                        bytes = &bytes[header.bytes as usize..];
                    }
                    messages.push(message);
                }
            }
            Output::Store(order) => orders.push(order),
            Output::Disconnect(_) => solo.disconnected = true,
            _ => {}
        }
    }
    (messages, orders)
}

fn say(solo: &mut Solo, messages: &[Control]) {
    let mut bytes = Vec::new();
    for message in messages {
        message.encode(&mut bytes).expect("within limits");
    }
    let input = Input::TransferBytes(solo.peer, bytes);
    solo.machine.handle_input(solo.now, input);
}

#[test]
fn a_peer_is_given_so_much_at_a_time() {
    let mut solo = Solo::greeted();
    let request = |id| {
        Control::from(ShardRequest {
            id,
            content: MANIFEST,
            range: ByteRange::new(0, 10).expect("some"),
        })
    };
    let mut asks = vec![hello().into()];
    asks.extend((0..=MOST_READ_FOR_PEER as u64).map(request));
    say(&mut solo, &asks);
    let mut reader = ControlReader::new();
    let (said, orders) = on_stream(&mut solo, &mut reader);
    assert_eq!(orders.len(), MOST_READ_FOR_PEER);
    assert!(
        matches!(&said[..], [Control::Hello(_), Control::ShardRefused(refused)]
            if refused.code == ShardRefusedCode::Busy && refused.id == MOST_READ_FOR_PEER as u64),
        "{said:?}"
    );
    // Each that is answered makes room for another.
    let StoreOrder::Read { to, id, .. } = orders[0] else {
        panic!("{:?}", orders[0]);
    };
    let result = Ok(vec![1; 10]);
    let read = crate::transfer::StoreAnswer::Read { to, id, result };
    solo.machine.handle_input(solo.now, Input::Stored(read));
    say(&mut solo, &[request(77)]);
    let (said, orders) = on_stream(&mut solo, &mut reader);
    assert_eq!(said, [ShardHeader { id, bytes: 10 }.into()]);
    assert_eq!(orders.len(), 1);
    assert!(!solo.disconnected);
}

#[test]
fn weights_that_were_not_asked_for_and_garbage_are_refused() {
    let header = Control::from(ShardHeader { id: 3, bytes: 9 });
    for messages in [vec![hello().into(), header.clone()], vec![header]] {
        let mut solo = Solo::greeted();
        say(&mut solo, &messages);
        assert_eq!(solo.refusal().0, RefuseCode::Malformed);
    }
    let mut solo = Solo::greeted();
    let garbage = Input::TransferBytes(solo.peer, vec![0xff; 9]);
    solo.machine.handle_input(solo.now, garbage);
    assert_eq!(solo.refusal().0, RefuseCode::Malformed);
}

#[test]
fn bytes_of_a_connection_before_are_nobodys() {
    let mut world = world([Shelf::empty(), Shelf::empty()]);
    ask(&mut world, 0, 1, Choice::Best, 30);
    world.pass(Duration::from_millis(200));
    // The stream is cut in the middle of a piece, and begins anew.
    world.strike(Fault::Cut(0, 1, true));
    world.pass(Duration::from_millis(50));
    world.strike(Fault::Cut(0, 1, false));
    finish(&mut world, 0, 1);
    assert!(
        world.nodes[1].whys().is_empty(),
        "{:?}",
        world.nodes[1].whys()
    );
    // What no peer may send.
    world.send(2, 1, Stream::Transfer, vec![0xff; 9]);
    world.pass(Duration::from_millis(50));
    assert_eq!(world.nodes[1].whys().len(), 1);
}
