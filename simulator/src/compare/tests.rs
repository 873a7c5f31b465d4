use std::collections::BTreeMap;
use std::fs;

use super::*;
use crate::report::tests::record;
use crate::report::{Spread, Summary};

/// Runs of these energies a token, seed by seed from 1.
fn results(name: &str, joules: &[f64]) -> Results {
    let runs = joules.iter().zip(1..).map(|(joules, seed)| {
        let mut summary = Summary::of(&record());
        summary.seed = seed;
        summary.joules_per_token = Some(*joules);
        ((BTreeMap::new(), seed), summary)
    });
    Results {
        name: name.to_owned(),
        runs: runs.collect(),
    }
}

fn verdict(first: &[f64], second: &[f64], tolerance: f64) -> Verdict {
    let compared = compare(&results("a", first), &results("b", second), tolerance);
    let compared = compared.expect("pairs");
    let mut differences = compared.differences.iter();
    let energy = differences.find(|difference| difference.figure.name == "J a token");
    energy.expect("a figure").verdict
}

#[test]
fn pairs_show_what_runs_alone_would_hide() {
    let first = [1.0, 2.0, 3.0, 4.0];
    assert_eq!(verdict(&first, &first, 0.0), Verdict::Equal);
    assert_eq!(
        verdict(&first, &[1.1, 2.11, 3.1, 4.12], 0.0),
        Verdict::Worse
    );
    assert_eq!(
        verdict(&first, &[0.9, 1.91, 2.9, 3.9], 0.0),
        Verdict::Better
    );
    // Within what is tolerated, and within chance.
    assert_eq!(verdict(&first, &[1.1, 2.1, 3.1, 4.1], 0.05), Verdict::Alike);
    assert_eq!(verdict(&first, &[2.0, 1.0, 4.1, 3.0], 0.0), Verdict::Alike);
    // A single pair has no spread.
    assert_eq!(verdict(&[1.0], &[1.2], 0.1), Verdict::Worse);
}

#[test]
fn runs_without_a_partner_are_counted() {
    let compared = compare(&results("a", &[1.0, 2.0]), &results("b", &[1.0]), 0.0);
    let compared = compared.expect("a pair");
    assert_eq!((compared.pairs, compared.unpaired), (1, 1));
    assert!(!compared.is_worse());
    let mut other = results("b", &[1.0]);
    other.runs = other
        .runs
        .into_iter()
        .map(|((set, _), s)| ((set, 99), s))
        .collect();
    let refused = compare(&results("a", &[1.0]), &other, 0.0).expect_err("no pair");
    assert!(refused.to_string().contains("--seeds"), "{refused}");
}

#[test]
fn comparisons_as_tables() {
    let compared = compare(&results("a", &[1.0]), &results("b", &[1.25]), 0.0).expect("a pair");
    let text = details(&compared).to_text();
    let row = text
        .lines()
        .find(|line| line.starts_with("J a token"))
        .expect("a row");
    let cells: Vec<_> = row.split_whitespace().skip(3).collect();
    assert_eq!(cells, ["1.00", "1.25", "+0.250", "+25", "%", "–", "worse"]);
    let markdown = overview(&[compared.clone(), compared]).to_markdown();
    assert!(
        markdown.contains("| J a token | 1.00 | 1.25 (+25 %) | 1.25 (+25 %) |"),
        "{markdown}"
    );
}

#[test]
fn results_are_read_in_every_form_that_is_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("one.json");
    let summary = Summary::of(&record());
    let forms = [
        serde_json::to_string(&summary).expect("JSON"),
        serde_json::to_string_pretty(&record()).expect("JSON"),
    ];
    for form in forms {
        fs::write(&path, form).expect("written");
        let read = read(&path).expect("read");
        assert_eq!(read.name, "one");
        assert_eq!(read.runs.values().next(), Some(&summary));
    }
    for nothing in ["", "{}", "{\"summary\": 3}", "what"] {
        fs::write(&path, nothing).expect("written");
        let words = read(&path).expect_err("nothing").to_string();
        assert!(words.contains("run --json"), "{words}");
    }
}

#[test]
fn spread_of_a_sample() {
    assert_eq!(Spread::of([]), None);
    let three = Spread::of([1.0, 2.0, 3.0]).expect("some");
    assert_eq!((three.mean, three.deviation), (2.0, 1.0));
    let within = three.within().expect("more than one");
    assert!((within - 4.303 / 3_f64.sqrt()).abs() < 1e-12);
    assert_eq!(Spread::of([0.1; 3]).expect("some").deviation, 0.0);
    assert_eq!(Spread::of([1.0]).expect("one").within(), None);
}

#[test]
fn gains_in_words() {
    let compared = compare(&results("best", &[1.0]), &results("other", &[2.0]), 0.0);
    let compared = compared.expect("a pair");
    let mut nothing = results("alone", &[1.0]);
    for summary in nothing.runs.values_mut() {
        summary.tokens_per_s = None;
        summary.complete = 0;
    }
    let alone = compare(&results("best", &[1.0]), &nothing, 0.0).expect("a pair");
    let words = "Against other: 0.500 times the energy a token. Against alone: 50.0 % of the answers \
                 whole rather than 0 %.";
    assert_eq!(gains(&[compared, alone]), words);
}
