//! What nodes tell of their work: whom they connect to, refuse and compute for, and never a word of
//! what was said.

use std::time::Duration;

use potluck_tests::attacker::{Attacker, Purpose};
use potluck_tests::circle::{Answer, Node, Program, wait_for};
use potluck_tests::{Device, Output, run};
use serde_json::Value;

use crate::{GREEDY, Model, asked, circle, question_of};

/// A word that only prompts of this test have.
const MARKER: &str = "xylophonemarmalade";

/// What a device's node kept.
fn kept(node: &Node<'_>, level: &str) -> Vec<Value> {
    let output = node.potluck(&["log", "--json", "--level", level]).success();
    let lines = output.stdout.lines();
    let parsed = lines.map(|line| serde_json::from_str(line).expect("a JSON object a line"));
    parsed.collect()
}

/// The first of these events with a message.
fn find<'v>(events: &'v [Value], message: &str) -> Option<&'v Value> {
    events.iter().find(|event| event["message"] == message)
}

/// The fields of an event's span of a name.
fn span<'v>(event: &'v Value, name: &str) -> &'v Value {
    let spans = event["spans"].as_array().into_iter().flatten();
    let mut named = spans.filter(|span| span["name"] == name);
    named.next().map_or(&Value::Null, |span| &span["fields"])
}

#[test]
fn the_log_says_who_connects_for_whom_layers_are_computed_and_what_failed() {
    let model = Model::quick();
    let mut circle = circle(&["laptop", "kitchen"], &model.path);
    let split = ["--placement", "self:0..5,kitchen:5..12"];
    let question = model.question(8, &GREEDY);
    let answer = circle.node("laptop").answer(&asked(&question, &split));
    assert_eq!(answer.tokens.len(), 8);

    let of_laptop = kept(circle.node("laptop"), "info");
    let placed = find(&of_laptop, "placed").expect("it placed the layers");
    assert_eq!(placed["schema"], 1);
    assert_eq!(placed["level"], "info");
    assert!(span(placed, "session")["id"].is_string(), "{placed}");
    assert!(span(placed, "epoch")["number"].is_string(), "{placed}");
    let stages = placed["fields"]["stages"].as_str().expect("words");
    assert!(stages.contains("kitchen 5..12"), "{stages}");

    wait_for("kitchen has freed the layers", || {
        let events = kept(circle.node("kitchen"), "info");
        let connected = find(&events, "connected").expect("laptop connected");
        assert_eq!(span(connected, "peer")["name"], "laptop");
        let began = find(&events, "helping")?;
        assert_eq!(span(began, "stage")["of"], "laptop");
        let ended = find(&events, "stopped helping")?;
        let rows: u64 = ended["fields"]["rows"].as_str()?.parse().expect("a number");
        assert!(rows >= 8, "{ended}");
        Some(())
    });
    // Its owner is told, as people and programs are.
    let kitchen = circle.node_mut("kitchen").program_mut();
    let _ = kitchen.told("computing layers 5..12 for laptop");
    let _ = kitchen.told("computed for laptop: ");
    let told = wait_for("the program is told", || {
        let event = kitchen.json();
        (event["event"] == "computed").then_some(event)
    });
    assert_eq!(
        (&told["schema"], &told["name"]),
        (&1.into(), &"laptop".into())
    );

    circle.node_mut("laptop").kill();
    let kitchen = circle.node_mut("kitchen").program_mut();
    let _ = kitchen.told("laptop is gone: ");
    let _ = kitchen.told("cannot reach laptop: /ip4/127.0.0.1/tcp/");
    let warnings = kept(circle.node("kitchen"), "warn");
    let unreached = find(&warnings, "not reached").expect("a warning");
    let why = unreached["fields"]["why"].as_str().expect("words");
    assert!(why.to_lowercase().contains("refused"), "{why}");
    let levels: Vec<_> = warnings.iter().map(|event| &event["level"]).collect();
    assert!(levels.iter().all(|level| *level == "warn"), "{levels:?}");
}

#[test]
fn a_device_that_is_not_paired_is_refused_and_the_owner_told() {
    let mut kitchen = Node::new("kitchen");
    kitchen.up();
    let address = kitchen.addresses()[0].clone();
    let (bare, _) = address.split_once("/p2p/").expect("it ends in an id");
    let mut stranger = Node::new("stranger").with(&["--peer", bare]);
    stranger.up();
    // One that does not hang up first, as a node does.
    let other = Attacker::new([66; 32]);
    let id = other.peer_id().to_string();
    let stays = Duration::from_millis(500);
    let _ = other.say(&address, vec![(Purpose::Control, vec![0])], stays);
    let line = kitchen.program_mut().told("refused ");
    let expected = "to connect: the peer is not paired with this device";
    assert!(line.contains(expected), "{line}");
    let ids = [&*id, stranger.peer_id()];
    assert!(ids.iter().any(|id| line.contains(id)), "{line}");
    wait_for("the stranger's log has that, too", || {
        let warnings = kept(&stranger, "warn");
        find(&warnings, "an address that was given is not reached").map(drop)
    });
}

#[test]
fn what_is_measured_is_logged() {
    let args = ["bench", "--profile", "--json", "--threads", "1", "-vv"];
    let log = Device::new().potluck(args).success().stderr;
    for logged in [
        "this device measures itself",
        "this device is measured",
        "Q4_0",
    ] {
        assert!(log.contains(logged), "{logged}: {log}");
    }
}

#[test]
fn without_a_node_there_is_no_log_and_a_wrong_filter_is_refused() {
    let device = Device::new();
    let _ = device.potluck(["log"]).failure(1, &["`potluck up`"]);
    let mut wrong = device.command(["id"]);
    wrong.env("POTLUCK_LOG", "loud");
    let _ = run(wrong, b"").failure(2, &["POTLUCK_LOG", "\"loud\"", "info,libp2p=debug"]);
}

#[test]
fn json_lines_are_objects_and_nothing_is_logged_unless_it_is_asked_for() {
    let mut node = Node::new("kitchen").with(&["-vv", "--log-format", "json"]);
    node.up();
    let invited = node.invite();
    drop(invited);
    let line = node.program_mut().told("an invitation is open");
    let event: Value = serde_json::from_str(&line).expect("a JSON object");
    assert_eq!(
        (&event["schema"], &event["level"]),
        (&1.into(), &"info".into())
    );
    assert_eq!(span(&event, "pairing")["side"], "inviter");
    let silent = node.potluck(&["peers"]).success();
    assert!(!silent.stderr.contains("INFO"), "{}", silent.stderr);
}

/// Everything that was logged, and what of it would give away what was said.
#[derive(Default)]
struct Said {
    logs: String,
    secrets: Vec<String>,
}

impl Said {
    /// Something that was said, or that a model answered: the words of it that occur nowhere else.
    fn add(&mut self, text: &str) {
        let words = text.split_whitespace().filter(|word| word.len() >= 9);
        self.secrets.extend(words.map(str::to_owned));
    }

    /// What a program wrote to stderr, and an answer that it gave, as JSON.
    fn add_answer(&mut self, output: Output) {
        self.logs.push_str(&output.stderr);
        let answer = Answer::of(output);
        self.add(answer.json["text"].as_str().expect("a text"));
        for ids in [&answer.json["token_ids"], &answer.json["prompt_token_ids"]] {
            let ids = ids.as_array().expect("a list").iter().take(5);
            let ids: Vec<_> = ids.map(ToString::to_string).collect();
            self.secrets
                .extend([", ", ",", " "].map(|between| ids.join(between)));
        }
    }

    fn check(&self) {
        assert!(self.logs.contains("TRACE"), "all is logged");
        for secret in &self.secrets {
            let found = self.logs.lines().find(|line| line.contains(secret));
            assert!(found.is_none(), "{secret:?} is in {found:?}");
        }
    }
}

#[test]
fn no_word_of_a_prompt_or_an_answer_is_in_any_log() {
    let model = Model::quick();
    let all = ["-vvv"];
    let mut nodes = crate::nodes(&["laptop", "kitchen"], &model.path);
    nodes = nodes.into_iter().map(|node| node.with(&all)).collect();
    let mut circle = potluck_tests::circle::Circle::start(nodes);
    let mut said = Said::default();
    said.add(MARKER);
    said.secrets.push("POTLUCK:".to_owned());

    let prompt = format!("Tell me of a {MARKER} journey.");
    let question = question_of(&prompt, &model.path, 12, &GREEDY);
    let split = ["--placement", "self:0..5,kitchen:5..12"];
    let laptop = circle.node("laptop");
    for who in [&["--alone"][..], &split] {
        let asked = asked(&question, &[who, &all].concat());
        said.add_answer(laptop.ask(&asked).end());
    }
    let path = model.path.to_str().expect("a path of text");
    let chat = [
        "chat", "-vvv", "--system", MARKER, "--model", path, "-n", "12",
    ];
    let lines = format!("{prompt}\nAnd {MARKER}?\n/retry\n");
    for who in [&["--alone"][..], &split] {
        let output = run(laptop.command([&chat[..], who].concat()), lines.as_bytes());
        let output = output.success();
        said.logs.push_str(&output.stderr);
        said.add(&output.stdout);
    }
    let log = |node: &Node<'_>| node.potluck(&["log", "--level", "debug"]).success().stdout;
    for node in [laptop, circle.node("kitchen")] {
        let log = log(node);
        assert!(log.contains("layers freed"), "{log}");
        said.logs.push_str(&log);
    }
    // A command with a node of its own, with all that libraries say.
    said.logs
        .push_str(&circle.node_mut("laptop").end_by("INT").stderr);
    let own = ["--no-mdns", "--listen", "/ip4/127.0.0.1/tcp/0"];
    let args = [
        &["run", "--json", "--threads", "1"][..],
        &asked(&question, &split),
        &own,
    ]
    .concat();
    let mut command = circle.node("laptop").command(args);
    command.env(
        "POTLUCK_LOG",
        "trace,libp2p=trace,yamux=trace,hickory=trace",
    );
    let output = Program::start("run with a node of its own", command).end();
    assert!(output.stderr.contains("libp2p"), "libraries are logged");
    said.add_answer(output);
    said.logs
        .push_str(&circle.node_mut("kitchen").end_by("INT").stderr);
    said.check();
}
