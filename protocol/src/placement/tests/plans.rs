//! Plans for devices as people have them.

use super::*;
use crate::profile::tests::measured;
use crate::profile::{Energy, OwnerLimits, Power, Thermal, Unwilling};

fn latency() -> PlacementOptions {
    options(Objective::Latency)
}

#[test]
fn one_device_with_room_stays_alone_at_the_speed_of_its_memory() {
    let devices = devices(&[(200, 1_000)], wifi());
    let plan = plan(&model(12), &devices, &latency()).expect("there is room");
    assert_eq!(shown(&plan.best), "0:0..12");
    assert!(plan.best.is_alone(peer(0)) && plan.best.hops.is_empty());
    // 12 · 4 MiB of layers and 2 MiB of head at 1,000 MiB/s, each rounded up to a nanosecond; the
    // embedding row of 256 bytes takes 245.
    let expected = Duration::from_nanos(50_000_000 + 245);
    assert_eq!(plan.best.step_time, expected);
    assert!((plan.best.tokens_per_second() - 20.0).abs() < 0.01);
    assert_eq!(plan.alone, Ok(plan.best.clone()));
    assert_eq!(plan.by_devices, [Some(plan.best)]);
    assert_eq!(plan.unused, []);
}

#[test]
fn a_slow_friend_is_left_out_and_told_by_how_much() {
    let devices = devices(&[(200, 1_000), (200, 1_000)], wifi());
    let plan = plan(&model(12), &devices, &latency()).expect("there is room");
    assert!(plan.best.is_alone(peer(0)));
    let two = plan.by_devices[1].as_ref().expect("there is room");
    assert!(two.step_time > plan.best.step_time);
    let one = plan.by_devices[0].as_ref().expect("there is room");
    assert_eq!(one, &plan.best);
    // All layers on the friend, or some: the same work and two hops of 2 ms and 166 µs each.
    let reason = reason(&plan, 1).expect("unused");
    assert_eq!(reason, UnusedReason::Slower { permille: 87 });
    assert_eq!(reason.to_string(), "it would make a step 8.7 % slower");
}

#[test]
fn a_quick_friend_takes_all_that_it_has_room_for() {
    let devices = devices(&[(200, 1_000), (34, 10_000)], wifi());
    let plan = plan(&model(12), &devices, &latency()).expect("there is room");
    // 34 MiB hold 28.3 MiB and their headroom: 5 layers of 4 MiB and 1 MiB of KV cache each.
    let friend = &plan
        .best
        .stages
        .iter()
        .find(|placed| placed.stage.peer == peer(1));
    let friend = friend.expect("it is quick");
    assert_eq!(
        (friend.stage.layers.len(), friend.memory_bytes),
        (5, 25 * MIB)
    );
    assert_eq!(plan.best.hops.len(), 2);
    assert!(plan.alone.expect("there is room").step_time > plan.best.step_time);
}

#[test]
fn a_model_too_large_for_one_is_divided_and_alone_is_refused_in_words() {
    let devices = devices(&[(40, 1_000), (40, 1_000), (40, 1_000)], wifi());
    let plan = plan(&model(12), &devices, &latency()).expect("there is room");
    assert_eq!(plan.best.stages.len(), 2);
    let alone = plan
        .alone
        .expect_err("60 MiB and headroom do not fit into 40");
    assert_eq!(
        alone.to_string(),
        "this device offers 40 MiB, the model needs 75 MiB: allow it more memory or choose a \
         smaller model or a shorter context"
    );
    assert_eq!(plan.by_devices[0], None);
    assert!(plan.by_devices[2].is_some());
}

#[test]
fn a_requester_goes_between_friends_whose_own_link_is_unknown() {
    let mut devices = devices(&[(30, 1_000), (30, 1_000), (30, 1_000)], wifi());
    devices.links.remove(&(peer(2), peer(1)));
    let plan = plan(&model(12), &devices, &latency()).expect("there is room");
    assert_eq!(plan.best.stages[1].stage.peer, peer(0));
    assert_eq!(plan.best.hops.len(), 4);
}

#[test]
fn throughput_balances_what_latency_leaves_with_one() {
    let devices = devices(&[(200, 1_000), (200, 1_000), (200, 1_000)], wifi());
    let model = model(12);
    let by_latency = plan(&model, &devices, &latency()).expect("there is room");
    let together = options(Objective::Throughput);
    let by_pace = plan(&model, &devices, &together).expect("there is room");
    assert!(by_latency.best.is_alone(peer(0)));
    let lens: Vec<u32> = by_pace
        .best
        .stages
        .iter()
        .map(|s| s.stage.layers.len())
        .collect();
    assert_eq!(lens, [4, 4, 4]);
    assert!(by_pace.best.pace < by_latency.best.pace);
    let rate = by_pace.best.tokens_per_second_together();
    assert!(rate > 2.5 * by_latency.best.tokens_per_second_together());
}

#[test]
fn energy_goes_to_the_thrifty_and_needs_to_be_known() {
    let mut devices = devices(&[(200, 1_000), (200, 100), (200, 1_000)], wifi());
    let energy = |picojoules_per_byte_read| {
        Some(measured(Energy {
            picojoules_per_byte_read,
            ..Energy::default()
        }))
    };
    let set = |devices: &mut Devices, number, value| {
        let profile = devices.profiles.get_mut(&peer(number));
        profile.expect("a device of three").energy = value;
    };
    let frugal = options(Objective::Energy);
    let error = plan(&model(12), &devices, &frugal).expect_err("nothing is known");
    assert_eq!(error, PlacementError::EnergyUnknown);

    set(&mut devices, 0, energy(100));
    set(&mut devices, 1, energy(50));
    let plan = plan(&model(12), &devices, &frugal).expect("there is room");
    assert_eq!(shown(&plan.best), "1:0..12");
    let spent = 12 * 4 * MIB * 50 + (2 * MIB + 256) * 100;
    assert_eq!(plan.best.picojoules, Some(spent));
    assert_eq!(reason(&plan, 2), Some(UnusedReason::EnergyUnknown));
    assert!(matches!(
        reason(&plan, 0),
        Some(UnusedReason::MoreEnergy { .. })
    ));
}

#[test]
fn every_unused_device_has_its_reason() {
    let mut devices = devices(&[(200, 1_000); 7], wifi());
    let mut set = |number, change: &dyn Fn(&mut crate::profile::Profile)| {
        change(
            devices
                .profiles
                .get_mut(&peer(number))
                .expect("one of seven"),
        );
    };
    set(1, &|profile| {
        profile.power = measured(Power::Battery {
            percent: 80,
            charging: false,
        });
        profile.limits = OwnerLimits {
            only_when_charging: true,
            min_battery_percent: 0,
        };
    });
    set(2, &|profile| profile.thermal = measured(Thermal::Critical));
    set(3, &|profile| {
        profile.memory_budget_bytes = measured(5 * MIB)
    });
    set(4, &|profile| profile.decode.clear());
    devices
        .links
        .retain(|(from, to), _| *from != peer(5) && *to != peer(5));
    let plan = plan(&model(12), &devices, &latency()).expect("there is room");
    let reasons: Vec<UnusedReason> = (1..7).filter_map(|n| reason(&plan, n)).collect();
    assert_eq!(
        reasons,
        [
            UnusedReason::Unwilling(Unwilling::NotCharging),
            UnusedReason::Unwilling(Unwilling::TooHot),
            UnusedReason::NoRoom {
                offers_bytes: 5 * MIB,
                needs_bytes: 6 * MIB
            },
            UnusedReason::Unmeasured,
            UnusedReason::LinkUnknown,
            UnusedReason::Slower { permille: 87 },
        ]
    );
    let words = reasons[2].to_string();
    assert_eq!(
        words,
        "no room for one layer: it has 5 MiB for layers, one needs 6 MiB"
    );
}

#[test]
fn a_requester_without_room_and_devices_without_gain_are_told_so() {
    let mut devices = devices(&[(4, 1_000), (75, 1_000), (75, 1_000), (75, 1_000)], wifi());
    // Nobody knows a way to 3 but 2, and 2 is left with one link more.
    devices
        .links
        .retain(|(from, to), _| *from != peer(3) || *to == peer(2));
    let plan = plan(&model(12), &devices, &latency()).expect("there is room");
    assert_eq!(shown(&plan.best), "1:0..12");
    let words = reason(&plan, 0).expect("without layers").to_string();
    assert_eq!(
        words,
        "no room for one layer: it has 1 MiB for layers, one needs 6 MiB"
    );
    // As good as 1, and later.
    assert_eq!(reason(&plan, 2), Some(UnusedReason::NoGain));
    assert_eq!(reason(&plan, 3), Some(UnusedReason::NoPlacement));
}

#[test]
fn more_than_eight_are_filtered_and_the_requester_stays() {
    // Helpers 1 to 11, the later the quicker; the requester is the slowest of all.
    let mut offers = vec![(200, 100)];
    offers.extend((1..12).map(|number| (30, 1_000 + 100 * number)));
    let mut devices = devices(&offers, wifi());
    let plan = plan(&model(12), &devices, &latency()).expect("there is room");
    for number in 1..5 {
        assert_eq!(reason(&plan, number), Some(UnusedReason::FilteredOut));
    }
    assert!(plan.alone.is_ok() && plan.by_devices.len() == 8);

    // Seven quick ones without enough room together do not keep the large ones out.
    devices
        .profiles
        .get_mut(&peer(0))
        .expect("the requester")
        .memory_budget_bytes
        .value = 4 * MIB;
    for number in 5..12 {
        let profile = devices.profiles.get_mut(&peer(number)).expect("a helper");
        profile.memory_budget_bytes.value = 6 * MIB;
    }
    for number in 1..5 {
        let profile = devices.profiles.get_mut(&peer(number)).expect("a helper");
        profile.decode.values_mut().for_each(|rate| {
            rate.value = crate::profile::tests::rate(10 * MIB);
        });
    }
    let plan = super::plan(&model(12), &devices, &latency()).expect("the large ones have room");
    assert!(
        plan.best
            .stages
            .iter()
            .any(|placed| placed.stage.layers.len() > 1)
    );
}

#[test]
fn who_is_away_is_named_instead_of_asking_for_another_device() {
    let one = devices(&[(40, 1_000)], wifi());
    let error = plan(&model(12), &one, &latency()).expect_err("too large");
    let named = |names: &[&str]| {
        let away: Vec<_> = names.iter().map(ToString::to_string).collect();
        error.where_away(&away)
    };
    assert_eq!(named(&[]), error.to_string());
    assert_eq!(
        named(&["kitchen"]),
        "this device offers 40 MiB, the model needs 75 MiB; kitchen is away: run `potluck up` on it \
         in this network, or choose a smaller model or a shorter context"
    );
    let two = named(&["kitchen", "study"]);
    assert!(
        two.contains("; kitchen and study are away: run `potluck up` on one in"),
        "{two}"
    );
    let four = named(&["a", "b", "c", "d"]);
    assert!(four.contains("; 4 paired devices are away: "), "{four}");
    // What more devices do not mend is said as ever.
    let none = devices(&[(2, 1_000)], wifi());
    let error = plan(&model(12), &none, &latency()).expect_err("its ends do not fit");
    assert_eq!(error.where_away(&["kitchen".to_owned()]), error.to_string());
}

#[test]
fn what_cannot_be_is_refused_in_words() {
    let refused = |model: &ModelShape, devices: &Devices| {
        plan(model, devices, &latency())
            .expect_err("impossible")
            .to_string()
    };
    let one = devices(&[(40, 1_000)], wifi());
    assert_eq!(
        refused(&model(12), &one),
        "this device offers 40 MiB, the model needs 75 MiB: pair another device or choose a \
         smaller model or a shorter context"
    );
    let mut two = devices(&[(40, 1_000), (20, 1_000), (5, 1_000)], wifi());
    assert_eq!(
        refused(&model(12), &two),
        "2 devices offer 60 MiB, the model needs 75 MiB: pair another device or choose a smaller \
         model or a shorter context (one more device cannot help)"
    );
    two = devices(&[(50, 1_000), (50, 1_000)], wifi());
    two.links.clear();
    assert!(refused(&model(12), &two).contains("the links between them are not measured yet"));
    let tight = devices(&[(38, 1_000), (38, 1_000)], wifi());
    assert!(refused(&model(12), &tight).contains("whole layers do not divide"));
    let tiny = devices(&[(2, 1_000), (99, 1_000)], wifi());
    assert!(refused(&model(12), &tiny).contains("embedding and output layer alone need 3 MiB"));

    assert!(refused(&model(0), &one).contains("0 layers"));
    assert!(refused(&model(MOST_LAYERS + 1), &one).contains("257 layers"));
    let mut nobody = one.clone();
    nobody.profiles.clear();
    assert!(refused(&model(1), &nobody).contains("bench --profile"));
    let mut headless = one.clone();
    headless
        .profiles
        .values_mut()
        .for_each(|profile| profile.decode.clear());
    assert!(refused(&model(1), &headless).contains("output layer"));
    let mut strange = model(3);
    strange.layers[1].weights[0].quantisation = Quantisation(99);
    assert!(refused(&strange, &one).contains("the format of layer 1"));
}

#[test]
fn what_peers_claim_overflows_nothing() {
    let mut devices = devices(&[(200, 1_000), (200, 1), (200, 1)], wifi());
    for number in 1..3 {
        let profile = devices.profiles.get_mut(&peer(number)).expect("a helper");
        profile.memory_budget_bytes.value = u64::MAX;
        profile.stage_overhead.value = Duration::MAX;
        profile.decode.values_mut().for_each(|rate| {
            rate.value = crate::profile::tests::rate(1);
        });
        profile.energy = Some(measured(Energy {
            picojoules_per_byte_read: u64::MAX,
            picojoules_per_multiply_add: u64::MAX,
            picojoules_per_byte_sent: u64::MAX,
            picojoules_per_byte_received: u64::MAX,
        }));
    }
    let requester = devices.profiles.get_mut(&peer(0)).expect("the requester");
    requester.energy = Some(measured(Energy::default()));
    for way in devices.links.values_mut() {
        way.round_trip.value = Duration::MAX;
        way.overhead.value = Duration::MAX;
    }
    let mut model = model(MOST_LAYERS);
    for layer in &mut model.layers {
        layer.weights[0].bytes = u64::MAX / 1_000;
        layer.multiply_adds = u64::MAX;
        layer.kv_bytes_per_position = u64::MAX;
    }
    model.d_model = u32::MAX;
    for objective in [Objective::Latency, Objective::Throughput, Objective::Energy] {
        let mut extreme = options(objective);
        extreme.rows_per_step = NonZeroU32::MAX;
        extreme.positions = u32::MAX;
        extreme.context = u32::MAX;
        extreme.headroom_percent = u32::MAX;
        let error = plan(&model, &devices, &extreme).expect_err("nothing is that large");
        assert!(
            matches!(error, PlacementError::EndsDoNotFit { .. }),
            "{error}"
        );
        extreme.headroom_percent = 0;
        extreme.context = 0;
        let placed = plan(&model, &devices, &extreme);
        let plan = placed.expect("they claim to have room");
        assert!(plan.best.step_time > Duration::from_secs(3_600));
    }
}
