//! Nothing changes before both owners were asked, have seen who joins whom, and agreed.

use super::*;

/// Devices of which the first two are in one circle.
fn circle_and_strangers<const N: usize>() -> [Device; N] {
    let mut devices = std::array::from_fn(|n| Device::new(n as u8 + 1, &format!("device {n}")));
    let [a, b, ..] = &mut devices[..] else {
        panic!("two at least")
    };
    pair(a, b, 1000);
    a.asked.clear();
    b.asked.clear();
    devices
}

fn failed(device: &Device, why: Refusal) -> Event {
    Event::Failed {
        peer: device.peer(),
        why,
    }
}

fn listed(devices: &[&Device]) -> Vec<Listed> {
    let mut listed: Vec<_> = devices
        .iter()
        .map(|device| Listed {
            peer: device.peer(),
            name: device.name.clone(),
        })
        .collect();
    listed.sort_by_key(|listed| listed.peer);
    listed
}

#[test]
fn both_owners_are_asked_who_joins_whom_and_see_the_members() {
    let [mut a, b, mut c] = circle_and_strangers();
    // A member scans the code of one who is alone: the stranger would come into the circle.
    pair(&mut c, &mut a, 1000);
    let members = listed(&[&a, &b]);
    let asked = |of: &Device, change| Proposal {
        peer: of.peer(),
        name: of.name.clone(),
        change,
        members: members.clone(),
        clock: None,
    };
    assert_eq!(a.asked, [asked(&c, Change::TheyJoin)]);
    assert_eq!(c.asked, [asked(&a, Change::WeJoin)]);
}

#[test]
fn nobody_joins_whose_owner_or_whose_circle_s_owner_says_no() {
    for (who, invites) in [(0, true), (1, true), (0, false), (1, false)] {
        let [mut a, _, mut c] = circle_and_strangers();
        [&mut a, &mut c][who].agrees = false;
        let (inviter, joiner) = if invites {
            (&mut a, &mut c)
        } else {
            (&mut c, &mut a)
        };
        let [at_inviter, at_joiner] = pair(inviter, joiner, 1000);
        assert_eq!(at_joiner, [failed(inviter, Refusal::Declined)]);
        assert_eq!(at_inviter[0], failed(joiner, Refusal::Declined));
        // An owner who invited and said no does not wait for another.
        let says_no = if invites { who == 0 } else { who == 1 };
        assert_eq!(at_inviter.contains(&over(Refusal::Declined)), says_no);
        assert_eq!((a.circle.member_count(), c.circle.member_count()), (2, 1));
        assert_eq!((a.asked.len(), c.asked.len()), (1, 1));
    }
}

#[test]
fn the_way_that_was_said_beforehand_is_taken_or_refused() {
    for (at_member, at_stranger, fits) in [
        (Wish::Admits, Wish::Joins, true),
        (Wish::Admits, Wish::Asks, true),
        (Wish::Asks, Wish::Joins, true),
        (Wish::Joins, Wish::Asks, false),
        (Wish::Asks, Wish::Admits, false),
    ] {
        for member_invites in [false, true] {
            let [mut a, _, mut c] = circle_and_strangers();
            (a.wish, c.wish) = (at_member, at_stranger);
            let (inviter, joiner) = if member_invites {
                (&mut a, &mut c)
            } else {
                (&mut c, &mut a)
            };
            let [_, at_joiner] = pair(inviter, joiner, 1000);
            let expected = if fits {
                paired(inviter)
            } else {
                failed(inviter, Refusal::HasCompany)
            };
            assert_eq!(at_joiner, [expected], "{at_member:?} {at_stranger:?}");
            assert_eq!(c.circle.contains(a.peer()), fits);
            assert_eq!(a.asked.len(), usize::from(fits));
        }
    }
}

#[test]
fn two_who_are_alone_begin_a_circle_and_either_may_admit() {
    for wish in [Wish::Asks, Wish::Admits, Wish::Joins] {
        let (mut a, mut b) = (Device::new(1, "kitchen"), Device::new(2, "tablet"));
        a.wish = wish;
        pair(&mut a, &mut b, 1000);
        assert_in_one_circle(&[&a, &b]);
        let founder = if wish == Wish::Joins { &b } else { &a };
        assert_eq!(
            a.circle.member(founder.peer()).map(|m| m.admitted_by),
            Some(founder.peer())
        );
        let begin = |device: &Device| device.asked[0].change == Change::Begin;
        assert!(begin(&a) && begin(&b));
    }
}

#[test]
fn who_does_not_answer_in_time_pairs_with_nobody() {
    let (mut a, mut b) = (Device::new(1, "kitchen"), Device::new(2, "tablet"));
    let mut invites = a.invite();
    let mut joins = b.join(&invites.invitation().clone(), 2);
    let now = Duration::ZERO;
    invites.begin(now, b.peer(), [1; 32]).expect("open");
    for _ in 0..3 {
        let bytes = said(|| joins.poll_output()).bytes;
        invites.handle_bytes(now, &bytes, &mut a.local());
        let bytes = said(|| invites.poll_output()).bytes;
        joins.handle_bytes(now, &bytes, &mut b.local());
    }
    assert_eq!(invites.poll_timeout(), Some(CONFIRM_TIMEOUT));
    assert_eq!(joins.poll_timeout(), Some(CONFIRM_TIMEOUT));
    // One agrees, which is not enough, the other is away.
    joins.answer(now, true, &mut b.local());
    let bytes = said(|| joins.poll_output()).bytes;
    invites.handle_bytes(now, &bytes, &mut a.local());
    invites.handle_timeout(CONFIRM_TIMEOUT);
    let events = said(|| invites.poll_output()).events;
    assert_eq!(events, [failed(&b, Refusal::TimedOut)]);
    assert_eq!((a.circle.member_count(), b.circle.member_count()), (1, 1));
    // An answer that comes later is to nothing.
    invites.answer(CONFIRM_TIMEOUT, true);
    assert_eq!(said(|| invites.poll_output()).bytes, [0; 0]);
}

#[test]
fn a_circle_that_has_grown_since_it_was_shown_is_not_joined() {
    for member_invites in [false, true] {
        let [mut a, _, mut c] = circle_and_strangers();
        let (inviter, joiner) = if member_invites {
            (&mut a, &mut c)
        } else {
            (&mut c, &mut a)
        };
        let mut invites = inviter.invite();
        let mut joins = joiner.join(&invites.invitation().clone(), 2);
        let now = Duration::ZERO;
        invites.begin(now, joiner.peer(), [1; 32]).expect("open");
        for _ in 0..3 {
            let bytes = said(|| joins.poll_output()).bytes;
            invites.handle_bytes(now, &bytes, &mut inviter.local());
            let bytes = said(|| invites.poll_output()).bytes;
            joins.handle_bytes(now, &bytes, &mut joiner.local());
        }
        let member = if member_invites {
            &mut *inviter
        } else {
            &mut *joiner
        };
        let other = Identity::from_seed(&[99; 32]).peer_id();
        let admitted = member.circle.admit(&member.identity, other, &name("other"));
        admitted.expect("room");
        invites.answer(now, true);
        joins.answer(now, true, &mut joiner.local());
        let [_, at_joiner] = run((&mut invites, inviter), (&mut joins, joiner), 1000);
        assert_eq!(at_joiner, [failed(inviter, Refusal::OtherMembers)]);
        assert_eq!((a.circle.member_count(), c.circle.member_count()), (3, 1));
    }
}

#[test]
fn a_log_with_members_that_were_not_shown_is_not_taken() {
    let [a, _, c] = circle_and_strangers();
    let mut grown = a.circle.clone();
    let other = Identity::from_seed(&[99; 32]).peer_id();
    grown
        .admit(&a.identity, other, &name("other"))
        .expect("room");
    grown.admit(&a.identity, c.peer(), &c.name).expect("room");
    let shown = listed(&[&a]);
    let take = |circle: &Circle, shown: &[Listed]| {
        let mut incoming = exchange::Incoming::default();
        incoming.push(&circle.to_log()).expect("short");
        incoming.into_circle(circle.id(), [a.peer(), c.peer()], shown)
    };
    assert_eq!(take(&grown, &shown).err(), Some(Refusal::OtherMembers));
}

#[test]
fn an_invitation_expires_by_the_clock_on_the_wall_while_a_device_sleeps() {
    let (mut a, b) = (Device::new(1, "kitchen"), Device::new(2, "tablet"));
    let mut invites = a.invite();
    // No time has passed by the clock that stood still.
    let now = Duration::ZERO;
    invites.handle_clock(now, START_UNIX_S + 599);
    assert_eq!(invites.over(), None);
    invites.handle_clock(now, START_UNIX_S + 600);
    assert_eq!(invites.over(), Some(Refusal::Expired));
    // The owner hears why it ended so early: or the clock was behind, and was set.
    let events = said(|| invites.poll_output()).events;
    assert_eq!(events, [over(Refusal::ClockMoved)]);
    let refused = invites.begin(Duration::ZERO, b.peer(), [1; 32]);
    assert_eq!(refused, Err(Refusal::Expired));
    // Where both clocks agree, it has just expired.
    let mut invites = a.invite();
    invites.handle_clock(Duration::from_secs(600), START_UNIX_S + 600);
    let events = said(|| invites.poll_output()).events;
    assert_eq!(events, [over(Refusal::Expired)]);
}

#[test]
fn what_cannot_be_stored_is_not_said_to_be_paired() {
    // The joiner has taken the log.
    let (mut a, mut b) = (Device::new(1, "kitchen"), Device::new(2, "tablet"));
    let mut invites = a.invite();
    let mut joins = b.join(&invites.invitation().clone(), 2);
    let now = Duration::ZERO;
    invites.begin(now, b.peer(), [1; 32]).expect("open");
    while b.circle.member_count() == 1 {
        let bytes = said(|| joins.poll_output()).bytes;
        invites.handle_bytes(now, &bytes, &mut a.local());
        invites.answer(now, true);
        let bytes = said(|| invites.poll_output()).bytes;
        joins.handle_bytes(now, &bytes, &mut b.local());
        joins.answer(now, true, &mut b.local());
    }
    joins.handle_not_stored();
    let told = said(|| joins.poll_output());
    assert_eq!(told.events, [failed(&a, Refusal::NotStored)]);
    invites.handle_bytes(now, &told.bytes, &mut a.local());
    let events = said(|| invites.poll_output()).events;
    assert_eq!(events, [failed(&b, Refusal::NotStored)]);
}
