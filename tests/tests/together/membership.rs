//! Who is in a circle, who decides that, and that it is on the disk before anybody is told.

use std::fs;
use std::io::Write as _;
use std::process::{Child, Command};

use potluck_tests::Terminal;
use potluck_tests::circle::{Invited, Node, Program, member};

use crate::{Model, circle};

/// Nodes that know nothing of each other.
fn unpaired<const N: usize>(names: [&str; N]) -> [Node<'static>; N] {
    names.map(|name| {
        let mut node = Node::new(name);
        node.up();
        node
    })
}

/// Without a node that runs.
const OWN_NODE: [&str; 3] = ["--no-mdns", "--listen", "/ip4/127.0.0.1/tcp/0"];

#[test]
fn what_is_forgotten_without_a_running_node_is_forgotten() {
    let [mut laptop, kitchen, tablet] = unpaired(["laptop", "kitchen", "tablet"]);
    laptop.pair_with(&kitchen);
    laptop.pair_with(&tablet);
    let _ = laptop.end_by("INT");
    for name in ["kitchen", "tablet"] {
        let forget = [&["forget", name][..], &OWN_NODE].concat();
        let output = laptop.potluck(&forget).success();
        assert!(
            output.stdout.contains("is not paired any more"),
            "{output:?}"
        );
        assert!(member(&laptop.members(), name).is_none(), "{name}");
    }
    let again = [&["forget", "tablet"][..], &OWN_NODE].concat();
    let _ = laptop.potluck(&again).failure(1, &["no device is called"]);
}

#[test]
fn a_disk_that_takes_nothing_makes_forgetting_and_pairing_fail_and_nothing_is_changed() {
    let [laptop, kitchen, tablet] = unpaired(["laptop", "kitchen", "tablet"]);
    laptop.pair_with(&kitchen);
    let log = laptop.home().join("circle.log");
    let kept = fs::read(&log).expect("it is stored");
    // A file cannot take the place of a folder.
    fs::remove_file(&log).expect("ours");
    fs::create_dir_all(log.join("in the way")).expect("ours");
    let _ = laptop
        .potluck(&["forget", "kitchen"])
        .failure(1, &["cannot write", "circle.log"]);
    let Invited { text, program } = laptop.invite();
    let _ = tablet
        .join(&text)
        .failure(1, &["laptop", "cannot be stored"]);
    let _ = program.end().failure(1, &["cannot be stored"]);
    assert!(member(&tablet.members(), "laptop").is_none());
    fs::remove_dir_all(&log).expect("ours");
    fs::write(&log, kept).expect("ours");
    assert!(member(&laptop.members(), "kitchen").is_some());
    assert!(member(&laptop.members(), "tablet").is_none());
    let output = laptop.potluck(&["forget", "kitchen"]).success();
    assert!(
        output
            .stdout
            .contains("in the circle: laptop (this device)"),
        "{output:?}"
    );
    laptop.pair_with(&tablet);
}

#[test]
fn a_stranger_whose_code_a_member_reads_comes_in_only_if_both_want_that_and_all_hear_of_it() {
    let mut circle = circle(&["laptop", "kitchen"], &Model::quick().path);
    let [mut tablet] = unpaired(["tablet"]);
    let laptop = circle.node("laptop");
    // The member expected to join the stranger.
    let Invited { text, program } = tablet.invite();
    let refused = laptop
        .join(&text)
        .failure(1, &["is in a circle with others"]);
    assert!(!refused.stdout.contains("proposed"), "{refused:?}");
    program.signal("INT");
    let _ = program.end();
    assert!(member(&laptop.members(), "tablet").is_none());
    // Nobody is there to be asked.
    let output = laptop.potluck(&["pair", "--json"]);
    let _ = output.failure(2, &["--admit", "--join"]);

    let Invited { text, program } = tablet.invite_to("--join");
    let output = laptop.use_invitation(&text, "--admit").success();
    let lines: Vec<serde_json::Value> = output
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let proposed = &lines[0]["proposed"];
    assert_eq!(proposed["change"], "they_join");
    assert_eq!(proposed["name"], "tablet");
    assert_eq!(proposed["members"].as_array().map(Vec::len), Some(2));
    assert_eq!(lines[1]["paired"]["name"], "tablet");
    let joined = program.end().success();
    assert!(joined.stdout.contains("\"we_join\""), "{joined:?}");
    let kitchen = circle.node_mut("kitchen");
    let told = kitchen.program_mut().told("admitted by");
    assert!(told.contains("tablet") && told.contains("laptop"), "{told}");
    let peers = kitchen.potluck(&["peers"]).success().stdout;
    let line = peers.lines().find(|line| line.contains("tablet"));
    assert!(
        line.is_some_and(|line| line.contains("admitted by laptop")),
        "{peers}"
    );
    let _ = tablet.end_by("INT");
}

#[test]
fn a_device_that_left_or_was_forgotten_begins_a_new_circle_and_pairs() {
    let [laptop, kitchen] = unpaired(["laptop", "kitchen"]);
    laptop.pair_with(&kitchen);
    let _ = laptop.potluck(&["forget", "self"]).failure(2, &["--yes"]);
    // Who is not connected hears of it from others only.
    for (node, other) in [(&laptop, "kitchen"), (&kitchen, "laptop")] {
        node.await_members("the two are connected", |members| {
            member(members, other).is_some_and(|other| !other["link"].is_null())
        });
    }
    let left = laptop.potluck(&["forget", "self", "--yes"]).success();
    assert!(left.stderr.contains("potluck circle new"), "{left:?}");
    kitchen.await_members("the laptop has left", |members| {
        member(members, "laptop").is_none()
    });
    let refused = laptop.potluck(&["pair", "--json", "--admit"]);
    let _ = refused.failure(1, &["potluck circle new"]);

    let _ = laptop.potluck(&["circle", "new"]).failure(2, &["--yes"]);
    let before = laptop.peer_id().to_owned();
    let output = laptop
        .potluck(&["circle", "new", "--yes", "--json"])
        .success();
    assert_eq!(output.json()["circle"]["peer_id"], before.as_str());
    // Another id is not to be had while a node runs with this one.
    let identity = laptop.potluck(&["circle", "new", "--identity", "--yes"]);
    let _ = identity.failure(1, &["end it first"]);
    laptop.pair_with(&kitchen);
    for node in [&laptop, &kitchen] {
        assert_eq!(node.members().as_array().map(Vec::len), Some(2));
    }
}

/// Another device with a copy of a node's home.
fn copy_of(node: &Node) -> Node<'static> {
    let copy = Node::new("copy");
    let is_there = |file: &&str| node.home().join(file).exists();
    let files = ["device.key", "device.name", "circle.log"];
    for file in files.into_iter().filter(is_there) {
        let copied = fs::copy(node.home().join(file), copy.home().join(file));
        assert!(copied.expect("copied") > 0);
    }
    copy
}

#[test]
fn a_copy_of_a_home_that_dials_the_other_notices_it_without_anybody_else() {
    let [kitchen] = unpaired(["kitchen"]);
    let address = kitchen.addresses()[0].clone();
    let mut copy = copy_of(&kitchen).with(&["--peer", &address]);
    copy.up();
    let told = copy.program_mut().told("a node with this device's id");
    assert!(told.contains("circle new --identity"), "{told}");
    // Whether the kitchen hears of it depends on how much of the handshake the copy still did before it
    // saw who is there. Or one is to pair with the other.
    let invited = kitchen.invite();
    let refused = copy.join(&invited.text);
    let _ = refused.failure(1, &["this device's own", "circle new --identity"]);
}

#[test]
fn a_copied_home_is_noticed_and_given_an_id_of_its_own() {
    let [mut laptop, mut kitchen] = unpaired(["laptop", "kitchen"]);
    laptop.pair_with(&kitchen);
    let address = laptop.addresses()[0].clone();
    let mut copy = copy_of(&kitchen).with(&["--peer", &address]);
    copy.up();
    assert_eq!(copy.peer_id(), kitchen.peer_id());
    let _ = laptop.program_mut().told("two devices run as kitchen");
    for node in [&mut kitchen, &mut copy] {
        let told = node
            .program_mut()
            .told("another device runs with this one's id");
        assert!(told.contains("potluck circle new --identity"), "{told}");
    }
    let _ = copy.end_by("INT");
    let output = copy.potluck(&["circle", "new", "--identity", "--yes", "--json"]);
    let output = output.success().json();
    assert_ne!(output["circle"]["peer_id"], kitchen.peer_id());
    copy.up();
    laptop.await_members("the kitchen is back", |members| {
        member(members, "kitchen").is_some_and(|kitchen| kitchen["connected"] == true)
    });
    laptop.pair_with(&copy);
}

#[test]
fn names_that_commands_use_for_something_else_are_refused() {
    let [laptop] = unpaired(["laptop"]);
    for name in ["self", "Self", "*", laptop.peer_id()] {
        let output = laptop.potluck(&["pair", "--json", "--admit", "--name", name]);
        let _ = output.failure(1, &["name"]);
    }
}

/// A command of a person's, who is asked on a terminal. It is killed when this is dropped.
pub(crate) struct Asking(pub(crate) Child);

impl Asking {
    pub(crate) fn on(terminal: &Terminal, mut command: Command) -> Self {
        terminal.attach_all(&mut command);
        Self(command.spawn().expect("it starts"))
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        // One that has ended already is no failure.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The invitation that a terminal shows.
pub(crate) fn invitation_on(terminal: &Terminal) -> String {
    terminal.wait_for("On the other device", 1);
    let shown = terminal.shown();
    let mut words = shown.split_whitespace();
    let text = words.find(|word| word.starts_with("POTLUCK:"));
    text.expect("it is shown as text, too").to_owned()
}

/// Uses an invitation, and does not wait for what comes of it.
fn begin_to_join(node: &Node, invitation: &str) -> Program {
    let command = node.command(["pair", "-", "--json", "--join"]);
    let (program, mut stdin) = Program::talking("joins", command);
    stdin.write_all(invitation.as_bytes()).expect("it reads");
    program
}

#[test]
fn commands_that_pair_on_one_node_answer_and_end_only_their_own() {
    let [laptop, kitchen, tablet] = unpaired(["laptop", "kitchen", "tablet"]);
    let terminal = Terminal::new();
    let asks = kitchen.command(["pair", "--name", "kitchen"]);
    let _asks = Asking::on(&terminal, asks);
    let mut joins = begin_to_join(&laptop, &invitation_on(&terminal));
    assert_eq!(joins.json()["proposed"]["name"], "kitchen");
    // The kitchen's owner thinks about it. Meanwhile another command is told that it has to wait.
    let other = tablet.invite();
    let refused = laptop.join(&other.text);
    let _ = refused.failure(1, &["another command on this device"]);
    // And another one lets the tablet in.
    let Invited { text, program } = laptop.invite();
    let _ = tablet.join(&text).success();
    let _ = program.end().success();
    // The first one has heard nothing of either, and has not ended.
    assert!(joins.runs());
    joins.signal("INT");
    let joins = joins.end();
    assert!(!joins.stdout.contains("paired"), "{joins:?}");
    assert!(!joins.stdout.contains("tablet"), "{joins:?}");
    other.program.signal("INT");
    let _ = other.program.end();
    assert!(member(&laptop.members(), "kitchen").is_none());
    assert!(member(&laptop.members(), "tablet").is_some());
}

#[test]
fn another_invitation_ends_the_earlier_one_and_stays_when_that_ends() {
    let [laptop, tablet] = unpaired(["laptop", "tablet"]);
    let earlier = laptop.invite();
    let Invited { text, program } = laptop.invite();
    let _ = earlier
        .program
        .end()
        .failure(1, &["cannot be used any more"]);
    let _ = tablet.join(&text).success();
    let _ = program.end().success();
}

#[test]
fn who_goes_with_a_stolen_device_is_listed_and_the_owner_asked() {
    let [laptop, kitchen, tablet] = unpaired(["laptop", "kitchen", "tablet"]);
    // The kitchen lets in the laptop, and the laptop the tablet.
    kitchen.pair_with(&laptop);
    laptop.pair_with(&tablet);
    let forget = ["forget", "kitchen", "--with-admitted"];
    let asked = [
        "With kitchen these leave the circle",
        "laptop (this device)",
        "tablet (",
        "--yes",
    ];
    let _ = laptop.potluck(&forget).failure(2, &asked);
    assert_eq!(laptop.members().as_array().map(Vec::len), Some(3));
    // Nobody goes with the tablet.
    let _ = laptop
        .potluck(&["forget", "tablet", "--with-admitted"])
        .success();
    let yes = [&forget[..], &["--yes"]].concat();
    let _ = laptop.potluck(&yes).success();
    assert!(member(&laptop.members(), "kitchen").is_none());
}
