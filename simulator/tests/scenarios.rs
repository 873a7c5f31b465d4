//! The worked scenarios: they run, and their pages are whole.

use std::fs;
use std::path::{Path, PathBuf};

use potluck_sim::report::Summary;
use potluck_sim::sweep::Sweep;
use potluck_sim::{Options, run};

const NAMES: [&str; 3] = ["train", "clinic", "festival"];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios")
}

fn summary(name: &str, sets: &[&str]) -> Summary {
    let text = fs::read_to_string(folder().join(format!("{name}.toml"))).expect("a scenario");
    let axes = sets.iter().map(|set| set.parse().expect("a field"));
    let sweep = Sweep::new(&text, axes.collect(), None).expect("a scenario");
    let scenario = sweep.run(0).expect("a run").scenario;
    Summary::of(&run(&scenario, &Options::default()).expect("it begins"))
}

#[test]
fn what_is_asked_is_answered() {
    for name in NAMES {
        let summary = summary(name, &["duration=5 min"]);
        assert_eq!(summary.violations, [], "{name}");
        assert!(summary.complete > 0, "{name}");
    }
}

#[test]
fn on_the_train_the_plan_is_faster_than_what_others_would_do() {
    let speed = |choice: &str| {
        let choice = format!("request.choice={choice}");
        summary("train", &["duration=4 min", &choice]).tokens_per_s
    };
    let best = speed("best").expect("an answer");
    assert_eq!(speed("alone"), None);
    for other in ["memory-proportional", "ring-by-rtt"] {
        let other = speed(other).expect("an answer");
        assert!(best > other * 1.1, "{best} {other}");
    }
}

#[test]
fn pages_are_whole_in_themselves_and_small() {
    for name in NAMES {
        let page = folder().join("reports").join(format!("{name}.html"));
        let html = fs::read_to_string(page).expect("a page");
        assert!(html.len() < 300_000, "{name}: {} bytes", html.len());
        assert!(
            !html.contains("http:") && !html.contains("https:"),
            "{name}"
        );
        assert!(
            html.contains("What the plan gains over other placements"),
            "{name}"
        );
    }
}
