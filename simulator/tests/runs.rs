//! Whole runs: tokens are those of one device, whatever goes wrong, and a seed gives the same again.

#[cfg(feature = "real")]
use potluck_sim::real::{self, RealModel};
use potluck_sim::record::{Ending, Record};
use potluck_sim::{Options, Scenario};

/// Seeds of the explorer that run with a real model in each test run.
#[cfg(feature = "real")]
const REAL_SEEDS: u64 = 40;

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
    device = [{ profile = "galaxy-s23", count = 3, memory = "900 MB" }]
    "#;

#[test]
fn three_phones_answer_together_as_predicted() {
    let record = run(SPLIT);
    assert_all_well(&record);
    let session = &record.sessions[0];
    let placement = &session.placements[0];
    assert_eq!((placement.stages.len(), session.placements.len()), (3, 1));
    // In steady decode a step takes what the planner said, of the same costs; it takes the way for a
    // little slower than it is, as TCP begins slowly with the padded pings that it is measured by.
    let gaps: Vec<_> = session.token_gaps_us().collect();
    let mean = gaps.iter().sum::<u64>() as f64 / gaps.len() as f64;
    let off = mean / placement.predicted_step_us as f64 - 1.0;
    assert!(
        (-0.1..0.01).contains(&off),
        "{mean} {}",
        placement.predicted_step_us
    );
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

/// Two phones with a stage each, the second of which something happens to in mid-sentence; a third
/// can take its place.
fn with_fault(fault: &str) -> Record {
    run(&format!(
        r#"
        duration = "3 min"
        checks = {{ all_complete = true }}
        model = {{ name = "llama-3.2-3b" }}
        device = [{{ profile = "galaxy-s23", name = "p", count = 4, memory = "900 MB" }}]
        [[request]]
        tokens = 300
        [[fault]]
        at = "12 s"
        {fault}
        "#
    ))
}

/// Who has a stage, but for the requester, in the order of the ring.
fn helpers(record: &Record) -> Vec<usize> {
    let stages = &record.sessions[0].placements[0].stages;
    let devices = stages.iter().map(|stage| stage.device);
    devices.filter(|device| *device != 0).collect()
}

#[test]
fn an_answer_survives_whatever_happens_to_a_helper() {
    let faults = [
        ("kind = \"kill\"", "ended"),
        ("kind = \"power-off\"", "nothing was heard"),
        ("kind = \"freeze\"", "nothing was heard"),
        ("kind = \"leave\"", "nothing was heard"),
        ("kind = \"background\"", "Stopping"),
        ("kind = \"call\"", "Owner"),
    ];
    for (fault, cause) in faults {
        // Whoever of the helpers has a stage.
        let plain = with_fault("kind = \"slow\"\nwho = \"p\"\ntimes = 1.0");
        let helper = helpers(&plain)[0];
        let who = &plain.devices[helper].name;
        let record = with_fault(&format!("{fault}\nwho = {who:?}\nlasts = \"60 s\""));
        assert_all_well(&record);
        let session = &record.sessions[0];
        assert!(session.placements.len() >= 2, "{fault}");
        let recovery = &session.recoveries[0];
        assert!(
            recovery.cause.contains(cause),
            "{fault}: {}",
            recovery.cause
        );
        assert_eq!(recovery.device, helper);
        let stall = recovery.stall_us.expect("it went on");
        // Prompt and answer so far go through the new stage again.
        assert!(stall < 12_000_000, "{fault}: {stall}");
    }
}

#[test]
fn a_cut_between_two_helpers_is_noticed_and_gone_around() {
    let plain = with_fault("kind = \"slow\"\nwho = \"p\"\ntimes = 1.0");
    let stages = &plain.sessions[0].placements[0].stages;
    let helpers: Vec<_> = stages
        .iter()
        .map(|s| s.device)
        .filter(|d| *d != 0)
        .collect();
    let name = |device: usize| &plain.devices[device].name;
    let (a, b) = (name(helpers[0]), name(helpers[1]));
    let record = with_fault(&format!("kind = \"cut\"\nwho = {a:?}\nother = {b:?}"));
    assert_all_well(&record);
    assert!(record.sessions[0].recoveries[0].cause.contains("lost"));
}

#[test]
fn a_phone_gets_hot_slow_and_cool_again() {
    let record = run(r#"
        duration = "20 min"
        series_every = "10 s"
        device = [{ profile = "galaxy-s23", battery = 50.0 }]
        [[request]]
        at = "1 s"
        think = "0 s"
        until = "10 min"
        tokens = 512
        "#);
    assert!(record.violations.is_empty(), "{:?}", record.violations);
    let series = &record.devices[0].series;
    let at = |seconds: u64| {
        let mut samples = series.iter();
        samples
            .find(|s| s.at_us >= seconds * 1_000_000)
            .expect("sampled")
    };
    // Published: full speed for 30 to 60 s, then 40 to 65 % of it.
    assert!(at(20).speed > 0.99 && at(120).speed < 0.9);
    assert!((0.4..=0.68).contains(&at(580).speed), "{}", at(580).speed);
    assert!(at(1_190).speed > 0.99);
    let charge = |seconds| at(seconds).battery.expect("a phone has one");
    let taken = (charge(0) - charge(1_190)) * 15.0 * 3_600.0;
    let joules = at(1_190).joules - at(0).joules;
    assert!((taken / joules - 1.0).abs() < 1e-6, "{taken} {joules}");
    let early = record.sessions[0].token_gaps_us().min();
    let late = record.sessions.iter().rfind(|s| s.ended_at_us.is_some());
    let late = late.and_then(|s| s.token_gaps_us().min());
    assert!(late > early.map(|gap| gap * 14 / 10), "{early:?} {late:?}");
}

#[test]
fn who_comes_and_goes_is_used_while_there() {
    let record = run(r#"
        duration = "30 min"
        model = { name = "llama-3.2-3b" }
        device = [{ profile = "galaxy-s23", count = 6, memory = "900 MB" }]
        mobility = { requesters_stay = true }
        [[request]]
        think = "5 s"
        tokens = 40
        "#);
    assert!(record.violations.is_empty(), "{:#?}", record.violations);
    assert!(record.faults.len() > 20);
    let complete = |s: &&potluck_sim::record::SessionRecord| s.ending == Ending::Complete;
    assert!(record.sessions.iter().filter(complete).count() > 20);
}

#[test]
fn two_circles_never_hear_each_other_and_share_the_air() {
    let alone = run(&format!("{SPLIT}\nnetwork = [{{ rate = \"20 Mbit/s\" }}]"));
    let record = run(r#"
        model = { name = "llama-3.2-3b" }
        network = [{ rate = "20 Mbit/s" }]
        circle = [{ name = "home", copies = 4, shared_networks = true }]
        device = [{ profile = "galaxy-s23", count = 3, memory = "900 MB" }]
        request = [{ who = "each", tokens = 20 }]
        "#);
    assert!(record.violations.is_empty(), "{:#?}", record.violations);
    assert_eq!((record.networks.len(), record.devices.len()), (1, 12));
    let first = |record: &Record| {
        let times = record.sessions.iter().map(|s| s.time_to_first_token_us());
        times.max().flatten()
    };
    assert!(first(&record) > first(&alone));
}

#[test]
fn what_a_direct_pair_sends_takes_as_long_as_its_rate_says() {
    // Much to send, and little to compute.
    let record = run(r#"
        model = { name = "wide", layers = 2, d_model = 3072, d_ff = 8, heads = 1, kv_heads = 1,
            head_dim = 8, vocabulary = 1000, quantisation = "Q4_0", embedding = "Q8_0" }
        network = [{ kind = "direct", rate = "20 Mbit/s" }]
        device = [{ profile = "galaxy-s23", name = "a" }, { profile = "galaxy-s23", name = "b" }]
        request = [{ at = "5 s", prompt = 400, tokens = 2, choice = "self:0..1,b:1..2" }]
        "#
    .replace(",\n            ", ", ")
    .as_str());
    assert_all_well(&record);
    // Hidden states of the prompt go over once, that of the last row comes back.
    let bits = 8 * 400 * 4 * 3_072;
    let first = record.sessions[0].time_to_first_token_us();
    let first = first.expect("it was answered");
    let micros = (bits / 20)..(bits / 20 * 12 / 10);
    assert!(micros.contains(&first), "{first} {micros:?}");
}

#[cfg(feature = "real")]
#[test]
fn hosts_that_compute_a_real_model_give_its_tokens() {
    let model = RealModel::generated(1).expect("it can be made");
    let explored = real::explore(0..REAL_SEEDS, &model).expect("they begin");
    let found: Vec<_> = explored
        .found
        .iter()
        .map(|f| (f.seed, &f.record.violations))
        .collect();
    assert!(found.is_empty(), "{found:#?}");
    assert!(
        explored.tally.tokens > 20 * REAL_SEEDS,
        "{:?}",
        explored.tally
    );
}

#[test]
fn a_run_that_is_stopped_tells_of_what_there_was() {
    let scenario = Scenario::from_toml(
        r#"
        duration = "1 h"
        checks = { all_complete = true }
        device = [{ profile = "galaxy-s23" }]
        request = [{ think = "1 s" }]
        "#,
    )
    .expect("a scenario");
    let mut looks = 0;
    let record = potluck_sim::run_watched(&scenario, &Options::default(), &mut |far| {
        looks += 1;
        assert!(far.now <= far.end);
        looks < 2
    });
    let record = record.expect("it begins");
    assert_eq!(looks, 2);
    assert!(record.violations.is_empty(), "{:#?}", record.violations);
    assert!(record.duration_us < 3_600_000_000 && record.sessions.len() > 2);
}
