//! Sessions over pipelines of several nodes: the same tokens as one, whatever happens.

mod feed;
mod fetching;
mod half;
mod requester;
mod shared;
mod standby;

use std::time::Duration;

use half::{Halves, cut, halves, peer};
use requester::{Requester, ring};

use super::{Cause, FAIL_AFTER, PROBE_AFTER, PlaceError, SessionEvent, SessionOutput};
use crate::made_up::mix;
use crate::wire::{Control, HandOverReason, StageRefusedCode};
use crate::world::{Fault, LAYERS, Life, alone, prompt};

const PROMPT: usize = 50;
const WANTED: usize = 60;
const LIMIT: Duration = Duration::from_secs(60);

/// A world in which node 0 asks for tokens over `split`, with nodes that may step in.
fn world(nodes: usize, split: &[(usize, u32)], spare: Vec<usize>) -> Halves {
    let mut world = halves(nodes);
    let mut requester = Requester::new(0, PROMPT, WANTED, spare);
    requester
        .session
        .place(Duration::ZERO, ring(split))
        .expect("a valid placement");
    world.nodes[0].requester = Some(requester);
    world
}

fn requester(world: &Halves, node: usize) -> &Requester {
    world.nodes[node].requester.as_ref().expect("it asks")
}

fn finish(world: &mut Halves) {
    assert!(world.run(LIMIT, |world| requester(world, 0).is_done()));
    assert_eq!(requester(world, 0).tokens, alone(&prompt(PROMPT), WANTED));
}

#[test]
fn every_split_gives_the_tokens_of_one_device() {
    for split in [
        &[(0, LAYERS)][..],
        &[(1, LAYERS)],
        &[(1, 1), (2, LAYERS)],
        &[(1, 5), (2, 11), (3, LAYERS)],
        &[(0, 4), (1, 8), (2, LAYERS)],
        &[(1, 4), (0, 8), (2, LAYERS)],
        &[(1, 4), (2, 8), (0, LAYERS)],
        &[(3, 3), (2, 6), (1, 9), (0, LAYERS)],
    ] {
        let mut world = world(4, split, Vec::new());
        finish(&mut world);
        assert!(requester(&world, 0).broken.is_empty(), "{split:?}");
    }
}

#[test]
fn a_helper_that_dies_freezes_or_is_cut_off_changes_no_token() {
    for seed in 0..300 {
        let random = |salt: u64, below: u64| mix(seed, salt) % below;
        let victim = 1 + random(1, 2) as usize;
        let split = [(1, 1 + random(2, 10) as u32), (2, LAYERS)];
        let mut world = world(4, &split, vec![3, 0]);
        let at = Duration::from_micros(random(3, 700_000));
        let back = at + Duration::from_millis(random(5, 3_000));
        match random(4, 3) {
            0 => world.fault_at(at, Fault::Set(victim, Life::Dead)),
            1 => {
                world.fault_at(at, Fault::Set(victim, Life::Frozen));
                world.fault_at(back, Fault::Set(victim, Life::Running));
            }
            _ => {
                for other in (0..4).filter(|other| *other != victim) {
                    world.fault_at(at, Fault::Cut(victim, other, true));
                }
            }
        }
        finish(&mut world);
    }
}

/// [`world`], with guesses.
fn drafting(nodes: usize, split: &[(usize, u32)], spare: Vec<usize>) -> Halves {
    let mut world = world(nodes, split, spare);
    let requester = world.nodes[0].requester.as_mut().expect("it asks");
    requester.ahead = 4;
    requester.foreseen = alone(&prompt(PROMPT), WANTED);
    world
}

fn place(world: &mut Halves, split: &[(usize, u32)]) {
    let requester = world.nodes[0].requester.as_mut().expect("it asks");
    let placed = requester.session.place(world.now, ring(split));
    placed.expect("a valid placement");
}

#[test]
fn drafts_that_are_rolled_back_with_answers_in_flight_change_no_token() {
    let mut world = drafting(3, &[(1, 5), (2, LAYERS)], Vec::new());
    finish(&mut world);
    let (right, wrong) = requester(&world, 0).drafted;
    assert!(right > 10 && wrong > 10, "{right} right, {wrong} wrong");
    assert!(requester(&world, 0).broken.is_empty());
}

#[test]
fn a_placement_that_moves_with_rows_in_flight_loses_no_answer_and_no_roll_back() {
    let split = [(1, 5), (2, LAYERS)];
    for seed in 0..200 {
        let mut world = drafting(3, &split, Vec::new());
        for time in 0..6 {
            // Frames are lost between the helpers for a while, then the same stages open again.
            let at = world.now + Duration::from_micros(mix(seed, time) % 60_000);
            world.run(at, |_| false);
            cut(&mut world, 1, 2, true);
            let lost = Duration::from_micros(mix(seed, 50 + time) % 30_000);
            world.run(at + lost, |_| false);
            cut(&mut world, 1, 2, false);
            place(&mut world, &split);
        }
        finish(&mut world);
        assert!(requester(&world, 0).broken.is_empty(), "{seed}");
        assert!(requester(&world, 0).ready.iter().any(|(_, from)| *from > 0));
    }
}

#[test]
fn a_helper_that_comes_back_does_not_answer_from_what_was_rolled_back_without_it() {
    for seed in 0..100 {
        let mut world = drafting(4, &[(1, 5), (2, LAYERS)], vec![3]);
        let at = Duration::from_micros(40_000 + mix(seed, 1) % 60_000);
        world.run(at, |_| false);
        assert!(!requester(&world, 0).is_done());
        // It does not hear that it was replaced.
        cut(&mut world, 0, 2, true);
        let replaced = |world: &Halves| requester(world, 0).ready.len() == 2;
        assert!(world.run(LIMIT, replaced));
        cut(&mut world, 0, 2, false);
        let more = requester(&world, 0).tokens.len() + 5;
        assert!(world.run(LIMIT, |world| requester(world, 0).tokens.len() >= more));
        place(&mut world, &[(1, 5), (2, LAYERS)]);
        finish(&mut world);
    }
}

#[test]
fn a_stage_that_was_freed_is_found_out_by_the_first_question() {
    let mut world = world(4, &[(1, 6), (2, LAYERS)], vec![3]);
    let at = Duration::from_millis(300);
    world.run(at, |_| false);
    world.nodes[2].stages.forget(peer(0));
    finish(&mut world);
    let (noticed, who, cause) = &requester(&world, 0).broken[0];
    assert_eq!((*who, cause), (2, &Cause::Forgotten));
    assert!(*noticed < at + PROBE_AFTER + Duration::from_millis(20));
}

#[test]
fn a_roll_back_while_stages_open_does_not_end_the_watch() {
    let mut world = drafting(3, &[(1, 5), (2, LAYERS)], vec![0]);
    let some = |world: &Halves| requester(world, 0).tokens.len() > PROMPT + 5;
    assert!(world.run(LIMIT, some));
    world.strike(Fault::Set(2, Life::Dead));
    place(&mut world, &[(1, 6), (2, LAYERS)]);
    // Its user changed the last words, to the same ones.
    let now = world.now;
    let requester = world.nodes[0].requester.as_mut().expect("it asks");
    requester.session.roll_back(now, PROMPT as u32);
    requester.tokens.truncate(PROMPT);
    finish(&mut world);
}

#[test]
fn a_dead_helper_costs_its_silence_and_a_replay() {
    let mut world = world(4, &[(1, 6), (2, LAYERS)], vec![3]);
    let at = Duration::from_millis(300);
    world.fault_at(at, Fault::Set(2, Life::Dead));
    finish(&mut world);
    let requester = requester(&world, 0);
    let (noticed, who, cause) = &requester.broken[0];
    assert_eq!((*who, cause), (2, &Cause::Silent(FAIL_AFTER)));
    assert!(*noticed >= at && *noticed < at + FAIL_AFTER + Duration::from_millis(20));
    // The new stage holds nothing, so everything goes again.
    assert_eq!(requester.ready[1].1, 0);
    let gap = |pair: &[Duration]| pair[1] - pair[0];
    let stall = requester.answered_at.windows(2).map(gap).max();
    assert!(stall.is_some_and(|stall| stall < FAIL_AFTER + Duration::from_millis(150)));
}

#[test]
fn a_cut_between_two_helpers_is_noticed_though_both_answer() {
    // Node 1 computes and sends into nothing; nodes 1 and 2 both answer the requester's probes.
    let mut world = world(4, &[(1, 6), (2, LAYERS)], vec![3]);
    world.fault_at(Duration::from_millis(300), Fault::Cut(1, 2, true));
    let done = world.run(LIMIT, |world| requester(world, 0).is_done());
    assert!(done, "the pipeline stands still");
    assert_eq!(requester(&world, 0).tokens, alone(&prompt(PROMPT), WANTED));
}

#[test]
fn a_helper_that_stops_hands_over_without_a_stall() {
    let mut world = world(4, &[(1, 6), (2, LAYERS)], vec![3]);
    world.run(Duration::from_millis(300), |_| false);
    let within = Duration::from_secs(5);
    world.nodes[2]
        .stages
        .hand_over(HandOverReason::Stopping, within);
    finish(&mut world);
    assert!(requester(&world, 0).broken.is_empty());
    assert!(
        world.nodes[2].stages.is_empty(),
        "freed when it was replaced"
    );
}

#[test]
fn sessions_of_several_requesters_share_steps_and_no_token_changes() {
    let mut world = halves(6);
    for node in 0..4 {
        let mut requester = Requester::new(node, PROMPT + node, WANTED, Vec::new());
        let ring = ring(&[(4, 6), (5, LAYERS)]);
        requester
            .session
            .place(Duration::ZERO, ring)
            .expect("valid");
        world.nodes[node].requester = Some(requester);
    }
    let all = |world: &Halves| (0..4).all(|node| requester(world, node).is_done());
    assert!(world.run(LIMIT, all));
    for node in 0..4 {
        assert_eq!(
            requester(&world, node).tokens,
            alone(&prompt(PROMPT + node), WANTED)
        );
    }
    assert!(world.hosts[4].steps.iter().any(|sessions| *sessions > 1));
}

#[test]
fn a_stage_opens_for_its_requester_only_and_refuses_in_words() {
    let mut world = world(3, &[(1, LAYERS)], Vec::new());
    world.run(Duration::from_millis(100), |_| false);
    // Another asks for a stage of the same session, and closes it.
    let mut thief = Requester::new(0, PROMPT, WANTED, vec![2]);
    thief
        .session
        .place(world.now, ring(&[(1, LAYERS)]))
        .expect("valid");
    thief.session.close();
    world.nodes[2].requester = Some(thief);
    finish(&mut world);

    let mut world = halves(2);
    let mut requester = Requester::new(0, PROMPT, WANTED, Vec::new());
    requester
        .session
        .place(Duration::ZERO, ring(&[(1, LAYERS)]))
        .expect("valid");
    let refusal = (StageRefusedCode::Memory, "it has 3 MB", 3_000_000);
    while requester.turn(Duration::ZERO).is_some() {}
    let refused = crate::wire::StageRefused {
        session: requester.session.setup().id,
        epoch: crate::PlanEpoch(1),
        code: refusal.0,
        words: refusal.1.to_owned(),
        available_bytes: refusal.2,
    };
    requester
        .session
        .handle_control(Duration::ZERO, peer(1), Control::from(refused));
    let output = requester.session.poll_output();
    let Some(SessionOutput::Event(SessionEvent::Broken { cause, .. })) = output else {
        panic!("a refused stage breaks the pipeline, not {output:?}");
    };
    assert!(cause.to_string().contains("it has 3 MB"));
    world.nodes[0].requester = Some(requester);
}

#[test]
fn placements_that_are_none_are_refused() {
    let place = |split: &[(usize, u32)]| {
        let mut requester = Requester::new(0, 1, 1, Vec::new());
        requester.session.place(Duration::ZERO, ring(split))
    };
    assert_eq!(place(&[]), Err(PlaceError::Empty));
    assert_eq!(place(&[(1, 3), (1, 6)]), Err(PlaceError::Twice(peer(1))));
    assert_eq!(place(&[(1, 3), (2, 3)]), Err(PlaceError::Gap));
}
