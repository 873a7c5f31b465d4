//! Two machines that pair over bytes in memory.

mod clocks;
mod confirmed;
mod one_circle;
mod refused;

use std::time::Duration;

use super::*;
use crate::circle::{Circle, Identity};

const START_UNIX_S: u64 = 1_800_000_000;

fn name(name: &str) -> DeviceName {
    DeviceName::new(name).expect("a name")
}

struct Device {
    identity: Identity,
    name: DeviceName,
    circle: Circle,
    wish: Wish,
    /// What its owner says when asked.
    agrees: bool,
    /// What its owner was asked.
    asked: Vec<Proposal>,
    /// What its clock shows.
    unix_s: Option<u64>,
}

impl Device {
    fn new(seed: u8, called: &str) -> Self {
        let identity = Identity::from_seed(&[seed; 32]);
        let circle = Circle::found(&identity, &name(called), [seed; 16]);
        Self {
            identity,
            name: name(called),
            circle,
            wish: Wish::Asks,
            agrees: true,
            asked: Vec::new(),
            unix_s: Some(START_UNIX_S),
        }
    }

    fn peer(&self) -> PeerId {
        self.identity.peer_id()
    }

    fn local(&mut self) -> Local<'_> {
        Local {
            identity: &self.identity,
            circle: &mut self.circle,
            unix_s: self.unix_s,
        }
    }

    fn invite(&mut self) -> Inviter {
        let secret = Secret::from_random([9; 16]);
        let address = Address::new("/ip4/192.168.1.23/tcp/40123").expect("an address");
        let opened = self.unix_s.unwrap_or(START_UNIX_S);
        let invitation = Invitation::new(self.peer(), secret, opened + 600, vec![address]);
        let name = (self.name.clone(), self.wish);
        let invitation = invitation.expect("few addresses");
        Inviter::open(Duration::ZERO, opened, invitation, name, &self.local())
            .expect("its own and in time")
    }

    fn join(&mut self, invitation: &Invitation, key: u8) -> Joiner {
        let (now, remote) = (Duration::ZERO, invitation.peer());
        let (name, wish) = (self.name.clone(), self.wish);
        let local = self.local();
        Joiner::begin(now, invitation, remote, (&name, wish), [key; 32], &local).expect("in time")
    }
}

/// Everything a machine has to say now.
#[derive(Default)]
struct Said {
    bytes: Vec<u8>,
    closed: bool,
    events: Vec<Event>,
}

fn said(mut poll: impl FnMut() -> Option<Output>) -> Said {
    let mut said = Said::default();
    while let Some(output) = poll() {
        match output {
            Output::Send(bytes) => said.bytes.extend(bytes),
            Output::Close => said.closed = true,
            Output::Event(event) => said.events.push(event),
        }
    }
    said
}

/// Notes what an owner is asked; whether they were.
fn ask(device: &mut Device, events: &mut Vec<Event>) -> bool {
    let before = device.asked.len();
    for event in std::mem::take(events) {
        match event {
            Event::Proposed(proposal) => device.asked.push(*proposal),
            other => events.push(other),
        }
    }
    device.asked.len() > before
}

/// Carries bytes, in pieces of `cut`, and has owners answer, until nobody has anything left; gives
/// each side's events, but for what owners are asked.
fn run(
    inviter: (&mut Inviter, &mut Device),
    joiner: (&mut Joiner, &mut Device),
    cut: usize,
) -> [Vec<Event>; 2] {
    let ((inviter, at_inviter), (joiner, at_joiner)) = (inviter, joiner);
    let now = Duration::from_secs(1);
    let mut events = [Vec::new(), Vec::new()];
    loop {
        let mut from_joiner = said(|| joiner.poll_output());
        for part in from_joiner.bytes.chunks(cut) {
            inviter.handle_bytes(now, part, &mut at_inviter.local());
        }
        let mut from_inviter = said(|| inviter.poll_output());
        for part in from_inviter.bytes.chunks(cut) {
            joiner.handle_bytes(now, part, &mut at_joiner.local());
        }
        if ask(at_inviter, &mut from_inviter.events) {
            inviter.answer(now, at_inviter.agrees);
            continue_with(&mut events, &mut from_inviter, &mut from_joiner);
            continue;
        }
        if ask(at_joiner, &mut from_joiner.events) {
            let agrees = at_joiner.agrees;
            joiner.answer(now, agrees, &mut at_joiner.local());
            continue_with(&mut events, &mut from_inviter, &mut from_joiner);
            continue;
        }
        let is_quiet = from_joiner.bytes.is_empty() && from_inviter.bytes.is_empty();
        events[0].extend(from_inviter.events);
        events[1].extend(from_joiner.events);
        if is_quiet {
            return events;
        }
    }
}

fn continue_with(events: &mut [Vec<Event>; 2], inviter: &mut Said, joiner: &mut Said) {
    events[0].append(&mut inviter.events);
    events[1].append(&mut joiner.events);
}

/// Pairs the two with a fresh invitation.
fn pair(inviter: &mut Device, joiner: &mut Device, cut: usize) -> [Vec<Event>; 2] {
    let mut invites = inviter.invite();
    let text = invites.invitation().to_string();
    let mut joins = joiner.join(&text.parse().expect("an invitation"), 2);
    invites
        .begin(Duration::ZERO, joiner.peer(), [1; 32])
        .expect("open");
    let events = run((&mut invites, inviter), (&mut joins, joiner), cut);
    assert!(joins.is_over());
    events
}

fn assert_in_one_circle(devices: &[&Device]) {
    for one in devices {
        assert_eq!(one.circle.id(), devices[0].circle.id());
        assert_eq!(one.circle.member_count(), devices.len());
        assert!(
            devices
                .iter()
                .all(|other| one.circle.contains(other.peer()))
        );
    }
}

fn paired(device: &Device) -> Event {
    Event::Paired {
        peer: device.peer(),
        name: device.name.clone(),
    }
}

fn over(why: Refusal) -> Event {
    Event::Over { why }
}

#[test]
fn two_devices_pair_and_learn_each_others_names() {
    for cut in [1, 7, 100_000] {
        let (mut a, mut b) = (Device::new(1, "kitchen"), Device::new(2, "tablet"));
        let [at_a, at_b] = pair(&mut a, &mut b, cut);
        assert_eq!(at_a, [paired(&b), over(Refusal::Used)]);
        assert_eq!(at_b, [paired(&a)]);
        assert_in_one_circle(&[&a, &b]);
        let member = a.circle.member(b.peer()).expect("a member");
        assert_eq!(
            (member.name.as_str(), member.admitted_by),
            ("tablet", a.peer())
        );
    }
}

#[test]
fn who_pairs_with_a_member_is_in_the_whole_circle() {
    let mut devices = [1, 2, 3, 4].map(|seed| Device::new(seed, "device"));
    let [a, b, c, d] = &mut devices;
    pair(a, b, 1000);
    // A member invites; a member reads the invitation of one who is alone.
    pair(b, c, 1000);
    let [at_d, at_c] = pair(d, c, 1000);
    assert_eq!(at_d, [paired(c), over(Refusal::Used)]);
    assert_eq!(at_c, [paired(d)]);
    for from in [2, 3] {
        let log = devices[from].circle.to_log();
        for device in &mut devices {
            device.circle.merge_log(&log).expect("a log");
        }
    }
    let [a, b, c, d] = &devices;
    assert_in_one_circle(&[a, b, c, d]);
}

#[test]
fn two_circles_are_not_mixed() {
    let mut devices = [1, 2, 3, 4].map(|seed| Device::new(seed, "device"));
    let [a, b, c, d] = &mut devices;
    pair(a, b, 1000);
    pair(c, d, 1000);
    let [at_b, at_c] = pair(b, c, 1000);
    let failed = |device: &Device| Event::Failed {
        peer: device.peer(),
        why: Refusal::TwoCircles,
    };
    assert_eq!(at_b, [failed(c)]);
    assert_eq!(at_c, [failed(b)]);
    assert_in_one_circle(&[a, b]);
    assert_in_one_circle(&[c, d]);
}

#[test]
fn a_revoked_device_is_paired_anew() {
    let (mut a, mut b) = (Device::new(1, "kitchen"), Device::new(2, "tablet"));
    pair(&mut a, &mut b, 1000);
    a.circle.revoke(&a.identity, b.peer()).expect("revoked");
    // It has not heard of it; and then it has.
    for heard in [false, true] {
        if heard {
            a.circle.revoke(&a.identity, b.peer()).expect("revoked");
            b.circle.merge_log(&a.circle.to_log()).expect("a log");
            assert!(!b.circle.contains(b.peer()));
        }
        let [at_a, at_b] = pair(&mut a, &mut b, 1000);
        assert_eq!((at_a.len(), at_b), (2, vec![paired(&a)]));
        assert_in_one_circle(&[&a, &b]);
    }
}

#[test]
fn a_large_log_travels_whole() {
    let (mut a, mut b) = (Device::new(1, "kitchen"), Device::new(2, "tablet"));
    for seed in 10..70 {
        let other = Identity::from_seed(&[seed; 32]).peer_id();
        let called = name(&"x".repeat(64));
        a.circle.admit(&a.identity, other, &called).expect("room");
    }
    for _ in 0..16 {
        a.circle
            .rename(&a.identity, &name(&"y".repeat(64)))
            .expect("room");
    }
    assert!(a.circle.to_log().len() > frame::MAX_FRAME / 2);
    let [_, at_b] = pair(&mut a, &mut b, 5000);
    assert_eq!(at_b, [paired(&a)]);
    assert_eq!(a.circle.digest(), b.circle.digest());
}
