//! Models that one device cannot hold, helpers that leave, and several who ask at once.

use potluck_tests::circle::{Answer, Circle};

use crate::{Model, SAMPLED, STEADY_TOKENS, alone, asked, circle, nodes};

/// Too little for the steady model, and more than half of it.
const LITTLE: &str = "36M";

fn two_small() -> Circle<'static> {
    let nodes = nodes(&["laptop", "kitchen"], &Model::steady().path);
    let nodes = nodes.into_iter();
    Circle::start(nodes.map(|node| node.with(&["--memory", LITTLE])).collect())
}

#[test]
fn a_model_too_large_for_one_runs_with_peers() {
    let question = Model::steady().question(50, &SAMPLED);
    let circle = two_small();
    let laptop = circle.node("laptop");
    let refused = laptop.potluck(
        &[
            &["run"],
            &*asked(&question, &["--alone", "--memory", LITTLE]),
        ]
        .concat(),
    );
    let _ = refused.failure(1, &["the model needs", "--with-peers"]);
    // It runs with other settings.
    for wrong in [["--memory", "1M"], ["--peer", "/ip4/127.0.0.1/tcp/9"]] {
        let with = [&["--with-peers"], &wrong[..]].concat();
        let refused = laptop.potluck(&[&["run"], &*asked(&question, &with)].concat());
        let _ = refused.failure(2, &[wrong[0], "does not change it"]);
    }
    let answer = laptop.answer(&asked(&question, &["--with-peers"]));
    assert_eq!(answer.tokens, alone(&question).tokens);
    assert_eq!(answer.stages().len(), 2, "{:?}", answer.stages());
}

#[test]
fn an_answer_waits_for_the_only_helper_to_come_back() {
    let question = Model::steady().question(STEADY_TOKENS, &SAMPLED);
    let mut circle = two_small();
    let mut run = circle
        .node("laptop")
        .ask(&asked(&question, &["--with-peers"]));
    let _ = run.told("predicted");
    circle.node_mut("kitchen").kill();
    let _ = run.told("kitchen is away");
    circle.node_mut("kitchen").up();
    let answer = Answer::of(run.end());
    assert_eq!(answer.tokens, alone(&question).tokens);
    println!("waited for the only helper: {:?}", answer.recoveries);
    assert!(answer.recoveries.iter().any(|r| r.stage == "kitchen"));
}

#[test]
fn a_helper_that_is_told_to_stop_hands_its_layers_over() {
    hands_over_on("INT", 130);
}

#[test]
fn a_helper_that_its_system_stops_hands_its_layers_over() {
    hands_over_on("TERM", 143);
}

#[track_caller]
fn hands_over_on(signal: &str, code: i32) {
    let question = Model::steady().question(STEADY_TOKENS, &SAMPLED);
    let mut circle = circle(&["laptop", "kitchen", "tablet"], &Model::steady().path);
    let who = ["--placement", "self:0..4,kitchen:4..16,*"];
    let mut run = circle.node("laptop").ask(&asked(&question, &who));
    let _ = run.told("predicted");
    let ended = circle.node_mut("kitchen").end_by(signal);
    assert_eq!(ended.code, Some(code), "{ended:?}");
    let _ = run.told("kitchen is leaving");
    let answer = Answer::of(run.end());
    assert_eq!(answer.tokens, alone(&question).tokens);
    println!("handed over: {:?}", answer.recoveries);
    let stages = answer.stages();
    assert!(
        !stages.iter().any(|s| s.starts_with("kitchen")),
        "{stages:?}"
    );
}

#[test]
fn two_who_ask_at_once_get_their_own_tokens() {
    let model = Model::steady();
    let circle = circle(&["laptop", "phone", "kitchen", "tablet"], &model.path);
    let who = ["--placement", "kitchen:0..8,tablet:8..16"];
    let questions = [("laptop", "11"), ("phone", "12"), ("laptop", "13")];
    let questions = questions.map(|(name, seed)| (name, model.question(150, &["--seed", seed])));
    let runs = questions
        .each_ref()
        .map(|(name, question)| circle.node(name).ask(&asked(question, &who)));
    let answers = runs.map(|run| Answer::of(run.end()));
    for (answer, (name, question)) in answers.iter().zip(&questions) {
        assert_eq!(answer.tokens, alone(question).tokens, "{name}");
    }
}
