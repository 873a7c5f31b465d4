//! Reuse of computed rows, for the same stage and for a changed one.

use std::ops::Range;

use potluck_protocol::{LayerRange, PlanEpoch};

use super::{CONTEXT, World, tokens};
use crate::shape::model_shape;

/// Rows sent again have the same outputs, bit for bit, whichever layers stay, go or come.
#[test]
fn layers_that_stay_when_a_stage_becomes_another_go_on_with_what_they_hold() {
    let mut world = World::new("tiny-gemma3", 1, None);
    let layers = world.config.layers as u32;
    let text = tokens(60, 3);
    let ranges = [1..2, 0..2, 1..layers, 0..layers, 2..layers];
    let rows = |world: &World, range: Range<usize>| world.ends.embed(&text[range]).expect("known");
    let (mut epoch, mut session) = (1, 0);
    for before in &ranges {
        for after in &ranges {
            session += 1;
            let mut load = world.order(session, before.clone());
            world.load(0, load.clone()).expect("it is here");
            // The inputs of these layers do not matter, as long as they are the same again.
            for range in [0..30, 30..45, 45..46] {
                let (start, hidden) = (range.start as u32, rows(&world, range));
                world.compute(0, vec![(session, start, hidden)]);
            }
            epoch += 1;
            load.epoch = PlanEpoch(epoch);
            load.layers = LayerRange::new(after.start, after.end).expect("forwards");
            world.load(0, load).expect("it is here");
            let fresh = session + 1_000;
            let order = world.order(fresh, after.clone());
            world.load(0, order).expect("it is here");
            for range in [0..20, 20..46, 46..60] {
                let (start, hidden) = (range.start as u32, rows(&world, range));
                let again = world.compute(0, vec![(session, start, hidden.clone())]);
                let anew = world.compute(0, vec![(fresh, start, hidden)]);
                assert!(again == anew, "{before:?} became {after:?}");
            }
        }
    }
}

#[test]
fn a_conversation_goes_on_over_more_layers_and_with_other_rows() {
    let mut world = World::new("tiny-gemma3", 1, None);
    let layers = world.config.layers as u32;
    let (text, other) = (tokens(60, 3), tokens(60, 4));
    let expected = world.expected(&text);
    let (session, below) = (1, 2);
    let order = world.order(session, 1..layers);
    world.load(0, order.clone()).expect("it is here");
    let mut whole = world.order(session, 0..layers);
    let under = world.order(below, 0..1);
    world.load(0, under).expect("it is here");
    let hidden = world.ends.embed(&text).expect("known");
    let hidden = world.compute(0, vec![(below, 0, hidden)]);
    world.compute(0, vec![(session, 0, hidden[0].clone())]);
    whole.epoch = PlanEpoch(9);
    world.load(0, whole).expect("it is here");
    assert!(world.through(&[(session, 0, &text)]).concat() == expected);
    assert!(
        world.through(&[(session, 0, &text)]).concat() == expected,
        "recalled"
    );
    let changed = [&text[..30], &other[30..]].concat();
    let bits = world.through(&[(session, 30, &changed[30..])]).concat();
    assert!(world.expected(&changed).ends_with(&bits), "other rows");
    let bits = world.through(&[(session, 20, &text[20..])]).concat();
    assert!(expected.ends_with(&bits), "and back");
}

#[test]
fn what_is_remembered_of_a_stage_does_not_keep_a_larger_one_out() {
    let world = World::new("tiny", 0, None);
    let shape = model_shape(&world.gguf, &world.config).expect("small");
    let weights: u64 = shape.layers.iter().map(|l| l.memory_bytes(0)).sum();
    let layers = world.config.layers;
    let needed = weights + world.config.kv_bytes(0..layers, CONTEXT as usize);
    let mut world = World::new("tiny", 1, Some(needed));
    let mut load = world.order(1, 0..1);
    world.load(0, load.clone()).expect("it is here");
    let hidden = world.ends.embed(&tokens(20, 3)).expect("known");
    world.compute(0, vec![(1, 0, hidden)]);
    load.epoch = PlanEpoch(2);
    load.layers = LayerRange::new(0, layers as u32).expect("forwards");
    assert_eq!(world.load(0, load), Ok(needed));
}
