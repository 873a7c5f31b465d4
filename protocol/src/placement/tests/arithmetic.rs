//! Devices whose arithmetic is not the requester's.

use super::*;
use crate::profile::Unwilling;
use crate::{Arithmetic, LayerRange};

/// Three devices of which the second, the fastest, computes in another way.
fn mixed() -> Devices {
    let mut devices = devices(&[(60, 1_000), (200, 9_000), (60, 1_000)], wifi());
    let other = devices.profiles.get_mut(&peer(1)).expect("there");
    other.arithmetic = Arithmetic::new("int8-3").expect("a name");
    devices
}

#[test]
fn layers_are_placed_on_devices_of_one_arithmetic() {
    let devices = mixed();
    let plan = plan(&model(12), &devices, &options(Objective::Latency)).expect("there is room");
    assert!(
        plan.best
            .stages
            .iter()
            .all(|placed| placed.stage.peer != peer(1))
    );
    let reason = UnusedReason::Unwilling(Unwilling::OtherArithmetic);
    assert!(plan.unused.contains(&Unused {
        peer: peer(1),
        reason
    }));

    // Of all, it is the only one of its kind.
    let alone = Devices {
        requester: peer(1),
        ..devices
    };
    let plan = super::plan(&model(12), &alone, &options(Objective::Latency)).expect("it has room");
    assert_eq!(plan.best.stages.len(), 1);
    assert_eq!(plan.best.stages[0].stage.peer, peer(1));
}

#[test]
fn who_names_a_device_of_another_arithmetic_is_told_so() {
    let lookup = |name: &str| match name {
        "self" => Some(peer(0)),
        "kitchen" => Some(peer(1)),
        _ => None,
    };
    let forced = Forced::parse("self:0..6,kitchen:6..12", 12, lookup).expect("a placement");
    let refused = forced.predict(&model(12), &mixed(), &options(Objective::Latency));
    let words = refused.expect_err("not computable").to_string();
    assert!(
        words.contains("kitchen") && words.contains("another way"),
        "{words}"
    );
}

#[test]
fn a_lost_stage_is_not_replaced_by_a_device_of_another_arithmetic() {
    let stage = |number, first, end| Stage {
        peer: peer(number),
        layers: LayerRange::new(first, end).expect("forwards"),
    };
    // The second computed as the others did until it was updated.
    let before = [stage(0, 0, 6), stage(1, 6, 12)];
    let computed = Computed {
        stages: &before,
        rows: NonZeroU32::new(900).expect("not 0"),
    };
    let again = plan_again(&model(12), &mixed(), &options(Objective::Latency), computed);
    let again = again.expect("there is room");
    assert!(
        again
            .stages
            .iter()
            .all(|placed| placed.stage.peer != peer(1))
    );
}
