//! Commands of one home, and the node that they share.

use std::io::Write as _;
use std::thread;
use std::time::Duration;

use potluck_tests::circle::{Answer, Circle, Program};

use crate::{Model, SAMPLED, STEADY_TOKENS, alone, asked, circle};

/// How a command's own node meets others here.
const OWN: [&str; 3] = ["--no-mdns", "--listen", "/ip4/127.0.0.1/tcp/0"];
const SPLIT: [&str; 2] = ["--placement", "self:0..8,kitchen:8..16"];

/// Two paired devices, of which only the kitchen's node runs.
fn without_up() -> Circle<'static> {
    let mut circle = circle(&["laptop", "kitchen"], &Model::steady().path);
    let _ = circle.node_mut("laptop").end_by("INT");
    circle
}

fn ask(circle: &Circle<'_>, question: &[String]) -> Program {
    // Where it listens since it was started last.
    let kitchen = ["--peer", &circle.node("kitchen").addresses()[0]];
    let who = [&SPLIT[..], &OWN, &kitchen].concat();
    let mut run = circle.node("laptop").ask(&asked(question, &who));
    let _ = run.told("predicted");
    run
}

#[test]
fn an_answer_goes_on_when_the_node_that_it_used_is_gone() {
    let circle = without_up();
    let model = Model::steady();
    let question = model.question(STEADY_TOKENS, &SAMPLED);
    // The node of the first serves the second.
    let first = ask(&circle, &model.question(STEADY_TOKENS, &["--seed", "3"]));
    let mut second = ask(&circle, &question);
    first.kill();
    let _ = second.told("has ended; going on with another");
    let _ = second.told("predicted");
    let answer = Answer::of(second.end());
    assert_eq!(answer.tokens, alone(&question).tokens);
    assert_eq!(answer.stages(), ["laptop:0..8", "kitchen:8..16"]);
}

#[test]
fn the_node_of_an_answer_gives_way_to_that_of_up() {
    let mut circle = without_up();
    let question = Model::steady().question(STEADY_TOKENS, &SAMPLED);
    let mut run = ask(&circle, &question);
    circle.node_mut("laptop").up();
    let _ = run.told("has ended; going on with another");
    let answer = Answer::of(run.end());
    assert_eq!(answer.tokens, alone(&question).tokens);
    assert_eq!(answer.stages(), ["laptop:0..8", "kitchen:8..16"]);
}

#[test]
fn a_chat_goes_on_when_up_is_started_again() {
    let model = Model::quick();
    let mut circle = circle(&["laptop", "kitchen"], &model.path);
    let file = model.path.to_str().expect("a path of text");
    let chat = ["chat", "-m", file, "-n", "20", "--seed", "3", "--stats"];
    let lines = ["Tell me of a journey.\n", "And then?\n", "Who went?\n"];
    let laptop = circle.node("laptop");
    let expected = potluck_tests::run(
        laptop.command([&chat[..], &["--alone"]].concat()),
        lines.concat().as_bytes(),
    );
    // What `up` was told, too.
    let split = [&OWN[..], &["--placement", "self:0..5,kitchen:5..12"]].concat();
    let command = laptop.command([&chat[..], &split].concat());
    let (mut talk, mut said) = Program::talking("chat", command);
    for line in lines {
        said.write_all(line.as_bytes()).expect("it listens");
        let _ = talk.told("first token after");
        let _ = circle.node_mut("laptop").end_by("INT");
        circle.node_mut("laptop").up();
        circle.await_connected();
    }
    drop(said);
    let output = talk.end().success();
    assert_eq!(output.stdout, expected.success().stdout);
    assert!(!output.stderr.contains("error"), "{}", output.stderr);
}

#[test]
fn answers_come_while_a_device_pairs() {
    let circle = without_up();
    let question = Model::steady().question(10, &SAMPLED);
    let expected = alone(&question).tokens;
    let laptop = circle.node("laptop");
    let args = [&["pair", "--admit", "--json", "--name", "laptop"][..], &OWN].concat();
    let mut pair = laptop.start(&args);
    assert!(pair.json()["invitation"].is_string());
    assert_eq!(laptop.answer(&asked(&question, &[])).tokens, expected);
    for who in [&SPLIT[..], &["--with-peers"]] {
        let answer = laptop.answer(&asked(&question, who));
        assert_eq!(answer.tokens, expected, "{who:?}");
    }
    assert!(pair.runs());
}

/// How long a helper may take to free what it has for who is gone; less than the 30 seconds that it
/// keeps that for who is only silent.
const FREED: Duration = Duration::from_secs(8);

#[test]
fn a_helper_is_free_soon_when_the_command_that_it_helped_is_gone() {
    let mut circle = without_up();
    let model = Model::steady();
    let prompt = "And the road went on and on. ".repeat(40);
    let mut question = model.question(STEADY_TOKENS, &SAMPLED);
    question.extend(["--system".to_owned(), prompt]);
    for signal in ["INT", "KILL"] {
        let run = ask(&circle, &question);
        run.signal(signal);
        let _ = run.end();
        thread::sleep(FREED);
        let ended = circle.node_mut("kitchen").end_by("INT");
        assert!(
            !ended.stderr.contains("handing over"),
            "after {signal}: {}",
            ended.stderr
        );
        circle.node_mut("kitchen").up();
    }
}
