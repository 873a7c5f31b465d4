//! Who computes is whom a person named.

use potluck_tests::circle::{Answer, Circle};
use potluck_tests::{Output, run};

use crate::{Model, SAMPLED, STEADY_TOKENS, alone, asked, circle, nodes};

/// Too little for the steady model, and more than half of it.
const LITTLE: &str = "36M";

#[test]
fn only_devices_of_a_placement_take_over_and_the_answer_waits_for_them() {
    let model = Model::steady();
    let question = model.question(STEADY_TOKENS, &SAMPLED);
    let mut nodes = nodes(&["laptop", "kitchen", "tablet"], &model.path);
    let laptop = nodes.remove(0).with(&["--memory", "20M"]);
    nodes.insert(0, laptop);
    let mut circle = Circle::start(nodes);
    let who = ["--placement", "kitchen:0..16"];
    let mut run = circle.node("laptop").ask(&asked(&question, &who));
    let placed = run.told("predicted");
    assert!(
        placed.starts_with("computing on: kitchen, layers 0..16"),
        "{placed}"
    );
    circle.node_mut("kitchen").kill();
    let waiting = run.told("waiting: ");
    assert!(
        waiting.contains("\"kitchen\" cannot help now") && waiting.contains("ends with ,*"),
        "{waiting}"
    );
    circle.node_mut("kitchen").up();
    let answer = Answer::of(run.end());
    assert_eq!(answer.tokens, alone(&question).tokens);
    let stages = answer.stages();
    assert!(
        stages.iter().all(|stage| !stage.starts_with("tablet")),
        "nobody named the tablet: {stages:?}"
    );
}

#[test]
fn others_compute_only_where_a_person_says_so() {
    let model = Model::steady();
    let question = model.question(20, &SAMPLED);
    let nodes = nodes(&["laptop", "kitchen"], &model.path).into_iter();
    let little = nodes.map(|node| node.with(&["--memory", LITTLE]));
    let circle = Circle::start(little.collect());
    let laptop = circle.node("laptop");
    let ask = |default: Option<&str>, who: &[&str]| -> Output {
        let args = [
            &["run", "--json", "--threads", "1"][..],
            &asked(&question, who),
        ]
        .concat();
        let mut command = laptop.command(args);
        if let Some(default) = default {
            command.env("POTLUCK_WITH_PEERS", default);
        }
        run(command, b"")
    };
    // The node runs, and it would help.
    for (default, who) in [
        (None, &[][..]),
        (Some("0"), &[][..]),
        (Some("1"), &["--alone"][..]),
        (None, &["--alone"][..]),
    ] {
        let answer = Answer::of(ask(default, who));
        assert!(answer.stages().is_empty(), "{default:?} {who:?}");
        let on = &answer.json["computing_on"];
        assert_eq!(on[0]["this_device"], true, "{on}");
        assert_eq!(on[0]["end_layer"], 16);
        assert!(on[1].is_null(), "{on}");
        assert_eq!(answer.json["bytes_sent"], 0);
    }
    for (default, who) in [(None, &["--with-peers"][..]), (Some("yes"), &[][..])] {
        let answer = Answer::of(ask(default, who));
        assert_eq!(answer.stages().len(), 2, "{default:?} {who:?}");
        let on = answer.json["computing_on"].as_array().expect("a list");
        assert!(on.iter().any(|share| share["name"] == "kitchen"), "{on:?}");
    }
    let _ = ask(Some("perhaps"), &[]).failure(2, &["perhaps", "POTLUCK_WITH_PEERS"]);
    let _ = ask(None, &["--alone", "--with-peers"]).failure(2, &["--alone"]);
}

#[test]
fn the_first_line_says_who_computes() {
    let model = Model::quick();
    let question = model.question(4, &SAMPLED);
    let circle = circle(&["laptop", "kitchen"], &model.path);
    let first_line = |who: &[&str]| {
        let args = [&["run"][..], &asked(&question, who)].concat();
        let output = circle.node("laptop").potluck(&args).success();
        output.stderr.lines().next().unwrap_or_default().to_owned()
    };
    assert_eq!(first_line(&[]), "computing on this device only");
    assert_eq!(first_line(&["--quiet"]), "");
    let split = ["--placement", "self:0..5,kitchen:5..12"];
    let line = first_line(&split);
    let expected = "computing on: this device, layers 0..5; kitchen, layers 5..12 · ";
    assert!(line.starts_with(expected), "{line}");
    assert_eq!(first_line(&[&split[..], &["--quiet"]].concat()), "");
}
