//! Pipelines that lost stages.

use super::*;
use crate::LayerRange;

fn stages(of: &[(u8, u32, u32)]) -> Vec<Stage> {
    let stage = |&(number, first, end): &(u8, u32, u32)| Stage {
        peer: peer(number),
        layers: LayerRange::new(first, end).expect("forwards"),
    };
    of.iter().map(stage).collect()
}

fn again(devices: &Devices, before: &[(u8, u32, u32)], rows: u32) -> String {
    let options = options(Objective::Latency);
    let computed = Computed {
        stages: &stages(before),
        rows: NonZeroU32::new(rows).expect("not 0"),
    };
    let placed = plan_again(&model(12), devices, &options, computed);
    shown(&placed.expect("there is room"))
}

/// Devices that are gone from four, of which each has room for so many layers.
fn left(layers: u64, gone: &[u8]) -> Devices {
    let offers = [(layers * 6 + 4, 1_000); 4];
    let mut devices = devices(&offers, wifi());
    for number in gone {
        devices.profiles.remove(&peer(*number));
    }
    devices
}

#[test]
fn what_was_computed_stays_where_much_was() {
    let before = [(0, 0, 4), (1, 4, 8), (2, 8, 12)];
    // The fewest hops are best, but nothing of 900 positions is computed again by those that stay.
    assert_eq!(again(&left(6, &[1]), &before, 900), "0:0..6 2:6..12");
    assert_eq!(again(&left(5, &[1]), &before, 900), "0:0..4 3:4..8 2:8..12");
    assert_eq!(again(&left(8, &[1, 3]), &before, 900), "0:0..6 2:6..12");
    assert_eq!(again(&left(12, &[2, 3]), &before, 900), "0:0..4 1:4..12");
}

#[test]
fn the_best_placement_is_taken_where_little_was_computed() {
    let before = [(0, 0, 4), (1, 4, 8), (2, 8, 12)];
    let devices = left(12, &[1]);
    let best = plan(&model(12), &devices, &options(Objective::Latency));
    let best = shown(&best.expect("there is room").best);
    assert_eq!(again(&devices, &before, 1), best);
    assert_eq!(again(&devices, &[], 900), best);
}

#[test]
fn two_lost_stages_are_replaced() {
    let before = [(1, 0, 6), (2, 6, 8), (3, 8, 12)];
    assert_eq!(again(&left(12, &[2, 3]), &before, 2_000), "1:0..8 0:8..12");
}

#[test]
fn nothing_is_placed_where_there_is_no_room() {
    let options = options(Objective::Latency);
    let stages = stages(&[(0, 0, 6), (1, 6, 12)]);
    let computed = Computed {
        stages: &stages,
        rows: NonZeroU32::MIN,
    };
    let devices = left(3, &[1, 2]);
    let error = plan_again(&model(12), &devices, &options, computed);
    assert_eq!(
        error.expect_err("no room"),
        plan(&model(12), &devices, &options).expect_err("no room")
    );
}
