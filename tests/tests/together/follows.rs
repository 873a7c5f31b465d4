//! Plans follow what is really computed, however wrong this device was measured.

use std::fs;

use potluck_tests::circle::Node;
use potluck_tests::fidelity::median;
use serde_json::{Value, json};

use crate::{GREEDY, Model, asked};

/// Plan and answers are about as deep in the text: of a plan's positions half count.
const CONTEXT: [&str; 2] = ["--context", "192"];
/// A prediction is right within this factor of what answers took meanwhile, on a machine that may be
/// busy. One that does not follow is off by four.
const WITHIN: f64 = 2.0;
/// Three answers are enough on a machine that computes alike all the time. This one may not: so often
/// they may be three.
const ROUNDS: usize = 5;

/// A node whose measured rates are so many times what they are.
fn measured(times: f64) -> Node<'static> {
    let mut node = Node::new("laptop");
    let path = node.home().join("measurements.json");
    let text = fs::read(&path).expect("it was measured");
    let mut measured: Value = serde_json::from_slice(&text).expect("JSON");
    let wrong = |rate: &mut Value| {
        let right = rate.as_f64().expect("a number");
        *rate = json!((right * times).round() as u64);
    };
    let decode = measured["decode_bytes_per_s"].as_object_mut();
    decode.expect("rates").values_mut().for_each(wrong);
    for name in ["kv_read_bytes_per_s", "prefill_multiply_adds_per_s"] {
        wrong(&mut measured[name]);
    }
    fs::write(&path, measured.to_string()).expect("written");
    node.up();
    node
}

fn plan(node: &Node<'_>, model: &str) -> Value {
    let plan = [&["plan", model, "--json"][..], &CONTEXT].concat();
    node.potluck(&plan).success().json()
}

fn rate(of: &Value) -> f64 {
    of.as_f64().expect("a rate")
}

#[test]
fn a_plan_is_right_after_three_answers_though_rates_were_measured_wrong() {
    let model = Model::steady();
    let path = model.path.to_str().expect("a path of text");
    let question = model.question(40, &GREEDY);
    // By the process that asks, and by the node's stage.
    for (times, who) in [
        (0.25, &["--alone"][..]),
        (4.0, &["--alone"]),
        (0.25, &["--placement", "self:0..16"]),
        (4.0, &["--placement", "self:0..16"]),
    ] {
        let node = measured(times);
        let before = plan(&node, path);
        assert_eq!(before["caveats"]["corrected_by_steps"], 0);
        let mut tried = Vec::new();
        let is_right = (0..ROUNDS).any(|_| {
            let answers = (0..3).map(|_| {
                let who = [who, &CONTEXT].concat();
                let answer = node.answer(&asked(&question, &who));
                rate(&answer.json["decode_tokens_per_s"])
            });
            let answered = median(&answers.collect::<Vec<_>>());
            let plan = plan(&node, path);
            assert!(plan["caveats"]["corrected_by_steps"].as_u64() > Some(0));
            let ratio = rate(&plan["best"]["tokens_per_s"]) / answered;
            tried.push(ratio);
            (1.0 / WITHIN..WITHIN).contains(&ratio)
        });
        println!("{times} times, {who:?}: predicted over answered {tried:?}");
        assert!(is_right, "{times} times, {who:?}: {tried:?}");
        let told = node.potluck(&[&["plan", path][..], &CONTEXT].concat());
        let told = told.success().stdout;
        assert!(told.contains(" steps of answers"), "{told}");
    }
}
