//! Devices that compute an actual model: whatever fails, the tokens are those of one device.
#![cfg(feature = "real")]

use potluck_sim::real::{RealModel, explore};

/// Seeds of each test run; `potluck-sim explore --real` runs more.
const SEEDS: u64 = 100;

#[test]
fn tokens_of_an_actual_model_survive_random_faults() {
    let model = RealModel::generated(1).expect("a small model");
    let explored = explore(0..SEEDS, &model).expect("they begin");
    let seeds: Vec<_> = explored.found.iter().map(|found| found.seed).collect();
    assert!(seeds.is_empty(), "these violate something: {seeds:?}");
}
