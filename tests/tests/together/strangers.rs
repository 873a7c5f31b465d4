//! Nobody but paired devices: who was never paired, who is not any more, and invitations that are
//! not, not yet or no longer good.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use potluck_protocol::PeerId;
use potluck_protocol::pairing::{Address, Invitation, Secret};
use potluck_tests::Output;
use potluck_tests::attacker::Attacker;
use potluck_tests::circle::{Answer, Invited, Node, member};

use crate::{Model, SAMPLED, STEADY_TOKENS, alone, asked, circle};

/// Nodes that know nothing of each other.
fn unpaired<const N: usize>(names: [&str; N]) -> [Node<'static>; N] {
    names.map(|name| {
        let mut node = Node::new(name).with_model(&Model::quick().path);
        node.up();
        node
    })
}

/// An invitation as a guess would be: all but its secret is right.
fn guessed(text: &str) -> String {
    let real: Invitation = text.parse().expect("an invitation");
    let secret = Secret::from_random([7; 16]);
    let addresses = real.addresses().to_vec();
    let guess = Invitation::new(real.peer(), secret, real.expires_unix_s(), addresses);
    guess.expect("as many addresses").to_string()
}

/// How a command is refused that asks a device that is none of the circle's.
fn is_refused(output: Output) {
    let output = output.failure(1, &[]);
    let said = output.json();
    assert!(
        said["error"].is_object() && said["text"].is_null(),
        "{output:?}"
    );
}

#[test]
fn a_stranger_who_knows_the_way_gets_no_layer_computed() {
    let model = Model::quick();
    let circle = circle(&["laptop", "kitchen"], &model.path);
    let kitchen = circle.node("kitchen");
    let mut stranger = Node::new("stranger").with_model(&model.path);
    stranger = stranger.with(&["--peer", &kitchen.addresses()[0]]);
    stranger.up();
    let question = model.question(20, &SAMPLED);
    let by_id = format!("{}:0..12", kitchen.peer_id());
    for placement in ["kitchen:0..12", &by_id] {
        is_refused(
            stranger
                .ask(&asked(&question, &["--placement", placement]))
                .end(),
        );
    }
    let answer = stranger.answer(&asked(&question, &["--with-peers"]));
    assert_eq!(
        answer.stages().len(),
        1,
        "it is alone: {:?}",
        answer.stages()
    );
    assert!(member(&kitchen.members(), "stranger").is_none());
}

#[test]
fn whoever_answers_where_a_member_was_is_not_taken_for_it() {
    let model = Model::quick();
    let mut circle = circle(&["laptop", "kitchen"], &model.path);
    let kitchen = &circle.node("kitchen").addresses()[0];
    let place = kitchen.split("/p2p/").next().expect("an address");
    let mut stranger = Node::new("stranger").with_model(&model.path);
    stranger = stranger.with(&["--listen", place]);
    circle.node_mut("kitchen").kill();
    stranger.up();
    let laptop = circle.node("laptop");
    let question = model.question(5, &SAMPLED);
    let mut run = laptop.ask(&asked(&question, &["--placement", "kitchen:0..12"]));
    let _ = run.told("waiting: ");
    thread::sleep(Duration::from_secs(2));
    assert!(run.runs(), "nobody answers it");
    laptop.await_members("the kitchen is away", |members| {
        member(members, "kitchen").is_some_and(|kitchen| kitchen["connected"] == false)
    });
    drop(stranger);
    circle.node_mut("kitchen").up();
    let answer = Answer::of(run.end());
    assert_eq!(answer.tokens, alone(&question).tokens);
}

#[test]
fn a_forgotten_device_is_refused_by_all_and_goes_on_alone() {
    let model = Model::steady();
    let circle = circle(&["laptop", "kitchen", "tablet"], &model.path);
    let question = model.question(STEADY_TOKENS, &SAMPLED);
    let tablet = circle.node("tablet");
    let mut run = tablet.ask(&asked(
        &question,
        &["--placement", "kitchen:0..8,laptop:8..16"],
    ));
    let _ = run.told("predicted");
    let _ = circle
        .node("laptop")
        .potluck(&["forget", "tablet"])
        .success();
    for name in ["laptop", "kitchen"] {
        let gone = "the tablet is no member";
        let without = |members: &_| member(members, "tablet").is_none();
        circle.node(name).await_members(gone, without);
    }
    let answer = Answer::of(run.end());
    println!("forgotten in mid-answer: {:?}", answer.recoveries);
    assert_eq!(answer.tokens, alone(&question).tokens);
    assert_eq!(answer.stages(), ["tablet:0..16"]);

    tablet.await_members("it has heard of it", |members| {
        member(members, "tablet").is_none()
    });
    let few = model.question(5, &SAMPLED);
    let by_id = format!("{}:0..16", circle.node("kitchen").peer_id());
    for placement in ["kitchen:0..16", "laptop:0..16", &by_id] {
        let refused = tablet.ask(&asked(&few, &["--placement", placement]));
        let _ = refused.end().failure(1, &["removed from its circle"]);
    }
    let who = ["--placement", "self:0..8,kitchen:8..16"];
    let answer = circle.node("laptop").answer(&asked(&few, &who));
    assert_eq!(answer.stages().len(), 2, "the others go on");
}

#[test]
fn a_device_that_slept_when_it_was_forgotten_is_refused_when_it_wakes() {
    let model = Model::quick();
    let mut circle = circle(&["laptop", "kitchen", "tablet"], &model.path);
    circle.node_mut("tablet").kill();
    let _ = circle
        .node("laptop")
        .potluck(&["forget", "tablet"])
        .success();
    circle.node_mut("tablet").up();
    // Nobody lets it in to tell it.
    let few = model.question(5, &SAMPLED);
    let tablet = circle.node("tablet");
    let mut run = tablet.ask(&asked(&few, &["--placement", "kitchen:0..12"]));
    let _ = run.told("waiting: ");
    let who = ["--placement", "self:0..6,kitchen:6..12"];
    let answer = circle.node("laptop").answer(&asked(&few, &who));
    assert_eq!(answer.stages().len(), 2, "the others go on");
    assert!(run.runs(), "it waits in vain");
}

#[test]
fn an_invitation_is_good_once() {
    let [laptop, kitchen, tablet] = unpaired(["laptop", "kitchen", "tablet"]);
    let used = laptop.invite();
    let _ = kitchen.join(&used.text).success();
    let _ = used.program.end().success();
    is_refused(tablet.join(&used.text));
    // Nor while another is shown.
    let shown = laptop.invite();
    let _ = tablet.join(&used.text).failure(1, &["does not fit"]);
    let _ = tablet.join(&shown.text).success();
    let _ = shown.program.end().success();
    for node in [&laptop, &kitchen, &tablet] {
        let all = |members: &_| {
            ["laptop", "kitchen", "tablet"]
                .iter()
                .all(|name| member(members, name).is_some())
        };
        node.await_members("all three are members", all);
    }
}

#[test]
fn three_guesses_burn_an_invitation() {
    let [laptop, kitchen] = unpaired(["laptop", "kitchen"]);
    let Invited { text, mut program } = laptop.invite();
    let guess = guessed(&text);
    for _ in 0..3 {
        let _ = kitchen.join(&guess).failure(1, &["does not fit"]);
        let _ = program.told("tried and failed");
    }
    let _ = program.end().failure(1, &["three failed tries"]);
    is_refused(kitchen.join(&text));
    assert_eq!(laptop.members().as_array().map(Vec::len), Some(1));
}

#[test]
fn an_invitation_that_was_withdrawn_or_damaged_is_refused() {
    let [laptop, kitchen] = unpaired(["laptop", "kitchen"]);
    let Invited { text, program } = laptop.invite();
    let _ = laptop.join(&text).failure(1, &["own"]);
    let damaged = text.replacen(':', ":A", 1);
    let _ = kitchen.join(&damaged).failure(1, &["invitation"]);
    program.signal("INT");
    assert_eq!(program.end().code, Some(130));
    is_refused(kitchen.join(&text));
    assert_eq!(laptop.members().as_array().map(Vec::len), Some(1));
}

#[test]
#[ignore = "waits a minute, the shortest time an invitation can have"]
fn an_invitation_that_expired_is_refused() {
    let [laptop, kitchen] = unpaired(["laptop", "kitchen"]);
    let mut inviting = laptop.start(&["pair", "--json", "--admit", "--minutes", "1"]);
    let text = inviting.json()["invitation"].clone();
    thread::sleep(Duration::from_secs(61));
    let joined = kitchen.join(text.as_str().expect("text"));
    let _ = joined.failure(1, &["expired"]);
}

/// He has seen the screen, and gives the joining device an invitation to himself with the secret that
/// was on it; what each of the two says he hands to the other.
#[test]
fn a_man_in_the_middle_who_relays_pairs_nobody() {
    let [laptop, phone] = unpaired(["laptop", "phone"]);
    let invited = laptop.invite();
    let real: Invitation = invited.text.parse().expect("an invitation");
    let between = Attacker::new([66; 32]);
    let peer = PeerId::from_multihash(&between.peer_id().to_bytes()).expect("an Ed25519 key");
    let (told, address) = mpsc::channel();
    let laptops = laptop.addresses()[0].clone();
    let relayed = thread::spawn(move || {
        between.relay_pairing(&laptops, |address| {
            told.send(address).expect("the test waits");
        })
    });
    let address = address.recv().expect("it listens").to_string();
    let forged = Invitation::new(
        peer,
        *real.secret(),
        real.expires_unix_s(),
        vec![Address::new(&address).expect("short")],
    );
    let forged = forged.expect("one address").to_string();
    let output = phone.join(&forged).failure(1, &[]);
    println!("the phone: {}", output.stderr);
    let seen = relayed.join().expect("it ends");
    println!("bytes that were relayed: {seen:?}");
    assert!(seen.0 > 0 && seen.1 > 0, "both talked through it: {seen:?}");
    for (node, other) in [(&laptop, "phone"), (&phone, "laptop")] {
        assert!(member(&node.members(), other).is_none());
    }
    // What it was for still works.
    invited.program.signal("INT");
    assert_eq!(invited.program.end().code, Some(130));
    laptop.pair_with(&phone);
}
