use std::fs;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::parallel::one;
use super::*;

const SCENARIO: &str = "name = \"home\"\nseed = 40\n[[device]]\nprofile = \"pixel-9\"\n\
                        [[device]]\nprofile = \"laptop\"\nname = \"desk\"\n";

fn axes(texts: &[&str]) -> Vec<Axis> {
    texts
        .iter()
        .map(|text| text.parse().expect("an axis"))
        .collect()
}

fn sweep(texts: &[&str], seeds: u64) -> Sweep {
    Sweep::new(SCENARIO, axes(texts), Some(&Seeds::Count(seeds))).expect("a sweep")
}

fn words(text: &str) -> String {
    let axis = text.parse::<Axis>();
    let sweep = axis.and_then(|axis| Sweep::new(SCENARIO, vec![axis], None));
    sweep.expect_err("refused").to_string()
}

/// All lines of a sweep, without running it for long: nobody asks anything.
fn lines(sweep: &Sweep) -> Vec<Line> {
    let all = (0..sweep.runs()).map(|index| one(sweep, index).expect("runs"));
    all.collect()
}

#[test]
fn all_combinations_with_all_seeds() {
    let sweep = sweep(
        &["network.delay=1ms,5 ms", "device.desk.memory=2GB,4GB,8GB"],
        5,
    );
    assert_eq!(sweep.runs(), 30);
    let run = sweep.run(5 * 4 + 3).expect("a run");
    assert_eq!(run.scenario.seed, 43);
    assert_eq!(run.scenario.networks[0].delay.to_string(), "5 ms");
    assert_eq!(run.scenario.devices[0].memory, None);
    let memory = run.scenario.devices[1].memory.expect("set");
    assert_eq!(memory.0, 4_000_000_000);
    assert_eq!(run.set["device.desk.memory"], "4GB");
    let prints: std::collections::BTreeSet<_> = (0..30)
        .map(|index| sweep.run(index).expect("a run").fingerprint)
        .collect();
    assert_eq!(prints.len(), 30);
}

#[test]
fn every_kind_of_field_can_be_varied() {
    let kinds = [
        "duration=5 s",
        "ambient=30",
        "model.name=llama-3.2-1b",
        "device.memory=1GB",
        "device.0.charging=true",
        "device.1.battery=55.5",
        "request.choice=alone,\"self:0..6,desk:6..30\"",
        "request.0.tokens=3",
        "faults.kill=1 min",
        "network.stall_rate=0.01",
    ];
    for kind in kinds {
        let sweep = sweep(&[kind], 1);
        assert_eq!(
            sweep.runs(),
            if kind.contains("choice") { 2 } else { 1 },
            "{kind}"
        );
    }
}

#[test]
fn what_is_wrong_is_said_in_words() {
    assert!(words("network.delay").contains("network.delay=1ms,5ms"));
    assert!(words("network.delay=1ms,,2ms").contains("varies nothing"));
    assert!(words("seed=1,2").contains("--seeds"));
    assert!(words("network.0.0.delay=1ms").contains("is no field"));
    assert!(words("device.tablet.memory=1GB").contains("0 to 1 (pixel-9, desk)"));
    assert!(words("fault.0.at=1 s").contains("no fault"));
    assert!(words("device.7.memory=1GB").contains("no device 7"));
    let unknown = words("network.latency=1ms");
    assert!(
        unknown.contains("network.latency=1ms") && unknown.contains("delay"),
        "{unknown}"
    );
    let senseless = words("network.stall_rate=2");
    assert!(senseless.contains("a probability"), "{senseless}");
    let twice = Sweep::new(SCENARIO, axes(&["ambient=1", "ambient=2"]), None);
    assert!(twice.expect_err("twice").to_string().contains("twice"));
    let many = ["ambient=1,2,3,4,5,6,7,8,9,10"; 1];
    let many = Sweep::new(SCENARIO, axes(&many), Some(&Seeds::Count(2_000_000)));
    assert!(matches!(many, Err(SweepError::TooManyRuns)));
    for text in ["4/4", "1", "-1/4", "0/0", "a/b"] {
        assert!(
            text.parse::<Shard>()
                .expect_err("no shard")
                .to_string()
                .contains("0/4")
        );
    }
    for text in ["0", "5..5", "9..2", "many"] {
        assert!(
            text.parse::<Seeds>()
                .expect_err("no seeds")
                .to_string()
                .contains("10..20")
        );
    }
}

#[test]
fn shards_are_a_partition() {
    for of in 1..7 {
        let shards: Vec<Shard> = (0..of)
            .map(|index| format!("{index}/{of}").parse().expect("a shard"))
            .collect();
        for run in 0..100 {
            let has = shards.iter().filter(|shard| shard.has(run)).count();
            assert_eq!(has, 1, "run {run} of {of} shards");
        }
    }
}

#[test]
fn merging_does_not_depend_on_the_order() {
    let all = lines(&sweep(&["device.charging=true,false"], 3));
    let merged = merge(all.clone()).expect("merges");
    assert_eq!((merged.lines.clone(), merged.repeated), (all.clone(), 0));
    assert_eq!(merged.missing, []);
    let mut shuffled: Vec<_> = all.iter().rev().chain(&all[1..4]).cloned().collect();
    shuffled.rotate_left(4);
    let again = merge(shuffled).expect("merges");
    assert_eq!((again.lines, again.repeated), (all.clone(), 3));

    let some = merge([all[4].clone(), all[1].clone()]).expect("merges");
    let missing = Missing {
        sweep: all[0].sweep.clone(),
        runs: 6,
        count: 4,
        first: vec![0, 2, 3, 5],
    };
    assert_eq!(some.missing, [missing]);

    let mut other = all[2].clone();
    other.summary.trace_hash = "another".to_owned();
    let both = merge([all[2].clone(), other]).expect_err("a contradiction");
    assert!(both.to_string().contains("different versions"), "{both}");
}

#[test]
fn a_file_is_taken_up_where_it_ends() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("lines.jsonl");
    let sweep = sweep(&["ambient=20,30"], 1);
    let all = lines(&sweep);
    let (mut file, there) = Lines::open(&path).expect("made");
    assert_eq!(there, []);
    file.add(&all[0]).expect("written");
    drop(file);
    // A run that was cut off left half a line.
    let mut raw = fs::OpenOptions::new()
        .append(true)
        .open(&path)
        .expect("there");
    raw.write_all(b"{\"sweep\":\"0").expect("written");
    drop(raw);
    assert_eq!(read_lines(&path).expect("read"), all[..1]);
    let (mut file, there) = Lines::open(&path).expect("there");
    assert_eq!(there, all[..1]);
    file.add(&all[1]).expect("written");
    assert_eq!(read_lines(&path).expect("read"), all);

    fs::write(&path, "{}\n").expect("written");
    let words = Lines::open(&path).expect_err("no result").to_string();
    assert!(
        words.contains("line 1") && words.contains("another file"),
        "{words}"
    );
}

#[test]
fn runs_side_by_side_give_what_they_give_alone() {
    let sweep = Arc::new(sweep(&["ambient=20,30"], 3));
    let runs = (0..sweep.runs()).collect();
    let stop = Arc::new(AtomicBool::new(false));
    let finished = start(Arc::clone(&sweep), runs, 2, stop).expect("starts");
    let finished: Result<Vec<_>, _> = finished.iter().collect();
    let merged = merge(finished.expect("all run")).expect("merges");
    assert_eq!(merged.lines, lines(&sweep));

    let stopped = Arc::new(AtomicBool::new(true));
    let none = start(Arc::clone(&sweep), vec![0, 1], 1, stopped).expect("starts");
    assert_eq!(none.iter().count(), 0);
}

#[test]
fn a_sweep_as_table_and_page() {
    let lines = lines(&sweep(&["ambient=20,30", "network.delay=1ms"], 2));
    let groups = groups(&lines);
    assert_eq!(groups.len(), 2);
    assert_eq!(groups[1].summaries.len(), 2);
    let text = table(&groups).to_text();
    assert!(text.starts_with("ambient  network.delay  runs"), "{text}");
    let csv = csv(&lines);
    assert!(
        csv.starts_with("ambient,network.delay,seed,trace_hash,tokens/s,"),
        "{csv}"
    );
    assert_eq!(csv.lines().count(), 5);
    let html = page("home", &groups).expect("drawn");
    assert!(html.contains("network.delay=1ms") || html.contains("<td>1ms</td>"));
}
