//! Helpers that die, freeze, slow down or are cut off: the same tokens, and none lost.

use std::time::Duration;

use super::device::{Device, Devices, MIB, ask, circle, measured, talk};
use super::finish;
use crate::machine::{Choice, Input};
use crate::made_up::mix;
use crate::profile::Power;
use crate::profile::tests::profile;
use crate::world::{Fault, Life};

const WANTED: usize = 60;
/// Two of the three helpers have to help, or one of them and the requester.
const OFFERS: [(u64, u64); 4] = [(36, 300), (44, 2_000), (44, 1_900), (44, 1_800)];

fn anew(world: &Devices, node: usize) -> Device {
    let mut device = Device::new(node, circle(OFFERS.len()));
    device.measure(world.now, OFFERS[node]);
    device
}

#[test]
fn no_token_changes_when_helpers_fail_at_random() {
    let mut recovered = 0;
    for seed in 0..200 {
        let random = |salt: u64, below: u64| mix(seed, salt) % below;
        let mut world = measured(&OFFERS);
        ask(&mut world, 0, 1, Choice::Best, WANTED);
        // Up to two faults of different helpers.
        for fault in 0..1 + random(1, 2) {
            let victim = 1 + ((random(2, 3) + fault) % 3) as usize;
            let at = world.now + Duration::from_micros(random(3 + fault, 600_000));
            let back = at + Duration::from_millis(random(5 + fault, 4_000));
            let ways = (0..4).filter(|other| *other != victim);
            match random(7 + fault, 4) {
                0 => world.fault_at(at, Fault::Set(victim, Life::Dead)),
                1 => {
                    world.fault_at(at, Fault::Set(victim, Life::Frozen));
                    world.fault_at(back, Fault::Set(victim, Life::Running));
                }
                2 => {
                    for other in ways {
                        world.fault_at(at, Fault::Cut(victim, other, true));
                        world.fault_at(back, Fault::Cut(victim, other, false));
                    }
                }
                _ => {
                    world.fault_at(at, Fault::Slow(victim, 1 + random(9, 300) as u32));
                    world.fault_at(back, Fault::Slow(victim, 1));
                }
            }
        }
        finish(&mut world, 0, 1);
        recovered += talk(&world, 0, 1).broken().len();
    }
    assert!(recovered > 100, "only {recovered} of the faults were felt");
}

#[test]
fn a_killed_helper_is_replaced_at_once() {
    let mut world = measured(&OFFERS);
    ask(&mut world, 0, 1, Choice::Best, WANTED);
    world.pass(Duration::from_millis(200));
    let first = talk(&world, 0, 1).placements()[0].clone();
    let victim = (1..4).find(|node| first.contains(&world.peer(*node)));
    let victim = victim.expect("somebody helps");
    world.strike(Fault::Set(victim, Life::Dead));
    finish(&mut world, 0, 1);
    let found = talk(&world, 0, 1);
    assert_eq!(found.broken(), [world.peer(victim)]);
    // Its connection ends with it: the loads of the others and a replay are what it costs.
    assert!(
        found.stall() < Duration::from_millis(200),
        "{:?}",
        found.stall()
    );
}

#[test]
fn helpers_that_do_not_hear_each_other_are_not_used_together() {
    let mut world = measured(&OFFERS);
    ask(&mut world, 0, 1, Choice::Best, WANTED);
    world.pass(Duration::from_millis(100));
    for (a, b) in [(1, 2), (1, 3), (2, 3)] {
        world.strike(Fault::Cut(a, b, true));
    }
    finish(&mut world, 0, 1);
    let found = talk(&world, 0, 1);
    assert!(!found.broken().is_empty());
}

#[test]
fn when_all_helpers_are_gone_a_session_waits_until_one_comes_back() {
    for seed in 0..20 {
        let mut world = measured(&[(10, 300), (80, 2_000), (80, 1_900)]);
        ask(&mut world, 0, 1, Choice::Best, 200);
        world.pass(Duration::from_micros(mix(seed, 1) % 250_000));
        world.strike(Fault::Set(1, Life::Dead));
        world.pass(Duration::from_micros(mix(seed, 2) % 250_000));
        world.strike(Fault::Set(2, Life::Dead));
        world.pass(Duration::from_secs(20));
        let found = talk(&world, 0, 1);
        assert!(!found.is_done());
        let waited = found.waited();
        assert!(
            waited.len() == 1 && waited[0].contains("the model needs"),
            "{waited:?}"
        );
        let node = 1 + (seed % 2) as usize;
        let mut device = Device::new(node, circle(3));
        device.measure(world.now, (80, 1_000));
        world.restart(node, device);
        finish(&mut world, 0, 1);
    }
}

#[test]
fn a_requester_that_freezes_blames_nobody() {
    let mut world = measured(&OFFERS);
    ask(&mut world, 0, 1, Choice::Best, WANTED);
    world.pass(Duration::from_millis(200));
    world.strike(Fault::Set(0, Life::Frozen));
    world.pass(Duration::from_secs(8));
    world.strike(Fault::Set(0, Life::Running));
    finish(&mut world, 0, 1);
    assert!(talk(&world, 0, 1).broken().is_empty());
}

#[test]
fn a_restarted_helper_is_used_again() {
    let mut world = measured(&[(10, 300), (80, 2_000), (80, 100)]);
    ask(&mut world, 0, 1, Choice::Best, 30);
    finish(&mut world, 0, 1);
    assert_eq!(talk(&world, 0, 1).placements(), [[world.peer(1)]]);
    let device = anew(&world, 1);
    world.restart(1, device);
    world.pass(Duration::from_secs(3));
    let now = world.now;
    world.nodes[0].machine.finish(now, crate::SessionId(1));
    world.nodes[1].measure(now, (80, 2_000));
    world.pass(Duration::from_secs(2));
    ask(&mut world, 0, 2, Choice::Best, 30);
    finish(&mut world, 0, 2);
    assert_eq!(talk(&world, 0, 2).placements(), [[world.peer(1)]]);
}

#[test]
fn a_device_whose_battery_runs_low_hands_its_layers_over_before_it_stops() {
    let mut world = measured(&[(10, 500), (80, 2_000), (80, 1_500)]);
    ask(&mut world, 0, 1, Choice::Best, 200);
    world.pass(Duration::from_millis(200));
    assert_eq!(talk(&world, 0, 1).placements(), [[world.peer(1)]]);
    let mut low = profile(80 * MIB, 2_000 * MIB);
    low.limits.min_battery_percent = 30;
    let battery = |percent| Power::Battery {
        percent,
        charging: false,
    };
    for percent in [40, 29, 28] {
        low.power.value = battery(percent);
        let now = world.now;
        let measured = Input::Profile(low.clone());
        world.nodes[1].machine.handle_input(now, measured);
        world.pass(Duration::from_millis(30));
    }
    finish(&mut world, 0, 1);
    let found = talk(&world, 0, 1);
    assert_eq!(found.placements()[1..], [[world.peer(2)]]);
    assert!(world.nodes[1].machine.is_idle());
}

#[test]
fn a_helper_whose_values_are_no_numbers_is_left_out_and_no_token_changes() {
    // First, last or between others.
    let mut spoiled = 0;
    for spoiler in 1..4 {
        let mut world = measured(&[(10, 300), (36, 2_000), (36, 2_000), (36, 2_000)]);
        world.hosts[spoiler].spoils = true;
        ask(&mut world, 0, 1, Choice::Best, WANTED);
        finish(&mut world, 0, 1);
        let found = talk(&world, 0, 1);
        let used = found.placements()[0].contains(&world.peer(spoiler));
        let broken = found.broken();
        assert!(
            broken.iter().all(|peer| *peer == world.peer(spoiler)),
            "{broken:?}"
        );
        assert_eq!(broken.len(), usize::from(used));
        // Nor does the next conversation begin with it.
        ask(&mut world, 0, 2, Choice::Best, WANTED);
        finish(&mut world, 0, 2);
        let next = talk(&world, 0, 2);
        assert!(next.broken().is_empty());
        assert!(!used || !next.placements()[0].contains(&world.peer(spoiler)));
        spoiled += usize::from(used);
    }
    assert!(spoiled > 1, "only {spoiled} were used");
}
