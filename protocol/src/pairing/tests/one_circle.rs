//! Devices that hold logs of one circle: what they are asked is what happens, and no stranger gets in.

use super::*;

/// A, B and C in one circle, of which A has not heard of C, whom B let in.
fn half_heard() -> [Device; 3] {
    let mut devices = [1, 2, 3].map(|seed| Device::new(seed, "device"));
    let [a, b, c] = &mut devices;
    pair(a, b, 1000);
    pair(b, c, 1000);
    assert!(c.circle.contains(a.peer()) && !a.circle.contains(c.peer()));
    for device in &mut devices {
        device.asked.clear();
    }
    devices
}

/// Three that all have heard of each other.
fn heard() -> [Device; 3] {
    let mut devices = half_heard();
    let log = devices[2].circle.to_log();
    for device in &mut devices {
        device.circle.merge_log(&log).expect("a log");
    }
    devices
}

/// Both machines, where both owners have been asked.
fn until_asked(inviter: &mut Device, joiner: &mut Device) -> (Inviter, Joiner) {
    let mut invites = inviter.invite();
    let mut joins = joiner.join(&invites.invitation().clone(), 2);
    let now = Duration::ZERO;
    invites.begin(now, joiner.peer(), [1; 32]).expect("open");
    loop {
        let mut said_by_joiner = said(|| joins.poll_output());
        ask(joiner, &mut said_by_joiner.events);
        invites.handle_bytes(now, &said_by_joiner.bytes, &mut inviter.local());
        let mut said_by_inviter = said(|| invites.poll_output());
        ask(inviter, &mut said_by_inviter.events);
        joins.handle_bytes(now, &said_by_inviter.bytes, &mut joiner.local());
        if said_by_joiner.bytes.is_empty() && said_by_inviter.bytes.is_empty() {
            return (invites, joins);
        }
    }
}

fn failed(device: &Device, why: Refusal) -> Event {
    Event::Failed {
        peer: device.peer(),
        why,
    }
}

fn changes(device: &Device) -> Vec<Change> {
    device.asked.iter().map(|asked| asked.change).collect()
}

#[test]
fn who_was_not_heard_of_is_shown_as_a_stranger_and_both_tell_each_other_of_it() {
    for unaware_invites in [true, false] {
        let [mut a, b, mut c] = half_heard();
        let [at_inviter, at_joiner] = if unaware_invites {
            pair(&mut a, &mut c, 1000)
        } else {
            pair(&mut c, &mut a, 1000)
        };
        assert_eq!((at_inviter.len(), at_joiner.len()), (2, 1));
        let at_a = if unaware_invites {
            Change::TheyJoin
        } else {
            Change::WeJoin
        };
        assert_eq!(
            (changes(&a), changes(&c)),
            (vec![at_a], vec![Change::Renew])
        );
        assert_in_one_circle(&[&a, &b, &c]);
        let member = a.circle.member(c.peer()).expect("a member");
        assert_eq!(member.admitted_by, b.peer());
    }
}

#[test]
fn in_one_circle_too_nobody_is_asked_for_the_other_way_than_was_said_beforehand() {
    for (unaware_invites, wish) in [(true, Wish::Joins), (false, Wish::Admits)] {
        let [mut a, _, mut c] = half_heard();
        a.wish = wish;
        let [_, at_joiner] = if unaware_invites {
            pair(&mut a, &mut c, 1000)
        } else {
            pair(&mut c, &mut a, 1000)
        };
        let other = if unaware_invites { &a } else { &c };
        assert_eq!(at_joiner, [failed(other, Refusal::OtherWay)]);
        assert_eq!((a.asked.len(), a.circle.member_count()), (0, 2));
    }
    // Where both know each other nobody joins, and any wish is right.
    for wish in [Wish::Asks, Wish::Admits, Wish::Joins] {
        let [mut a, _, mut c] = heard();
        (a.wish, c.wish) = (wish, wish);
        let [_, at_joiner] = pair(&mut a, &mut c, 1000);
        assert_eq!(at_joiner, [paired(&a)]);
        assert_eq!([changes(&a), changes(&c)], [[Change::Renew]; 2]);
    }
}

#[test]
fn a_member_that_is_revoked_while_owners_are_asked_does_not_come_back() {
    // The inviter hears of it at once, or by the log of the joiner, who has heard of it meanwhile.
    for inviter_hears in [true, false] {
        let [mut a, b, mut c] = heard();
        let (mut invites, mut joins) = until_asked(&mut a, &mut c);
        assert_eq!([changes(&a), changes(&c)], [[Change::Renew]; 2]);
        let mut elsewhere = b.circle.clone();
        let revoked = elsewhere.revoke(&b.identity, c.peer());
        revoked.expect("a member");
        let hears = if inviter_hears { &mut a } else { &mut c };
        hears.circle.merge_log(&elsewhere.to_log()).expect("a log");
        let now = Duration::ZERO;
        invites.answer(now, true);
        joins.answer(now, true, &mut c.local());
        let [at_inviter, at_joiner] = run((&mut invites, &mut a), (&mut joins, &mut c), 1000);
        assert_eq!(at_inviter, [failed(&c, Refusal::OtherMembers)]);
        assert_eq!(at_joiner, [failed(&a, Refusal::OtherMembers)]);
        assert!(!a.circle.contains(c.peer()));
        // Asked anew, the owner sees that it would come in, and may let it.
        a.asked.clear();
        pair(&mut a, &mut c, 1000);
        assert_eq!(changes(&a), [Change::TheyJoin]);
        assert!(a.circle.contains(c.peer()) && c.circle.contains(c.peer()));
    }
}

#[test]
fn who_was_forgotten_and_has_forgotten_in_turn_removes_nobody_by_pairing() {
    for forgetful_invites in [true, false] {
        let [mut a, b, mut c] = heard();
        let revoked = a.circle.revoke(&a.identity, c.peer());
        revoked.expect("a member");
        let in_turn = c.circle.revoke(&c.identity, a.peer());
        in_turn.expect("a member");
        if forgetful_invites {
            pair(&mut a, &mut c, 1000);
        } else {
            pair(&mut c, &mut a, 1000);
        }
        assert!(a.circle.contains(a.peer()) && a.circle.contains(b.peer()));
    }
}

#[test]
fn a_device_that_left_unheard_is_shown_as_one_that_joins() {
    let [mut a, _, mut c] = heard();
    let me = c.peer();
    c.circle.revoke(&c.identity, me).expect("a member");
    assert!(a.circle.contains(c.peer()));
    let [_, at_joiner] = pair(&mut a, &mut c, 1000);
    assert_eq!(at_joiner, [paired(&a)]);
    assert_eq!(
        (changes(&a), changes(&c)),
        (vec![Change::TheyJoin], vec![Change::WeJoin])
    );
    assert!(a.circle.contains(c.peer()) && c.circle.contains(c.peer()));
}

#[test]
fn a_stranger_that_says_it_is_in_the_circle_is_not_believed_and_gets_no_log() {
    // One that was expelled and shows its old log, and one that found a log somewhere.
    for was_member in [true, false] {
        let [mut a, _, mut c] = heard();
        let mut stranger = Device::new(9, "stranger");
        if was_member {
            let admitted = a.circle.admit(&a.identity, stranger.peer(), &stranger.name);
            admitted.expect("room");
        }
        let mut invites = stranger.invite();
        stranger.circle = a.circle.clone();
        if was_member {
            a.circle
                .expel(&a.identity, stranger.peer())
                .expect("a member");
        }
        c.circle.merge_log(&a.circle.to_log()).expect("a log");
        c.circle.rename(&c.identity, &name("secret")).expect("room");
        let known = stranger.circle.entries().len();
        let mut joins = c.join(&invites.invitation().clone(), 2);
        let begun = invites.begin(Duration::ZERO, c.peer(), [1; 32]);
        begun.expect("open");
        let [_, at_joiner] = run((&mut invites, &mut stranger), (&mut joins, &mut c), 1000);
        assert!(
            matches!(at_joiner[..], [Event::Failed { .. }]),
            "{at_joiner:?}"
        );
        assert_eq!(changes(&c), [Change::WeJoin]);
        assert_eq!(stranger.circle.entries().len(), known);
        assert!(!c.circle.contains(stranger.peer()));
    }
}
