//! Where a home's socket is, and where its node listens.

use std::fs;
use std::path::Path;

use potluck_protocol::pairing::Invitation;
use potluck_tests::circle::{Node, Program};

const LOOPBACK: [&str; 5] = [
    "--threads",
    "1",
    "--no-mdns",
    "--listen",
    "/ip4/127.0.0.1/tcp/0",
];

/// A program of a home that is written so, with temporary files there.
fn program(node: &Node<'_>, args: &[&str], home: &Path, temporary: &Path) -> Program {
    let mut command = node.command(args);
    command.env("POTLUCK_HOME", home).env("TMPDIR", temporary);
    Program::start(args[0], command)
}

#[test]
fn a_node_is_found_by_whatever_path_its_home_has() {
    let node = Node::new("laptop");
    let folder = node.home().parent().expect("a folder").to_owned();
    let relative = Path::new(&"long".repeat(30)).join("home");
    let home = folder.join(&relative);
    fs::create_dir_all(&home).expect("writable");
    let measured = "measurements.json";
    fs::copy(node.home().join(measured), home.join(measured)).expect("it was measured");
    let link = folder.join("link");
    std::os::unix::fs::symlink(&home, &link).expect("made");
    let temporary = ["one", "other"].map(|name| folder.join(name));
    for folder in &temporary {
        fs::create_dir(folder).expect("made");
    }

    let args = [&["up", "--json"][..], &LOOPBACK].concat();
    let mut up = program(&node, &args, &home, &temporary[0]);
    let listening = up.json()["listening"][0].clone();
    let listening = listening.as_str().expect("an address");
    // Commands run in `folder`.
    for path in [&home, &relative, &link, Path::new("link")] {
        let mut pair = program(&node, &["pair", "--admit", "--json"], path, &temporary[1]);
        let text = pair.json()["invitation"].clone();
        let invitation: Invitation = text.as_str().expect("text").parse().expect("a real one");
        let address = invitation.addresses()[0].as_str();
        assert!(
            listening.starts_with(address),
            "{}: another node, at {address}",
            path.display()
        );
    }
    for folder in &temporary {
        assert_eq!(fs::read_dir(folder).expect("there").count(), 0);
    }
}

#[test]
fn a_place_where_somebody_listens_is_refused_and_a_refusal_names_the_reason() {
    let mut first = Node::new("laptop");
    first.up();
    let address = first.addresses()[0].clone();
    let place = address.split("/p2p/").next().expect("an address");
    let second = Node::new("kitchen");
    for args in [
        &["up", "--threads", "1", "--no-mdns", "--listen", place][..],
        &["pair", "--admit", "--no-mdns", "--listen", place],
    ] {
        let refused = second.potluck(args);
        let _ = refused.failure(1, &["cannot listen on", place, "another program listens"]);
    }
    // An address of documentation, which no device has.
    let nowhere = "/ip4/203.0.113.1/tcp/4001";
    let refused = second.potluck(&["pair", "--admit", "--no-mdns", "--listen", nowhere]);
    let refused = refused.failure(1, &["cannot listen on", nowhere]);
    let (_, reason) = refused.stderr.split_once(nowhere).expect("it is named");
    assert!(reason.trim().len() > ": ".len(), "{reason:?}");
    let other = "/ip4/127.0.0.1/udp/4001";
    let refused = second.potluck(&["pair", "--admit", "--no-mdns", "--listen", other]);
    let _ = refused.failure(1, &[other, "/ip4/0.0.0.0/tcp/4001"]);
}
