//! Profiles that follow what is really computed, by a clock that tests make up.

use std::collections::BTreeMap;

use potluck_protocol::correction::TimedRows;
use potluck_protocol::placement::{
    ComputedRows, Devices, Holdings, LayerShape, ModelShape, PlacementOptions, Weights, claim, plan,
};
use potluck_protocol::profile::{Profile, Rate};
use potluck_protocol::{LayerRange, PeerId};

use super::*;

const LAYERS: u32 = 8;
/// Of the driver's clock: long after 1970.
const NOW_US: u64 = 24 * 3_600_000_000;

/// Layers of Q4_K and a head of Q6_K.
fn model() -> Arc<ModelShape> {
    let weights = |number, bytes| {
        vec![Weights {
            quantisation: Quantisation(number),
            bytes,
        }]
    };
    let layer = LayerShape {
        weights: weights(12, 10_000_000),
        multiply_adds: 18_000_000,
        kv_bytes_per_position: 2_048,
        window: None,
        most_kv_positions: None,
    };
    Arc::new(ModelShape {
        layers: vec![layer; LAYERS as usize],
        d_model: 1_024,
        embedding_bytes: 30_000_000,
        embedding_row_bytes: 900,
        head: weights(14, 30_000_000),
        head_multiply_adds: 36_000_000,
        head_is_embedding: true,
    })
}

/// Rates of a small laptop, so many times what they are.
fn measured(times: f64) -> Measurements {
    let rate = |gigabytes: f64| (gigabytes * times * 1e9) as u64;
    let decode = TensorType::ALL.iter();
    Measurements {
        decode_bytes_per_s: decode.map(|t| (t.name().to_owned(), rate(9.0))).collect(),
        kv_read_bytes_per_s: rate(6.0),
        prefill_multiply_adds_per_s: rate(80.0),
        stage_overhead_ns: 60_000,
        ..measurements()
    }
}

fn device(measured: Measurements, home: Option<&Home>) -> DeviceProfile {
    let settings = OwnerSettings {
        memory_bytes: Some(1 << 30),
        ..OwnerSettings::default()
    };
    let device = DeviceProfile::new(measured, Box::new(UnknownSystem), &settings);
    match home {
        Some(home) => device.kept_in(home),
        None => device,
    }
}

/// What steps take on the device as it is, in the order of an answer of so many tokens.
fn answer(real: &Profile, tokens: u32) -> Vec<TimedRows> {
    let rows = |layers, head, start, rows| {
        let computed = ComputedRows {
            layers: LayerRange::new(0, layers).expect("forwards"),
            head,
            start,
            rows,
        };
        let terms = claim(real, &model(), &computed).expect("it has all rates");
        TimedRows {
            model: model(),
            computed,
            took: Duration::from_nanos(terms.values().sum()),
            first: false,
        }
    };
    let decode =
        (64..64 + tokens).flat_map(|at| [rows(LAYERS, false, at, 1), rows(0, true, at, 1)]);
    [rows(LAYERS, false, 0, 64)]
        .into_iter()
        .chain(decode)
        .collect()
}

/// Tokens a second of this device alone.
fn predicted(profile: Profile) -> f64 {
    let me = PeerId::from_public_key([1; 32]);
    let devices = Devices {
        requester: me,
        profiles: BTreeMap::from([(me, profile)]),
        links: BTreeMap::new(),
        holdings: Holdings::default(),
    };
    let options = PlacementOptions {
        context: 128,
        positions: 64,
        ..PlacementOptions::default()
    };
    let plan = plan(&model(), &devices, &options).expect("it has room");
    plan.best.tokens_per_second()
}

fn of(device: &mut DeviceProfile) -> f64 {
    device.correct();
    predicted(device.profile(NOW_US))
}

#[test]
fn a_plan_is_right_by_the_third_answer_whatever_was_measured() {
    let real = device(measured(1.0), None).profile(NOW_US);
    let rate = predicted(real.clone());
    for times in [0.1, 0.25, 1.0, 4.0] {
        let mut device = device(measured(times), None);
        let before = of(&mut device) / rate;
        assert!(times == 1.0 || !(0.5..2.0).contains(&before), "{before}");
        for _ in 0..3 {
            answer(&real, 16)
                .into_iter()
                .for_each(|step| device.computed(step));
        }
        let after = of(&mut device) / rate;
        assert!((0.85..1.15).contains(&after), "{after} after {times}");
        assert!(device.caveats().corrected_by_steps > 0);
    }
}

#[test]
fn what_was_learnt_is_kept_and_taken_up_by_others_of_the_home() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let home = Home::at(folder.path().join("home"));
    remember(&home, &measured(0.25));
    let real = device(measured(1.0), None).profile(NOW_US);
    let right = predicted(real.clone());
    let known = || Measurements::remembered(&home, &UnknownSystem).expect("it was written");
    let is_right = |rate: f64| (0.85..1.15).contains(&(rate / right));
    let mut running = device(known(), Some(&home));
    running.look_after(NOW_US);
    assert!(!is_right(of(&mut running)));

    // Another process answers: a node that runs hears of it, and one that starts later.
    let with = known().with;
    assert!(Measurements::learn(&home, &with, answer(&real, 16)).is_some());
    running.look_after(NOW_US + 1);
    assert!(is_right(of(&mut running)));
    assert!(is_right(of(&mut device(known(), Some(&home)))));
    // What the node computes is kept after that.
    let steps = known().corrections.steps;
    let mut slow = real.clone();
    for rate in slow.decode.values_mut() {
        let slower = rate.value.units_per_second() / 2;
        rate.value = Rate::per_second(slower).expect("not none");
    }
    answer(&slow, 100)
        .into_iter()
        .for_each(|step| running.computed(step));
    running.keep(NOW_US + 2);
    assert!(known().corrections.steps > steps + 150);
    let slower = of(&mut device(known(), None)) / right;
    assert!((0.4..0.6).contains(&slower), "{slower}");
    // Who measured with other threads learns nothing of it, and measuring anew forgets it.
    let others = MeasuredWith { threads: 7, ..with };
    assert_eq!(Measurements::learn(&home, &others, answer(&real, 16)), None);
    remember(&home, &measured(0.25));
    running.look_after(NOW_US + 3);
    assert_eq!(running.caveats().corrected_by_steps, 0);
}

#[test]
fn corrections_that_make_no_sense_correct_nothing() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let home = Home::at(folder.path().join("home"));
    let real = device(measured(4.0), None).profile(NOW_US);
    remember(&home, &measured(1.0));
    let with = measured(1.0).with;
    let learnt = Measurements::learn(&home, &with, answer(&real, 16)).expect("known");
    let mut value = serde_json::to_value(&learnt).expect("it can be written");
    assert!(value["corrections"]["own"]["Q4_K"]["millionths"].is_u64());
    value["corrections"]["own"]["Q4_K"]["millionths"] = 0.into();
    fs::write(home.root().join("measurements.json"), value.to_string()).expect("written");
    let known = Measurements::remembered(&home, &UnknownSystem).expect("the rates are whole");
    let as_measured = predicted(device(measured(1.0), None).profile(NOW_US));
    assert_eq!(of(&mut device(known, None)), as_measured);
}

#[test]
fn a_laptop_is_measured_for_battery_and_mains() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let home = Home::at(folder.path().join("home"));
    let plugged = Arc::new(AtomicBool::new(true));
    let laptop = || TestSystem {
        charging: Some(Arc::clone(&plugged)),
        ..TestSystem::default()
    };
    remember(&home, &measured(1.0));
    let cancel = Cancel::new();
    cancel.cancel();
    // Cancelled: whatever has to be measured is none.
    let get = || {
        let got = Measurements::get(&home, &compute(), &laptop(), &cancel, &mut |_, _| ());
        got.expect("nothing fails")
    };
    assert_eq!(get(), Some(measured(1.0)).map(|m| same_time(m, &home)));
    plugged.store(false, Ordering::SeqCst);
    assert_eq!(get(), None);
    // Who only pairs takes what there is.
    assert!(Measurements::remembered(&home, &laptop()).is_some());

    let mut on_battery = measured(0.5);
    on_battery.with.on_battery = true;
    let text = serde_json::to_string(&on_battery).expect("it can be written");
    fs::write(home.root().join("measurements-on-battery.json"), text).expect("written");
    assert!(get().is_some_and(|got| got.with.on_battery));
    plugged.store(true, Ordering::SeqCst);
    assert!(get().is_some_and(|got| !got.with.on_battery));

    // A node that runs changes with it.
    let settings = OwnerSettings {
        memory_bytes: Some(1 << 30),
        ..OwnerSettings::default()
    };
    let known = get().expect("measured");
    let device = DeviceProfile::new(known, Box::new(laptop()), &settings);
    let mut device = device.kept_in(&home);
    device.look_after(NOW_US);
    let on_mains = of(&mut device);
    plugged.store(false, Ordering::SeqCst);
    device.look_after(NOW_US + 1);
    let share = of(&mut device) / on_mains;
    assert!((0.45..0.55).contains(&share), "{share}");
}

/// Measurements as the home has them, which were made in the same second.
fn same_time(measurements: Measurements, home: &Home) -> Measurements {
    let known = Measurements::remembered(home, &UnknownSystem).expect("known");
    Measurements {
        measured_at_unix_ms: known.measured_at_unix_ms,
        ..measurements
    }
}
