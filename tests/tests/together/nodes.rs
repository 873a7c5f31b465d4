//! Commands of one home, and the node that they share.

use std::io::Write as _;
use std::process::ChildStdin;
use std::thread;
use std::time::Duration;

use potluck_tests::Terminal;
use potluck_tests::circle::{Answer, Circle, Node, Program, member};

use crate::membership::{Asking, invitation_on};
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
    let _ = second.told("has ended; continuing with another");
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
    let _ = run.told("has ended; continuing with another");
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
    let json = |who| [&["run", "--json"], &asked(&question, who)[..]].concat();
    for who in [&[][..], &SPLIT, &["--with-peers"]] {
        let answer = Answer::of(laptop.start(&json(who)).end());
        assert_eq!(answer.tokens, expected, "{who:?}");
    }
    assert!(pair.runs());
}

#[test]
fn threads_that_the_node_does_not_compute_with_are_refused() {
    let circle = circle(&["laptop", "kitchen"], &Model::quick().path);
    let question = Model::quick().question(3, &SAMPLED);
    let laptop = circle.node("laptop");
    let ask = |threads| {
        let who = asked(&question, &["--with-peers", "--threads", threads]);
        laptop.potluck(&[&["run", "--json"], &who[..]].concat())
    };
    let _ = ask("3").failure(2, &["--threads does not change it"]);
    let _ = ask("1").success();
}

/// Of a command that pairs over the node of `up`, which ends meanwhile.
fn pair_of(node: &Node<'_>, how: &[&str]) -> (Program, ChildStdin) {
    let args = [&["pair", "--json", "--name", node.name()], how, &OWN].concat();
    Program::talking("pairs", node.command(args))
}

fn invitation(pair: &mut Program) -> String {
    let told = pair.json();
    told["invitation"].as_str().expect("it is shown").to_owned()
}

#[test]
fn an_invitation_is_shown_again_when_the_node_that_it_was_of_is_gone() {
    let [mut laptop, mut kitchen] = ["laptop", "kitchen"].map(Node::new);
    laptop.up();
    kitchen.up();
    let (mut pair, _) = pair_of(&laptop, &["--admit"]);
    let first = invitation(&mut pair);
    laptop.kill();
    let _ = pair.told("here is another");
    let second = invitation(&mut pair);
    let _ = kitchen.join(&first).failure(1, &[]);
    let joined = kitchen.join(&second).success();
    assert_eq!(joined.last_json()["paired"]["name"], "laptop");
    let paired = pair.end().success();
    assert!(paired.stdout.contains("\"paired\""), "{paired:?}");
    laptop.up();
    assert!(member(&laptop.members(), "kitchen").is_some());
}

#[test]
fn an_invitation_is_used_again_when_the_node_that_used_it_is_gone() {
    let [mut laptop, mut kitchen] = ["laptop", "kitchen"].map(Node::new);
    laptop.up();
    kitchen.up();
    // Its owner is asked, so that the laptop waits.
    let mut terminal = Terminal::new();
    let asks = kitchen.command(["pair", "--name", "kitchen"]);
    let mut asks = Asking::on(&terminal, asks);
    let (mut joins, mut stdin) = pair_of(&laptop, &["-", "--join"]);
    let text = invitation_on(&terminal);
    stdin.write_all(text.as_bytes()).expect("it reads");
    drop(stdin);
    assert_eq!(joins.json()["proposed"]["name"], "kitchen");
    terminal.wait_for("Pair?", 1);
    laptop.kill();
    let _ = joins.told("trying again with another");
    assert_eq!(joins.json()["proposed"]["name"], "kitchen");
    terminal.wait_for("Pair?", 2);
    terminal.enter(b"y\r");
    let joined = joins.end().success();
    assert!(joined.stdout.contains("\"paired\""), "{joined:?}");
    assert!(asks.0.wait().expect("it ends").success());
    assert!(member(&kitchen.members(), "laptop").is_some());
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
