//! Weights that are elsewhere: what is told of them, and when they decide.

use super::random::{Numbers, Random};
use super::*;
use crate::LayerRange;
use crate::profile::tests::rate;

const LAYER: u64 = 4 * MIB;

/// These layers, as a device says that it has them.
fn layers(of: &[(u32, u32)]) -> Vec<LayerRange> {
    let ranges = of.iter();
    ranges
        .map(|&(first, end)| LayerRange::new(first, end).expect("forwards"))
        .collect()
}

/// A requester with all weights and room for the ends, and helpers of these speeds in MiB/s; each has
/// these layers.
fn helpers(of: &[(u64, &[(u32, u32)])]) -> Devices {
    let offers = of.iter().map(|&(speed, _)| (200, speed));
    let offers: Vec<_> = [(5, 1_000)].into_iter().chain(offers).collect();
    let mut devices = devices(&offers, wifi());
    let all: &[(u32, u32)] = &[(0, 12)];
    let has = [all].into_iter().chain(of.iter().map(|&(_, has)| has));
    for (number, has) in (0..).zip(has) {
        devices.holdings.insert(peer(number), layers(has));
    }
    devices
}

fn planned(devices: &Devices) -> Plan {
    plan(&model(12), devices, &options(Objective::Latency)).expect("there is room")
}

#[test]
fn of_equals_the_one_that_has_the_weights_computes() {
    let mut devices = helpers(&[(1_000, &[]), (1_000, &[(0, 12)])]);
    assert_eq!(shown(&planned(&devices).best), "2:0..12");
    assert_eq!(reason(&planned(&devices), 1), Some(UnusedReason::NoGain));
    devices.holdings = Holdings::default();
    assert_eq!(shown(&planned(&devices).best), "1:0..12");
    // Nothing is weighed as long as the requester's own store has not said.
    devices.holdings.insert(peer(2), layers(&[(0, 12)]));
    assert_eq!(shown(&planned(&devices).best), "1:0..12");
    // Another that has not said what it has counts as having nothing.
    devices.holdings.insert(peer(0), layers(&[(0, 12)]));
    assert_eq!(shown(&planned(&devices).best), "2:0..12");
}

#[test]
fn up_to_a_hundredth_is_given_for_weights_that_are_here() {
    let plan = |slower| planned(&helpers(&[(1_000, &[]), (slower, &[(0, 12)])]));
    let nearly = plan(993);
    assert_eq!(shown(&nearly.best), "2:0..12");
    let why = reason(&nearly, 1).expect("unused");
    assert_eq!(why, UnusedReason::MoreToFetch);
    assert_eq!(
        why.to_string(),
        "it would save less than 1 %, and more weights would have to be fetched"
    );
    // The best over one device is what it is.
    let one = nearly.by_devices[0].as_ref().expect("there is room");
    assert_eq!(shown(one), "1:0..12");
    assert_eq!(shown(&plan(985).best), "1:0..12");
    // Who saves half of the bytes gets half as much.
    let half = |slower| planned(&helpers(&[(1_000, &[]), (slower, &[(0, 6)])]));
    assert_eq!(shown(&half(997).best), "2:0..12");
    assert_eq!(shown(&half(993).best), "1:0..12");
}

#[test]
fn devices_go_in_the_order_in_which_they_have_the_layers() {
    // Each has room for half; which goes first makes no difference but for what they have.
    let mut devices = helpers(&[(1_000, &[(6, 12)]), (1_000, &[(0, 6)])]);
    for number in 1..3 {
        let profile = devices.profiles.get_mut(&peer(number)).expect("a device");
        profile.memory_budget_bytes.value = 36 * MIB;
    }
    let plan = planned(&devices);
    assert_eq!(shown(&plan.best), "2:0..6 1:6..12");
    let nothing = Some(Fetch {
        bytes: 0,
        time: Some(Duration::ZERO),
    });
    assert!(
        plan.best
            .stages
            .iter()
            .all(|placed| placed.fetch == nothing)
    );
}

#[test]
fn a_fetch_takes_what_the_quickest_way_from_a_holder_takes() {
    let mut devices = helpers(&[(4_000, &[(0, 2)]), (500, &[(2, 6)])]);
    let fetch = |devices: &Devices| {
        let best = planned(devices).best;
        assert_eq!(shown(&best), "1:0..12");
        best.stages[0].fetch
    };
    let bytes = 10 * LAYER;
    let wifi = rate(12_500_000);
    let time = |layers: u32, rate: crate::profile::Rate| layers * rate.time_for(LAYER);
    assert_eq!(
        fetch(&devices),
        Some(Fetch {
            bytes,
            time: Some(time(10, wifi)),
        })
    );
    // Another is nearer, and has four of them.
    let near = rate(50_000_000);
    let way = devices.links.get_mut(&(peer(2), peer(1))).expect("a way");
    way.bandwidth.value = near;
    let some = Some(time(6, wifi) + time(4, near));
    assert_eq!(fetch(&devices), Some(Fetch { bytes, time: some }));
    // Of the others nobody has said that they have them, or no way from who has is known.
    devices.holdings.remove(peer(0));
    assert_eq!(fetch(&devices), Some(Fetch { bytes, time: None }));
    devices.holdings.remove(peer(1));
    assert_eq!(fetch(&devices), None);
}

#[test]
fn nothing_costs_more_than_a_hundredth_and_nothing_more_is_fetched() {
    let (mut changed, mut none_left) = (0, 0);
    for seed in 0..3_000 {
        let Random {
            model,
            mut devices,
            mut options,
        } = Random::new(seed, 4, 8);
        let mut numbers = Numbers(seed);
        options.objective = match seed % 3 {
            0 => Objective::Latency,
            1 => Objective::Throughput,
            _ => Objective::Energy,
        };
        let Ok(before) = plan(&model, &devices, &options) else {
            continue;
        };
        let most = model.layers.len() as u64;
        let peers: Vec<_> = devices.profiles.keys().copied().collect();
        for peer in peers {
            if numbers.once_in(5) {
                continue;
            }
            let ends = [numbers.within(0, most), numbers.within(0, most)].map(|end| end as u32);
            let range = LayerRange::new(ends[0].min(ends[1]), ends[0].max(ends[1]));
            devices.holdings.insert(peer, range.into_iter().collect());
        }
        let after = plan(&model, &devices, &options).expect("as before");
        let lacked = |prediction: &Prediction| -> u64 {
            let stages = prediction.stages.iter().map(|placed| placed.stage);
            let holdings = &devices.holdings;
            stages
                .flat_map(|stage| holdings.lacked_bytes(&model, stage.peer, stage.layers))
                .sum()
        };
        let costs = [&before, &after].map(|plan| plan.best.cost(options.objective));
        let [Some(best), Some(taken)] = costs else {
            panic!("a plan has a cost");
        };
        assert!(taken >= best && taken - best <= best / 100, "seed {seed}");
        let bytes = [&before, &after].map(|plan| lacked(&plan.best));
        let same = shown(&before.best) == shown(&after.best);
        assert!(same || bytes[1] < bytes[0], "seed {seed}");
        if options.objective == Objective::Throughput {
            let [best, taken] = [&before, &after].map(|plan| plan.best.step_time);
            assert!(taken == best || !same, "seed {seed}");
            assert!(taken <= best + best / 100, "seed {seed}");
        }
        changed += usize::from(!same);
        none_left += usize::from(!same && bytes[1] == 0);
    }
    assert!(changed > 50 && none_left > 5, "{changed} {none_left}");
}
