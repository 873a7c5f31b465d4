//! Members that are revoked, leave, and are renamed.

use std::time::Duration;

use super::device::{Device, ask, devices, identity, measured, name, talk};
use super::finish;
use crate::circle::EntryError;
use crate::machine::{Choice, Event, Input, Output, Reach};
use crate::pairing::Address;
use crate::wire::{CircleDigest, CircleEntries, Control};
use crate::world::World;

const OFFERS: [(u64, u64); 4] = [(10, 500), (80, 2_000), (80, 1_500), (80, 1_000)];

fn is_revoked(event: &Event) -> bool {
    *event == Event::Revoked
}

#[test]
fn a_revocation_holds_at_once_and_on_others_as_they_hear() {
    let mut world = measured(&OFFERS);
    ask(&mut world, 0, 1, Choice::Best, 60);
    ask(&mut world, 1, 2, Choice::Alone, 60);
    world.pass(Duration::from_millis(200));
    assert_eq!(talk(&world, 0, 1).placements(), [[world.peer(1)]]);
    let (now, revoked) = (world.now, world.peer(1));
    world.nodes[3]
        .machine
        .revoke(now, revoked, Reach::Alone)
        .expect("a member");
    assert!(!world.nodes[3].machine.is_member(revoked));
    world.pass(Duration::from_millis(20));
    for node in [0, 2, 3] {
        assert!(!world.nodes[node].machine.is_member(revoked), "{node}");
        assert!(!world.are_connected(node, 1), "{node}");
        assert_eq!(world.nodes[node].stored, 1);
        assert!(world.nodes[node].whys()[0].contains("not in this device's circle"));
    }
    // It hears why, and computes for nobody any more; what it asks of itself goes on.
    let of_revoked = &world.nodes[1];
    assert_eq!(
        of_revoked
            .events
            .iter()
            .filter(|event| is_revoked(event))
            .count(),
        1
    );
    assert!(of_revoked.machine.is_idle() && of_revoked.machine.peers().next().is_some());
    assert!(!of_revoked.machine.is_member(world.peer(0)));
    finish(&mut world, 1, 2);
    // The session goes on without it.
    finish(&mut world, 0, 1);
    let found = talk(&world, 0, 1);
    assert_eq!(found.placements()[1..], [[world.peer(2)]]);
    // Nobody lets it in again.
    world.connect(0, 1);
    world.pass(Duration::from_secs(1));
    assert!(!world.are_connected(0, 1));
    let again = world.nodes[0].machine.revoke(now, revoked, Reach::Alone);
    assert_eq!(again, Err(EntryError::NotAMember));
}

#[test]
fn whose_requester_is_revoked_frees_its_stages() {
    let mut world = measured(&OFFERS);
    ask(&mut world, 0, 1, Choice::Best, 400);
    world.pass(Duration::from_millis(200));
    assert!(!world.nodes[1].machine.is_idle());
    let (now, revoked) = (world.now, world.peer(0));
    world.nodes[2]
        .machine
        .revoke(now, revoked, Reach::Alone)
        .expect("a member");
    world.pass(Duration::from_millis(20));
    assert!(world.nodes[1].machine.is_idle());
    world.pass(Duration::from_secs(3));
    assert!(talk(&world, 0, 1).waited().len() == 1);
}

#[test]
fn who_leaves_tells_the_others_and_is_not_told_what_it_did() {
    let mut world = measured(&OFFERS);
    let (now, me) = (world.now, world.peer(2));
    world.nodes[2]
        .machine
        .revoke(now, me, Reach::Alone)
        .expect("a member");
    world.pass(Duration::from_millis(20));
    assert!(!world.nodes[2].events.iter().any(is_revoked));
    for node in [0, 1, 3] {
        assert!(!world.nodes[node].machine.is_member(me), "{node}");
        assert!(world.are_connected(node, (node + 1) % 2));
    }
    assert!((0..4).all(|node| !world.are_connected(2, node)));
}

#[test]
fn a_name_is_heard_by_those_who_are_there_and_later_by_others() {
    let mut world = devices(&OFFERS);
    world.strike(crate::world::Fault::Cut(0, 1, true));
    world.pass(Duration::from_secs(1));
    let now = world.now;
    world.nodes[0]
        .machine
        .rename(now, &name(9))
        .expect("a member");
    world.strike(crate::world::Fault::Cut(0, 1, false));
    world.pass(Duration::from_secs(2));
    for node in 0..4 {
        let member = world.nodes[node].machine.circle().member(world.peer(0));
        assert_eq!(member.map(|member| &member.name), Some(&name(9)), "{node}");
    }
}

#[test]
fn members_hear_where_others_are_from_those_they_know() {
    let mut world = measured(&OFFERS[..3]);
    let address = |node: usize| {
        let text = format!("/ip4/10.0.0.{node}/tcp/4001");
        vec![Address::new(&text).expect("an address")]
    };
    let now = world.now;
    for node in 0..3 {
        let listening = Input::Listening(address(node));
        world.nodes[node].machine.handle_input(now, listening);
    }
    world.pass(Duration::from_millis(50));
    let known = |world: &World<Device>, node: usize, of: usize| {
        world.nodes[node].reached_at.get(&world.peer(of)).cloned()
    };
    assert_eq!(known(&world, 0, 1), Some(address(1)));
    // One that moves says so, and who comes later hears of those who were there.
    let part = |world: &mut World<Device>, a: usize, b: usize| {
        for (at, of) in [(a, b), (b, a)] {
            let (now, peer) = (world.now, world.peer(of));
            let gone = Input::Disconnected(peer);
            world.nodes[at].machine.handle_input(now, gone);
        }
    };
    part(&mut world, 2, 0);
    let moved = Input::Listening(address(9));
    world.nodes[2].machine.handle_input(world.now, moved);
    world.pass(Duration::from_millis(50));
    assert_eq!(known(&world, 0, 2), Some(address(9)), "by way of 1");
    world.nodes[0].reached_at.clear();
    part(&mut world, 0, 1);
    world.connect(0, 1);
    world.pass(Duration::from_millis(50));
    assert_eq!(known(&world, 0, 1), Some(address(1)));
    assert_eq!(known(&world, 0, 2), Some(address(9)));
    assert_eq!(known(&world, 0, 0), None, "its own");
}

#[test]
fn members_hear_who_came_and_by_whom_and_who_left() {
    let mut world = devices(&OFFERS[..3]);
    world.pass(Duration::from_secs(1));
    let (now, new) = (world.now, identity(7).peer_id());
    let mut circle = world.nodes[0].machine.circle().clone();
    circle.admit(&identity(1), new, &name(7)).expect("room");
    let batches = circle.batches_for(&world.nodes[1].machine.circle().digest());
    for entries in batches {
        let mut bytes = Vec::new();
        let message = Control::from(CircleEntries { entries });
        message.encode(&mut bytes).expect("short");
        let from = world.peer(0);
        let input = Input::ControlBytes(from, bytes);
        world.nodes[1].machine.handle_input(now, input);
    }
    world.pass(Duration::from_secs(1));
    for node in 1..3 {
        let joined = world.nodes[node]
            .events
            .iter()
            .find_map(|event| match event {
                Event::MemberJoined(member) => Some((member.peer, member.admitted_by)),
                _ => None,
            });
        assert_eq!(joined, Some((new, world.peer(1))), "{node}");
    }
    let now = world.now;
    let revoked = world.nodes[1].machine.revoke(now, new, Reach::Alone);
    revoked.expect("a member");
    world.pass(Duration::from_secs(1));
    for node in 1..3 {
        assert!(world.nodes[node].events.contains(&Event::MemberLeft(new)));
    }
}

/// What a machine says after it was told, up to the storing of its circle, and after that.
fn outputs(device: &mut Device, stores: bool) -> [Vec<Output>; 2] {
    let (mut before, mut after) = (Vec::new(), Vec::new());
    let mut changed = false;
    while let Some(output) = device.machine.poll_output() {
        if matches!(output, Output::CircleChanged) {
            changed = true;
            if !stores {
                device.machine.circle_not_stored();
            }
        } else if changed {
            after.push(output);
        } else {
            before.push(output);
        }
    }
    assert!(changed);
    [before, after]
}

#[test]
fn what_a_device_does_is_stored_before_anybody_hears_of_it_or_undone() {
    for stores in [true, false] {
        let mut world = devices(&OFFERS[..3]);
        world.pass(Duration::from_secs(1));
        let (now, other) = (world.now, world.peer(2));
        let device = &mut world.nodes[0];
        while device.machine.poll_output().is_some() {}
        let done = device.machine.revoke(now, other, Reach::Alone);
        done.expect("a member");
        let [before, after] = outputs(device, stores);
        assert!(before.is_empty(), "{before:?}");
        assert_eq!(after.is_empty(), !stores, "{after:?}");
        assert_eq!(device.machine.is_member(other), !stores);
        assert_eq!(
            device.machine.circle().member_count(),
            if stores { 2 } else { 3 }
        );
        // Another name, and a new circle.
        let done = device.machine.rename(now, &name(9));
        done.expect("a member");
        let [before, after] = outputs(device, stores);
        assert!(before.is_empty() && after.is_empty() != stores);
        let mine = device.machine.circle().member(identity(0).peer_id());
        assert_eq!(mine.map(|m| m.name == name(9)), Some(stores));
        let circle = device.machine.circle().id();
        device.machine.found_circle(now, [9; 16]);
        let _ = outputs(device, stores);
        assert_eq!(device.machine.circle().id() != circle, stores);
    }
}

#[test]
fn what_a_member_wrote_holds_even_where_it_cannot_be_stored() {
    let mut world = devices(&OFFERS[..3]);
    world.pass(Duration::from_secs(1));
    let (now, other, from) = (world.now, world.peer(2), world.peer(0));
    let mut circle = world.nodes[0].machine.circle().clone();
    circle.revoke(&identity(0), other).expect("a member");
    let device = &mut world.nodes[1];
    for entries in circle.batches_for(&device.machine.circle().digest()) {
        let mut bytes = Vec::new();
        let message = Control::from(CircleEntries { entries });
        message.encode(&mut bytes).expect("short");
        let input = Input::ControlBytes(from, bytes);
        device.machine.handle_input(now, input);
    }
    let [_, after] = outputs(device, false);
    assert!(!device.machine.is_member(other));
    let parts = |output: &Output| matches!(output, Output::Disconnect(peer) if *peer == other);
    assert!(after.iter().any(parts));
}

#[test]
fn a_log_that_is_too_new_to_read_is_told_and_nothing_is_placed_on_others() {
    let digest = CircleDigest {
        digest: vec![2, 1, 1],
    };
    // An entry's length, and a version to come.
    let mut newer = vec![0; 2 + 257];
    newer[..3].copy_from_slice(&[1, 1, 200]);
    let entries = CircleEntries { entries: newer };
    for message in [Control::from(digest), Control::from(entries)] {
        let mut world = measured(&OFFERS);
        let (now, newer) = (world.now, world.peer(3));
        let mut bytes = Vec::new();
        message.encode(&mut bytes).expect("within limits");
        for _ in 0..2 {
            let input = Input::ControlBytes(newer, bytes.clone());
            world.nodes[0].machine.handle_input(now, input);
        }
        world.pass(Duration::from_millis(100));
        let told = world.nodes[0].events.iter();
        let told = told.filter(|event| **event == Event::Outdated { told_by: newer });
        assert_eq!(told.count(), 1, "once");
        assert!(
            world.are_connected(0, 3),
            "it will hear more when it is updated"
        );
        // It does not fit alone.
        ask(&mut world, 0, 1, Choice::Best, 60);
        // Others leave it out.
        ask(&mut world, 1, 2, Choice::Best, 60);
        world.pass(Duration::from_secs(5));
        assert!(talk(&world, 0, 1).placements().is_empty());
        let why = talk(&world, 0, 1).waited()[0].to_owned();
        assert!(why.contains("update Potluck on this device"), "{why}");
        finish(&mut world, 1, 2);
    }
}
