//! Sizes of prefill steps.

use super::*;

fn rows(placement: &Prediction, devices: &Devices, positions: u32) -> PrefillRows {
    let positions = NonZeroU32::new(positions).expect("not 0");
    let found = prefill_rows(&model(12), devices, placement, positions);
    found.expect("all is measured")
}

#[test]
fn a_divided_prefill_overlaps_its_stages() {
    let devices = devices(&[(40, 1_000), (40, 1_000)], wifi());
    let options = options(Objective::Latency);
    let plan = plan(&model(12), &devices, &options).expect("there is room");
    assert_eq!(plan.best.stages.len(), 2);
    let found = rows(&plan.best, &devices, 400);
    let device = &devices.profiles[&peer(0)];
    let arithmetic = device.prefill.expect("measured").value;
    let attention = device.kv_read.value.time_for(12 * 400 * 200 * 1_024 / 2);
    let work = arithmetic.time_for(12 * 8 * MIB * 400) + attention;
    // Two equal stages at once, and something for unpacking, filling and emptying.
    assert!(
        found.time > work / 2 && found.time < work.mul_f64(0.65),
        "{found:?}, {work:?}"
    );
}

#[test]
fn one_device_reads_its_weights_as_seldom_as_its_arithmetic_allows() {
    let devices = devices(&[(200, 1_000)], wifi());
    let options = options(Objective::Latency);
    let plan = plan(&model(12), &devices, &options).expect("there is room");
    // Reading takes as long as the multiply-adds of ten rows: from there on all sizes are equal.
    assert_eq!(rows(&plan.best, &devices, 1).rows.get(), 1);
    assert_eq!(rows(&plan.best, &devices, 7).rows.get(), 7);
    assert!(rows(&plan.best, &devices, 5_000).rows.get() >= 10);
}

#[test]
fn a_slow_start_of_stages_asks_for_more_rows() {
    let mut devices = devices(&[(40, 1_000), (40, 1_000)], wifi());
    let options = options(Objective::Latency);
    let plan = plan(&model(12), &devices, &options).expect("there is room");
    let before = rows(&plan.best, &devices, 400);
    for profile in devices.profiles.values_mut() {
        profile.stage_overhead.value = Duration::from_millis(50);
    }
    let after = rows(&plan.best, &devices, 400);
    assert!(after.rows > before.rows, "{before:?} {after:?}");
    let unknown = Devices {
        links: Default::default(),
        ..devices
    };
    assert_eq!(
        prefill_rows(&model(12), &unknown, &plan.best, NonZeroU32::MIN),
        None
    );
}
