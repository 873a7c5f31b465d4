//! Pairing with a device that one's own log still lists.

use potluck_tests::circle::{Invited, Node, member};

/// Two devices that are paired, and neither of which runs.
fn paired() -> [Node<'static>; 2] {
    let mut nodes = ["laptop", "kitchen"].map(Node::new);
    nodes.iter_mut().for_each(Node::up);
    let [laptop, kitchen] = &mut nodes;
    laptop.pair_with(kitchen);
    for node in [laptop, kitchen] {
        let _ = node.end_by("INT");
    }
    nodes
}

/// Without a node that runs.
const OWN_NODE: [&str; 3] = ["--no-mdns", "--listen", "/ip4/127.0.0.1/tcp/0"];

/// Pairs by commands that have nodes of their own where none runs.
fn pair(inviter: &Node<'_>, way: &str, joiner: &Node<'_>, other_way: &str) {
    let invites = [&["pair", "--json", way][..], &OWN_NODE].concat();
    let invites = if inviter.is_up() {
        &invites[..3]
    } else {
        &invites
    };
    let mut program = inviter.start(invites);
    let text = program.json()["invitation"].clone();
    let text = text.as_str().expect("text").to_owned();
    let Invited { text, program } = Invited { text, program };
    let joins = [&["pair", "-", "--json", other_way][..], &OWN_NODE].concat();
    let joins = if joiner.is_up() { &joins[..4] } else { &joins };
    let output = potluck_tests::run(joiner.command(joins), text.as_bytes()).success();
    assert_eq!(output.last_json()["paired"]["name"], inviter.name());
    let _ = program.end().success();
    for (node, other) in [(inviter, joiner), (joiner, inviter)] {
        assert!(member(&node.members(), other.name()).is_some());
    }
}

#[test]
fn members_pair_again_whichever_of_them_runs_and_wherever_they_are_now() {
    let [mut laptop, mut kitchen] = paired();
    // Neither is where the other has it noted: each start takes another port.
    pair(&laptop, "--admit", &kitchen, "--join");
    laptop.up();
    pair(&laptop, "--admit", &kitchen, "--join");
    pair(&kitchen, "--admit", &laptop, "--join");
    kitchen.up();
    pair(&laptop, "--admit", &kitchen, "--join");
}

#[test]
fn a_device_pairs_with_one_that_it_still_lists_and_that_has_begun_a_new_circle() {
    for runs in [false, true] {
        let [mut laptop, kitchen] = paired();
        let _ = laptop.potluck(&["circle", "new", "--yes"]).success();
        if runs {
            laptop.up();
        }
        pair(&laptop, "--join", &kitchen, "--admit");
    }
    // The one that is still listed reads the other's invitation.
    let [laptop, kitchen] = paired();
    let _ = laptop.potluck(&["circle", "new", "--yes"]).success();
    pair(&kitchen, "--admit", &laptop, "--join");
}
