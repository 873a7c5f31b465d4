//! Plans against every placement there is.

use std::time::Instant;

use super::brute::{Least, least};
use super::random::Random;
use super::*;
use crate::profile::Energy;
use crate::profile::tests::measured;

const OBJECTIVES: [Objective; 3] = [Objective::Latency, Objective::Throughput, Objective::Energy];

/// Cost by the objective, and the step's time where that decides among equals.
fn wanted(least: &Least, objective: Objective) -> Option<(u128, u128)> {
    let wide = |(cost, then): (u64, u64)| (u128::from(cost), u128::from(then));
    match objective {
        Objective::Latency => least.latency.map(|latency| wide((latency, 0))),
        Objective::Throughput => least.pace.map(wide),
        Objective::Energy => least.energy.map(|energy| wide((energy, 0))),
    }
}

fn got(prediction: &Prediction, objective: Objective) -> (u128, u128) {
    let cost = prediction
        .cost(objective)
        .expect("known where it is searched");
    let then = match objective {
        Objective::Throughput => prediction.step_time.as_nanos(),
        Objective::Latency | Objective::Energy => 0,
    };
    (cost, then)
}

/// Layers in order, none twice, no device twice, budgets kept with their headroom.
fn check_sound(instance: &Random, prediction: &Prediction) {
    let mut next = 0;
    let mut seen = Vec::new();
    for placed in &prediction.stages {
        let Stage { peer, layers } = placed.stage;
        assert_eq!(layers.first(), next);
        assert!(!layers.is_empty() && !seen.contains(&peer));
        seen.push(peer);
        next = layers.end();
        let ends = if peer == instance.devices.requester {
            prediction.ends_memory_bytes
        } else {
            0
        };
        let headroom = u64::from(instance.options.headroom_percent);
        let budget = instance.devices.profiles[&peer].memory_budget_bytes.value;
        assert!((placed.memory_bytes + ends) * (100 + headroom) <= budget * 100);
    }
    assert_eq!(usize::try_from(next), Ok(instance.model.layers.len()));
    let parts = prediction.stages.iter().map(|stage| stage.time);
    let hops = prediction.hops.iter().map(|hop| hop.time);
    let all: Duration = parts.chain(hops).chain([prediction.ends_time]).sum();
    assert_eq!(all, prediction.step_time);
}

fn check(seed: u64, objective: Objective) -> u64 {
    let mut instance = Random::new(seed, 5, 12);
    instance.options.objective = objective;
    let (least, placements) = least(&instance);
    let Random {
        model,
        devices,
        options,
    } = &instance;
    let plan = match plan(model, devices, options) {
        Ok(plan) => plan,
        Err(error) => {
            assert_eq!(placements, 0, "seed {seed}, {objective:?}: {error}");
            return 0;
        }
    };
    let best = least
        .iter()
        .filter_map(|least| wanted(least, objective))
        .min();
    let said = Some(got(&plan.best, objective));
    assert_eq!(said, best, "seed {seed}, {objective:?}: {instance:?}");
    check_sound(&instance, &plan.best);
    for (number, least) in least.iter().enumerate() {
        let alternative = plan.by_devices.get(number).and_then(Option::as_ref);
        let said = alternative.map(|prediction| got(prediction, objective));
        assert_eq!(said, wanted(least, objective), "seed {seed}, {objective:?}");
        if let Some(prediction) = alternative {
            assert_eq!(prediction.stages.len(), number + 1);
            check_sound(&instance, prediction);
        }
    }
    let used = |peer| {
        plan.best
            .stages
            .iter()
            .any(|placed| placed.stage.peer == peer)
    };
    let unused: Vec<PeerId> = plan.unused.iter().map(|unused| unused.peer).collect();
    let expected = devices.profiles.keys().filter(|&&peer| !used(peer));
    assert!(expected.eq(unused.iter()), "seed {seed}: {unused:?}");
    placements
}

#[test]
fn ten_thousand_random_instances_have_no_gap_to_brute_force() {
    let started = Instant::now();
    let (mut placements, mut possible) = (0, 0);
    for seed in 0..10_000 {
        for objective in OBJECTIVES {
            let tried = check(seed, objective);
            placements += tried;
            possible += u64::from(tried > 0);
        }
    }
    eprintln!(
        "{possible} of 30000 searches had a placement, {placements} placements tried, {:?}",
        started.elapsed()
    );
    assert!(possible > 10_000, "the instances are too poor: {possible}");
}

#[test]
fn plans_do_not_depend_on_how_devices_came() {
    for seed in 0..200 {
        let instance = Random::new(seed, 12, 20);
        let again = Random::new(seed, 12, 20);
        let mut turned = again.devices;
        turned.profiles = turned.profiles.into_iter().rev().collect();
        turned.links = turned.links.into_iter().rev().collect();
        for objective in OBJECTIVES {
            let mut options = instance.options;
            options.objective = objective;
            let first = plan(&instance.model, &instance.devices, &options);
            assert_eq!(first, plan(&again.model, &turned, &options));
        }
    }
}

/// Prints what planning takes. Links so slow that hops decide leave the search least to skip.
#[test]
fn eight_devices_and_eighty_layers() {
    let offers: Vec<(u64, u64)> = (0..8).map(|n| (150 + 20 * n, 8_000 + 911 * n)).collect();
    for (links, way) in [
        ("near", wifi()),
        ("slow", link(Duration::from_secs(1), 1_000)),
    ] {
        let mut devices = devices(&offers, way);
        for profile in devices.profiles.values_mut() {
            profile.energy = Some(measured(Energy {
                picojoules_per_byte_read: 100,
                picojoules_per_byte_sent: 100_000,
                ..Energy::default()
            }));
        }
        for objective in OBJECTIVES {
            let options = options(objective);
            let started = Instant::now();
            let plan = plan(&model(80), &devices, &options).expect("there is room");
            let took = started.elapsed();
            let best = shown(&plan.best);
            eprintln!("8 devices, 80 layers, {links} links, {objective:?}: {took:?}: {best}");
            assert_eq!(plan.by_devices.iter().flatten().count(), 7);
        }
    }
}
