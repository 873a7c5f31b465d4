//! Devices that lack weights fetch those of their stages from others.

mod answered;

use answered::run;
use potluck_sim::record::{Ending, Record};

/// Of the model below, bytes of a layer: two norms, and matrices of 4.5 bits a weight.
const LAYER: u64 = 8 * 960 + 18 * (2 * 960 * (15 + 5) * 64 + 3 * 960 * 2_560) / 32;
/// Of what every device needs.
const COMMON: u64 = 34 * 49_152;

/// The first of some phones has a model's file; the others have none of it.
fn scenario(helpers: u32, choice: &str, more: &str) -> String {
    format!(
        r#"
        duration = "10 min"
        checks = {{ all_complete = true }}
        model = {{ name = "smollm2:360m", quantisation = "Q4_0" }}
        network = [{{ kind = "direct", rate = "20 Mbit/s" }}]
        [[device]]
        profile = "galaxy-s23"
        name = "asker"
        [[device]]
        profile = "galaxy-s23"
        name = "helper"
        count = {helpers}
        weights = "none"
        [[request]]
        who = "asker"
        at = "5 s"
        choice = "{choice}"
        tokens = 20
        {more}
        "#
    )
}

fn assert_complete(record: &Record) {
    for session in &record.sessions {
        assert_eq!(
            session.ending,
            Ending::Complete,
            "{:#?}",
            session.recoveries
        );
    }
}

/// From the placement until it could be used, in microseconds.
fn cold_start(record: &Record, placement: usize) -> u64 {
    let placement = &record.sessions[0].placements[placement];
    placement.ready_at_us.expect("it was ready") - placement.at_us
}

/// How long bytes take at 20 Mbit/s, without any headers.
fn wire_time(bytes: u64) -> u64 {
    bytes * 8 / 20
}

#[test]
fn a_helper_that_begins_cold_fetches_its_layers_about_as_fast_as_the_wire_takes_them() {
    for layers in [4, 16] {
        let first = 32 - layers;
        let record = run(&scenario(
            1,
            &format!("self:0..{first},helper:{first}..32"),
            "",
        ));
        assert_complete(&record);
        let session = &record.sessions[0];
        assert_eq!(session.placements.len(), 1, "{:#?}", session.recoveries);
        let bytes = layers * LAYER + COMMON;
        assert_eq!(record.devices[1].kept_bytes, bytes);
        let (took, wire) = (cold_start(&record, 0), wire_time(bytes));
        println!("{layers} layers: {took} µs, of which the wire {wire}");
        assert!(wire < took && took * 4 <= wire * 5, "{took} {wire}");
        // Nothing is fetched twice.
        let received = record.devices[1].received_bytes;
        assert!(received * 100 <= bytes * 112, "{received} {bytes}");
    }
}

#[test]
fn what_was_kept_stays_when_a_program_ends_in_the_middle() {
    let more = "[[fault]]\nat = \"20 s\"\nkind = \"kill\"\nwho = \"helper\"\nlasts = \"3 s\"";
    let choice = "self:0..16,helper:16..32";
    let twice =
        "[[request]]\nwho = \"asker\"\nat = \"60 s\"\nchoice = \"self:0..16,helper:16..32\"";
    let plain = run(&scenario(1, choice, twice));
    let record = run(&scenario(1, choice, &format!("{twice}\n{more}")));
    for record in [&plain, &record] {
        assert_complete(record);
        assert_eq!(record.devices[1].kept_bytes, 16 * LAYER + COMMON);
    }
    // What was on its way then, at most: 16 pieces.
    let received = [&plain, &record].map(|record| record.devices[1].received_bytes);
    assert!(received[1] < received[0] + (16 << 18), "{received:?}");
}

#[test]
fn what_is_not_right_is_not_kept_and_comes_of_another() {
    // The first helper has all of it by then, and what it gives is wrong.
    let more = r#"
        [[device]]
        profile = "galaxy-s23"
        name = "third"
        weights = "none"
        joins_at = "100 s"
        [[fault]]
        at = "90 s"
        kind = "spoil"
        who = "helper"
        [[request]]
        who = "asker"
        at = "120 s"
        choice = "third:0..32"
        "#;
    let record = run(&scenario(1, "helper:0..32", more));
    assert_complete(&record);
    let third = record.devices.iter().find(|d| d.name == "third");
    let third = third.expect("it is there");
    assert_eq!(third.kept_bytes, 32 * LAYER + COMMON);
    assert!(third.refused_pieces > 0);
}

#[test]
fn no_more_than_the_owner_allows_is_kept() {
    let text = scenario(1, "self:0..16,helper:16..32", "");
    let text = text.replace(
        "weights = \"none\"",
        "weights = \"none\"\nstorage = \"10 MB\"",
    );
    let record = run(&text);
    // It goes on alone.
    assert_complete(&record);
    assert_eq!(record.devices[1].kept_bytes, 0);
    let cause = &record.sessions[0].recoveries[0].cause;
    assert!(cause.contains("keeps for others"), "{cause}");
}

#[test]
fn who_has_no_weights_cannot_ask() {
    let text = scenario(1, "best", "").replace("who = \"asker\"", "who = \"helper\"");
    let record = run(&text);
    let ending = &record.sessions[0].ending;
    assert!(
        matches!(ending, Ending::Refused(why) if why.contains("embedding and head")),
        "{ending:?}"
    );
}
