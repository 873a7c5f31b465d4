//! Models whose layers keep only the last positions: 640 of the one here.

use std::thread;
use std::time::Instant;

use potluck_tests::circle::Answer;
use potluck_tests::run;

use crate::{Model, SAMPLED, STEADY_TOKENS, alone, asked, circle, question_of};

/// A message of about 23 tokens for each of `times`.
fn long(times: usize) -> String {
    "The road went on and on, over the hills. ".repeat(times)
}

#[test]
fn an_answer_behind_the_edge_of_the_rings_goes_on_when_helpers_are_killed() {
    let path = &Model::steady_and_windowed().path;
    let mut circle = circle(&["laptop", "kitchen", "tablet", "phone"], path);
    let question = question_of(&long(40), path, STEADY_TOKENS, &SAMPLED);
    let expected = alone(&question);
    let prompt = expected.json["prompt_token_ids"].as_array().map(Vec::len);
    assert!(prompt.is_some_and(|tokens| tokens > 640), "{prompt:?}");
    let asked = asked(
        &question,
        &["--placement", "self:0..3,kitchen:3..8,tablet:8..12,*"],
    );
    let start = Instant::now();
    let undisturbed = circle.node("laptop").answer(&asked);
    let took = start.elapsed();
    assert_eq!(undisturbed.tokens, expected.tokens);
    let mut recoveries = 0;
    for (victim, part) in [
        ("kitchen", 0.5),
        ("tablet", 0.7),
        ("kitchen", 0.3),
        ("tablet", 0.5),
    ] {
        let mut run = circle.node("laptop").ask(&asked);
        let _ = run.told("predicted");
        thread::sleep(took.mul_f64(part));
        circle.node_mut(victim).kill();
        let answer = Answer::of(run.end());
        assert_eq!(answer.tokens, expected.tokens, "{victim} at {part}");
        println!("{victim} at {part}: {:?}", answer.recoveries);
        recoveries += answer.recoveries.len();
        circle.node_mut(victim).up();
        circle.await_connected();
    }
    assert!(recoveries > 0, "no helper was killed in mid-sentence");
}

#[test]
fn a_chat_over_the_circle_goes_on_when_its_beginning_changes() {
    let model = Model::windowed();
    let circle = circle(&["laptop", "kitchen"], &model.path);
    let file = model.path.to_str().expect("a path of text");
    let chat = ["chat", "-m", file, "-n", "60", "--seed", "3"];
    // Told again from the beginning after the third line, and a little further back at the fourth.
    let lines = format!(
        "{}\nAnd then?\n/system Answer in French.\nWho went?\n/retry\nWhere to?\n",
        long(24)
    );
    let laptop = circle.node("laptop");
    let said = |who: &[&str]| {
        let command = laptop.command([&chat[..], who].concat());
        run(command, lines.as_bytes()).success()
    };
    let expected = said(&["--alone"]);
    let split = said(&["--placement", "self:0..5,kitchen:5..12"]);
    assert_eq!(split.stdout, expected.stdout);
    assert!(!split.stderr.contains("error"), "{}", split.stderr);
    assert!(!split.stderr.contains("lost"), "{}", split.stderr);
}
