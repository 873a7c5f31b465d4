//! Devices that were ended and start again, where nothing tells them of each other.

use std::net::TcpListener;

use potluck_tests::circle::Circle;

use crate::{Model, circle};

/// The port of an address such as `/ip4/127.0.0.1/tcp/4001/p2p/…`.
fn port(address: &str) -> u16 {
    let mut parts = address.split('/').skip_while(|part| *part != "tcp");
    let port = parts.nth(1).expect("an address of TCP");
    port.parse().expect("a port")
}

fn port_of(circle: &Circle<'_>, name: &str) -> u16 {
    port(&circle.node(name).addresses()[0])
}

#[test]
fn two_that_were_both_ended_meet_again_without_multicast() {
    let mut circle = circle(&["laptop", "kitchen"], &Model::quick().path);
    let names = ["laptop", "kitchen"];
    let before = names.map(|name| port_of(&circle, name));
    for name in names {
        let _ = circle.node_mut(name).end_by("INT");
    }
    for name in names {
        circle.node_mut(name).up();
    }
    assert_eq!(names.map(|name| port_of(&circle, name)), before);
    circle.await_connected();

    // Where another has taken the port, it says so once, and goes to the other that is at its own.
    let _ = circle.node_mut("kitchen").end_by("INT");
    let other = TcpListener::bind(("127.0.0.1", before[1])).expect("free again");
    let kitchen = circle.node_mut("kitchen");
    kitchen.up();
    let _ = kitchen.program_mut().told("another program uses the port");
    assert_ne!(port_of(&circle, "kitchen"), before[1]);
    circle.await_connected();
    drop(other);
}
