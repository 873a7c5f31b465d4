//! Placements that a person wrote.

use std::time::Duration;

use super::device::{Devices, ask, identity, measured, talk};
use super::finish;
use crate::machine::Choice;
use crate::placement::Forced;
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

#[test]
fn a_written_placement_waits_for_its_devices_and_ends_with_one_of_them() {
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
    // It comes back as a new process.
    let mut anew = super::device::Device::new(2, super::device::circle(3));
    anew.measure(world.now, (80, 100));
    world.restart(2, anew);
    let some = |world: &Devices| talk(world, 0, 1).answered_at.len() > 5;
    let limit = world.now + Duration::from_secs(10);
    assert!(world.run(limit, some));
    assert_eq!(talk(&world, 0, 1).placements(), [ring(&world, &[1, 2])]);
    world.strike(Fault::Set(1, Life::Dead));
    finish(&mut world, 0, 1);
    // Now the best of what is left.
    assert_eq!(talk(&world, 0, 1).placements()[1..], [ring(&world, &[0])]);
}
