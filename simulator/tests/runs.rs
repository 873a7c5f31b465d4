//! Whole runs: tokens are those of one device, whatever goes wrong, and a seed gives the same again.

use potluck_sim::record::{Ending, Record};
use potluck_sim::{Options, Scenario};

fn run(text: &str) -> Record {
    let scenario = Scenario::from_toml(text).expect("a scenario");
    potluck_sim::run(&scenario, &Options::default()).expect("it begins")
}

fn assert_all_well(record: &Record) {
    assert!(record.violations.is_empty(), "{:#?}", record.violations);
    for session in &record.sessions {
        assert_eq!(session.ending, Ending::Complete, "{:?}", session.id);
        assert_eq!(session.tokens_at_us.len(), session.wanted_tokens as usize);
    }
}

/// A model that none of three phones holds.
const SPLIT: &str = r#"
    model = { name = "llama-3.2-3b" }
    device = [{ profile = "galaxy-s23", count = 3, memory = "1.4 GB" }]
    "#;

#[test]
fn three_phones_answer_together_as_predicted() {
    let record = run(SPLIT);
    assert_all_well(&record);
    let session = &record.sessions[0];
    let placement = &session.placements[0];
    assert_eq!((placement.stages.len(), session.placements.len()), (3, 1));
    // In steady decode a step takes what the planner said, of the same costs, and TCP's headers.
    let gaps: Vec<_> = session.token_gaps_us().collect();
    let mean = gaps.iter().sum::<u64>() as f64 / gaps.len() as f64;
    let off = mean / placement.predicted_step_us as f64 - 1.0;
    assert!(off.abs() < 0.03, "{mean} {}", placement.predicted_step_us);
    let hops = 3 * u64::from(session.prompt_rows + session.wanted_tokens) * 4 * 3_072;
    assert!(session.data_bytes > hops * 9 / 10, "{}", session.data_bytes);
}

#[test]
fn a_small_model_stays_alone() {
    let record = run("device = [{ profile = \"galaxy-s23\", count = 3 }]");
    assert_all_well(&record);
    assert_eq!(record.sessions[0].placements[0].stages.len(), 1);
    assert_eq!(record.sessions[0].data_bytes, 0);
}

#[test]
fn a_seed_gives_the_same_again_and_another_seed_another_run() {
    let text = format!("{SPLIT}\nnetwork = [{{ jitter = \"2 ms\", stall_rate = 0.001 }}]");
    let scenario = Scenario::from_toml(&text).expect("a scenario");
    let of = |seed| {
        let options = Options {
            seed: Some(seed),
            ..Options::default()
        };
        potluck_sim::run(&scenario, &options).expect("it begins")
    };
    let first = of(1);
    assert_eq!(first, of(1));
    assert_ne!(first.trace_hash, of(2).trace_hash);
}
