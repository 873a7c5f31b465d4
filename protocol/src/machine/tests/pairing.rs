//! Pairing through machines, and who hears of it.

use std::time::Duration;

use super::device::{Device, Devices, founder, identity, name};
use crate::machine::{Event, Input, Output};
use crate::pairing::{self, BeginError, Invitation, Refusal, Secret, Wish};
use crate::world::World;

const UNIX_S: u64 = 1_800_000_000;

/// Devices that each founded a circle.
fn strangers(nodes: usize) -> Devices {
    let node = |node: usize| (identity(node).peer_id(), Device::new(node, founder(node)));
    World::new((0..nodes).map(node).collect(), true)
}

fn invitation(world: &Devices, node: usize) -> Invitation {
    let secret = Secret::from_random([9; 16]);
    Invitation::new(world.peer(node), secret, UNIX_S + 600, vec![]).expect("few addresses")
}

fn join(world: &mut Devices, node: usize, to: usize, by: &Invitation) -> Result<(), BeginError> {
    let (now, remote) = (world.now, world.peer(to));
    let device = &mut world.nodes[node];
    let ephemeral = device.ephemeral();
    let wish = Wish::Asks;
    device.machine.join(now, by, remote, wish, ephemeral)?;
    world.open_pairing(node, to);
    Ok(())
}

/// The second joins by an invitation of the first; then they are connected.
fn pair(world: &mut Devices, inviter: usize, joiner: usize) {
    let invitation = invitation(world, inviter);
    let now = world.now;
    let machine = &mut world.nodes[inviter].machine;
    machine
        .invite(now, UNIX_S, invitation.clone(), Wish::Asks)
        .expect("its own");
    assert!(machine.is_inviting());
    join(world, joiner, inviter, &invitation).expect("in time");
    world.pass(Duration::from_millis(100));
    assert!(!world.nodes[inviter].machine.is_inviting());
    world.connect(inviter, joiner);
    world.pass(Duration::from_millis(100));
}

fn pairings(world: &Devices, node: usize) -> Vec<&pairing::Event> {
    let events = world.nodes[node].events.iter();
    let pairings = events.filter_map(|event| match event {
        Event::Pairing(event) => Some(event),
        _ => None,
    });
    pairings.collect()
}

#[test]
fn who_pairs_with_one_member_is_known_to_all() {
    let mut world = strangers(4);
    for (inviter, joiner) in [(0, 1), (1, 2), (0, 3)] {
        pair(&mut world, inviter, joiner);
    }
    let members = |node: usize| world.nodes[node].machine.circle().member_count();
    assert_eq!([0, 1, 2, 3].map(members), [4; 4]);
    for (node, other) in [(0, 1), (1, 2), (0, 3)] {
        let paired = |peer: usize| pairing::Event::Paired {
            peer: world.peer(peer),
            name: name(peer),
        };
        assert!(pairings(&world, node).contains(&&paired(other)));
        assert!(pairings(&world, other).contains(&&paired(node)));
    }
    // The first heard of the third by gossip; each change was to be stored.
    assert!(world.nodes[0].machine.is_member(world.peer(2)));
    assert!(world.nodes[0].stored >= 3 && world.nodes[2].stored >= 2);
    // Those who never paired with each other talk, too.
    world.connect(2, 3);
    world.pass(Duration::from_secs(1));
    let greeted = |event: &Event| {
        matches!(event, Event::PeerConnected { peer, software }
            if *peer == world.peer(3) && software == "potluck/tests")
    };
    assert!(world.nodes[2].events.iter().any(greeted));
}

#[test]
fn nobody_pairs_where_no_invitation_is_shown_or_with_a_wrong_one() {
    let mut world = strangers(3);
    let right = invitation(&world, 0);
    join(&mut world, 1, 0, &right).expect("it looks like one");
    // One at a time.
    let busy = join(&mut world, 1, 0, &right);
    assert_eq!(busy, Err(Refusal::Busy.into()));
    world.pass(Duration::from_millis(100));
    let failed = |why| pairing::Event::Failed {
        peer: world.peer(0),
        why,
    };
    assert_eq!(pairings(&world, 1), [&failed(Refusal::NotOpen)]);

    let now = world.now;
    let machine = &mut world.nodes[0].machine;
    machine
        .invite(now, UNIX_S, right, Wish::Asks)
        .expect("its own");
    let secret = Secret::from_random([8; 16]);
    let wrong = Invitation::new(world.peer(0), secret, UNIX_S + 600, vec![]).expect("few");
    join(&mut world, 2, 0, &wrong).expect("it looks like one");
    world.pass(Duration::from_millis(100));
    let failed = |why| pairing::Event::Failed {
        peer: world.peer(0),
        why,
    };
    assert_eq!(pairings(&world, 2), [&failed(Refusal::WrongSecret)]);
    // The invitation is still good for who has it.
    assert!(
        world.nodes[0].machine.is_inviting(),
        "{:?}",
        pairings(&world, 0)
    );
    world.nodes[0].machine.stop_inviting(now);
    world.pass(Duration::from_millis(10));
    assert!(!world.nodes[0].machine.is_inviting());
    let over = pairing::Event::Over {
        why: Refusal::Cancelled,
    };
    assert_eq!(pairings(&world, 0).last(), Some(&&over));
    assert!((0..3).all(|node| world.nodes[node].machine.circle().member_count() == 1));
}

#[test]
fn an_invitation_ends_in_time_and_a_newer_one_takes_its_place() {
    let mut world = strangers(2);
    let first = invitation(&world, 0);
    let machine = &mut world.nodes[0].machine;
    let (now, later) = (Duration::ZERO, Duration::from_secs(300));
    for _ in 0..2 {
        let invited = machine.invite(now, UNIX_S, first.clone(), Wish::Asks);
        invited.expect("its own");
    }
    assert!(machine.is_inviting());
    // A stream that is opened and says nothing is closed.
    world.open_pairing(1, 0);
    world.pass(later);
    assert!(
        world.nodes[0].machine.is_inviting(),
        "{:?}",
        pairings(&world, 0)
    );
    world.pass(later + Duration::from_secs(1));
    assert!(!world.nodes[0].machine.is_inviting());
    let ends: Vec<_> = pairings(&world, 0)
        .into_iter()
        .filter_map(|event| match event {
            pairing::Event::Over { why } => Some(*why),
            _ => None,
        })
        .collect();
    assert_eq!(ends, [Refusal::Cancelled, Refusal::Expired]);
}

/// A stranger's stream with the first device, on which it says this.
fn stranger(world: &mut Devices, node: usize, says: &[u8], closes: bool) {
    let peer = world.peer(node);
    let now = world.now;
    let machine = &mut world.nodes[0].machine;
    let ephemeral = [node as u8; 32];
    machine.handle_input(now, Input::PairingOpened { peer, ephemeral });
    if !says.is_empty() {
        machine.handle_input(now, Input::PairingBytes(peer, says.to_vec()));
    }
    if closes {
        machine.handle_input(now, Input::PairingClosed(peer));
    }
}

#[test]
fn strangers_that_say_nothing_end_no_invitation_and_keep_nobody_from_pairing() {
    let mut world = strangers(60);
    let invitation = invitation(&world, 0);
    let now = world.now;
    let machine = &mut world.nodes[0].machine;
    let invited = machine.invite(now, UNIX_S, invitation.clone(), Wish::Asks);
    invited.expect("its own");
    // Empty streams, beginnings, refusals and nonsense, many more than there are tries and places.
    for node in 2..60 {
        let says: [&[u8]; 4] = [&[], &[40, 0, 0, 1], &[2, 0, 1, 9], &[255, 255, 7]];
        stranger(&mut world, node, says[node % 4], node % 8 < 4);
    }
    assert!(world.nodes[0].machine.is_inviting());
    // Those that stay silent hold places.
    join(&mut world, 1, 0, &invitation).expect("it is one");
    world.pass(Duration::from_millis(100));
    assert!(!world.nodes[0].machine.is_inviting());
    let circle = world.nodes[0].machine.circle();
    assert!(circle.contains(world.peer(1)));
}

#[test]
fn who_says_nothing_whole_has_two_seconds() {
    let mut world = strangers(2);
    let invitation = invitation(&world, 0);
    let now = world.now;
    let machine = &mut world.nodes[0].machine;
    let invited = machine.invite(now, UNIX_S, invitation, Wish::Asks);
    invited.expect("its own");
    stranger(&mut world, 1, &[40, 0, 0, 1], false);
    let machine = &mut world.nodes[0].machine;
    let due = machine.poll_timeout().expect("it waits");
    assert_eq!(due, now + pairing::FIRST_WITHIN);
    while machine.poll_output().is_some() {}
    machine.handle_timeout(due);
    let closed = std::iter::from_fn(|| machine.poll_output())
        .filter(|output| matches!(output, Output::ClosePairing(_)));
    assert_eq!(closed.count(), 1);
    assert!(machine.is_inviting());
    assert!(
        machine
            .poll_timeout()
            .is_none_or(|next| next > due + pairing::FIRST_WITHIN)
    );
}

/// How far ahead the other device's clock is, as a device's owner was shown.
fn shown_ahead_s(world: &Devices, node: usize) -> Option<i64> {
    let proposed = |event: &&pairing::Event| match event {
        pairing::Event::Proposed(proposal) => Some(proposal.clock),
        _ => None,
    };
    let mut proposed = pairings(world, node)
        .into_iter()
        .filter_map(|event| proposed(&event));
    let clock = proposed.next().expect("it was asked");
    clock.map(|clock| clock.ahead_s)
}

#[test]
fn an_invitation_of_a_device_whose_clock_is_wrong_is_good_and_both_owners_are_told() {
    // By the joiner's clock the first expired an hour ago, and the second was made in the future.
    for ahead_s in [-4_200, 4_200] {
        let mut world = strangers(2);
        let secret = Secret::from_random([9; 16]);
        let inviters = UNIX_S.saturating_add_signed(ahead_s);
        let invitation = Invitation::new(world.peer(0), secret, inviters + 600, vec![]);
        let invitation = invitation.expect("few addresses");
        let now = world.now;
        let machine = &mut world.nodes[0].machine;
        let invited = machine.invite(now, inviters, invitation.clone(), Wish::Asks);
        invited.expect("its own");
        let told = Input::Clock { unix_s: UNIX_S };
        world.nodes[1].machine.handle_input(now, told);
        // Time passes that neither is told of before the stream opens.
        world.pass(Duration::from_secs(300));
        join(&mut world, 1, 0, &invitation).expect("the inviter decides");
        world.pass(Duration::from_millis(100));
        assert!(world.nodes[0].machine.circle().contains(world.peer(1)));
        assert_eq!(shown_ahead_s(&world, 0), Some(-ahead_s));
        assert_eq!(shown_ahead_s(&world, 1), Some(ahead_s));
    }
}
