//! Stages whose layers keep only the last positions.

use potluck_model::Reach;
use potluck_protocol::PlanEpoch;

use super::{World, tokens};

/// More than rings of 640 positions hold.
const LONG: u32 = 1_200;
const CONTEXT: u32 = 1_536;

/// A stage with all layers of a model with windows, and one to compare with.
fn world() -> World {
    let world = World::new("tiny-gemma3", 1, None);
    load(&world, 1, 1);
    world
}

fn load(world: &World, session: u64, epoch: u32) {
    let mut order = world.order(session, 0..world.config.layers as u32);
    order.context = CONTEXT;
    order.epoch = PlanEpoch(epoch);
    world.load(0, order).expect("it is here");
}

/// Sends tokens in steps; returns the hidden states, or none if some could not be computed.
fn send(world: &mut World, session: u64, start: u32, tokens: &[u32]) -> Option<Vec<u8>> {
    let mut all = Vec::new();
    let mut start = start;
    for tokens in tokens.chunks(200) {
        let hidden = world.ends.embed(tokens).expect("known");
        let computed = world.compute(0, vec![(session, start, hidden)]);
        if computed[0].is_empty() {
            return None;
        }
        all.extend_from_slice(&computed[0]);
        start += tokens.len() as u32;
    }
    Some(all)
}

/// What a stage computes that never held anything else.
fn anew(world: &mut World, tokens: &[u32]) -> Vec<u8> {
    load(world, 99, 1);
    let computed = send(world, 99, 0, tokens).expect("from the beginning");
    world.executors[0]
        .0
        .free(super::stage(99))
        .expect("it runs");
    computed
}

#[test]
fn rows_cut_within_reach_go_on_and_those_beyond_are_refused_until_all_come_again() {
    let mut world = world();
    let (text, other) = (tokens(LONG, 3), tokens(50, 4));
    let d_model = world.config.d_model;
    let rows = |all: &[u8], from: u32| all[from as usize * d_model * 4..].to_vec();
    assert_eq!(send(&mut world, 1, 0, &text), Some(anew(&mut world, &text)));
    for cut in [LONG - 1, LONG - 512] {
        let changed = [&text[..cut as usize], &other].concat();
        let expected = rows(&anew(&mut world, &changed), cut);
        assert_eq!(send(&mut world, 1, cut, &other), Some(expected));
        assert!(send(&mut world, 1, cut, &text[cut as usize..]).is_some());
    }
    let far = [&text[..100], &other].concat();
    assert_eq!(send(&mut world, 1, 100, &other), None);
    assert!(world.overwritten, "and it says why");
    assert_eq!(
        send(&mut world, 1, 100, &other),
        None,
        "it holds nothing now"
    );
    assert_eq!(send(&mut world, 1, 0, &far), Some(anew(&mut world, &far)));
}

#[test]
fn after_another_stage_failed_the_rows_that_come_again_are_known_and_it_goes_on() {
    let mut world = world();
    let text = tokens(LONG + 60, 3);
    let expected = anew(&mut world, &text);
    let (first, more) = text.split_at(LONG as usize);
    let begin = send(&mut world, 1, 0, first).expect("from the beginning");
    load(&world, 1, 2);
    assert!(send(&mut world, 1, 0, first) == Some(begin));
    let behind = send(&mut world, 1, LONG, more).expect("it goes on");
    assert!(expected.ends_with(&behind));
}

#[test]
fn one_who_begins_anew_with_the_same_rows_may_go_on_with_others() {
    let mut world = world();
    let (text, other) = (tokens(LONG, 3), tokens(90, 4));
    send(&mut world, 1, 0, &text).expect("from the beginning");
    // The requester knows that it cannot go back that far, and sends all from the beginning: rows that
    // are known up to where it changed an early message.
    let mut reach = Reach::new(&world.config, CONTEXT as usize);
    reach.sent(LONG as usize);
    assert_eq!(reach.of(300), 0);
    let changed = [&text[..300], &other].concat();
    let expected = anew(&mut world, &changed);
    assert!(send(&mut world, 1, 0, &changed[..300]).is_some());
    let behind = send(&mut world, 1, 300, &other).expect("it goes on");
    assert!(expected.ends_with(&behind) && !world.overwritten);
}

#[test]
fn layers_that_stay_when_a_stage_becomes_another_go_on_behind_the_edge_of_their_rings() {
    let mut world = World::new("tiny-gemma3", 1, None);
    let text = tokens(LONG + 60, 3);
    for (session, before, after) in [(1, 1..4, 0..6), (2, 2..6, 1..6), (3, 0..3, 0..2)] {
        let mut order = world.order(session, before.clone());
        order.context = CONTEXT;
        world.load(0, order.clone()).expect("it is here");
        let first = &text[..LONG as usize];
        send(&mut world, session, 0, first).expect("from the beginning");
        order.epoch = PlanEpoch(2);
        order.layers = world.order(session, after.clone()).layers;
        world.load(0, order.clone()).expect("it is here");
        order.stage = super::stage(session + 50);
        world.load(0, order).expect("it is here");
        let again = send(&mut world, session, 0, &text);
        let anew = send(&mut world, session + 50, 0, &text);
        assert!(
            again.is_some() && again == anew,
            "{before:?} became {after:?}"
        );
    }
}
