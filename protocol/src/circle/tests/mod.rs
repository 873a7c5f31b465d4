//! Behaviour of whole circles.

mod convergence;
mod hostile;
mod stored;

use super::*;

fn identity(seed: u8) -> Identity {
    Identity::from_seed(&[seed; 32])
}

fn peer(seed: u8) -> PeerId {
    identity(seed).peer_id()
}

fn name(name: &str) -> DeviceName {
    DeviceName::new(name).expect("a name")
}

/// A circle of devices 0 to `n - 1`, all admitted by the first.
fn circle_of(n: u8) -> Circle {
    let mut circle = Circle::found(&identity(0), &name("device 0"), [0; 16]);
    for device in 1..n {
        admit(&mut circle, 0, device);
    }
    circle
}

fn admit(circle: &mut Circle, by: u8, device: u8) {
    let called = name(&format!("device {device}"));
    circle
        .admit(&identity(by), peer(device), &called)
        .expect("admitted");
}

fn revoke(circle: &mut Circle, by: u8, device: u8) {
    circle.revoke(&identity(by), peer(device)).expect("revoked");
}

/// Gives `to` all that `from` has, as gossip does.
fn tell(from: &Circle, to: &mut Circle) -> Merged {
    let mut all = Merged::default();
    for batch in from.batches_for(&to.digest()) {
        let merged = to.merge(&batch).expect("a batch");
        all.added += merged.added;
        all.refused.extend(merged.refused);
        all.joined.extend(merged.joined);
        all.left.extend(merged.left);
    }
    all
}

fn exchange(a: &mut Circle, b: &mut Circle) {
    tell(a, b);
    tell(b, a);
    assert!(!a.lacks(&b.digest()) && !b.lacks(&a.digest()));
}

fn members(circle: &Circle) -> Vec<u8> {
    (0..200)
        .filter(|&device| circle.contains(peer(device)))
        .collect()
}

#[test]
fn who_any_member_admits_is_a_member_for_all() {
    let mut a = circle_of(2);
    let mut b = a.clone();
    admit(&mut b, 1, 2);
    let merged = tell(&b, &mut a);
    assert_eq!((merged.added, merged.joined), (1, vec![peer(2)]));
    let member = a.member(peer(2)).expect("a member");
    assert_eq!(
        (member.admitted_by, member.name.as_str()),
        (peer(1), "device 2")
    );
    assert_eq!((a.member_count(), members(&a)), (3, vec![0, 1, 2]));
}

#[test]
fn a_stranger_writes_nothing() {
    let mut a = circle_of(2);
    let mut strangers = a.clone();
    let refused = strangers.admit(&identity(5), peer(6), &name("x"));
    assert_eq!(refused, Err(EntryError::AuthorNotMember));
    // What the stranger signs anyway is refused by others, too.
    let act = Act::Admit {
        peer: peer(6),
        name: name("x"),
    };
    let parents = vec![a.entries().last().expect("entries").hash()];
    let batch = batch_of(&[Entry::sign(&identity(5), 0, parents, act)]);
    let merged = a.merge(&batch).expect("a batch");
    assert_eq!(merged.refused, [EntryError::AuthorNotMember]);
    assert_eq!(members(&a), [0, 1]);
}

#[test]
fn revocation_holds_at_once_and_for_others_as_they_hear() {
    let mut a = circle_of(3);
    let mut b = a.clone();
    revoke(&mut a, 1, 2);
    assert_eq!(members(&a), [0, 1]);
    assert_eq!(members(&b), [0, 1, 2]);
    assert_eq!(tell(&a, &mut b).left, [peer(2)]);
    assert_eq!(members(&b), [0, 1]);
}

#[test]
fn a_revoked_device_that_knows_it_writes_nothing_more() {
    let mut a = circle_of(3);
    revoke(&mut a, 0, 2);
    for refused in [
        a.admit(&identity(2), peer(3), &name("x")),
        a.revoke(&identity(2), peer(0)),
        a.rename(&identity(2), &name("x")),
    ] {
        assert_eq!(refused, Err(EntryError::AuthorNotMember));
    }
}

#[test]
fn a_revoked_device_that_feigns_ignorance_lets_nobody_in() {
    let mut a = circle_of(3);
    let mut stolen = a.clone();
    revoke(&mut a, 0, 2);
    // An accomplice, who admits another.
    admit(&mut stolen, 2, 3);
    admit(&mut stolen, 3, 4);
    assert_eq!(members(&stolen), [0, 1, 2, 3, 4]);
    exchange(&mut a, &mut stolen);
    assert_eq!(members(&a), [0, 1]);
    assert_eq!(members(&stolen), [0, 1]);
}

#[test]
fn who_was_admitted_before_the_revocation_stays() {
    let mut a = circle_of(3);
    admit(&mut a, 2, 3);
    revoke(&mut a, 0, 2);
    admit(&mut a, 3, 4);
    assert_eq!(members(&a), [0, 1, 3, 4]);
}

#[test]
fn of_concurrent_admission_and_revocation_the_revocation_holds() {
    let mut a = circle_of(3);
    revoke(&mut a, 0, 2);
    let mut b = a.clone();
    // 0 pairs with 2 anew; 1 does, too, and thinks better of it, unheard.
    admit(&mut a, 0, 2);
    admit(&mut b, 1, 2);
    revoke(&mut b, 1, 2);
    exchange(&mut a, &mut b);
    assert_eq!(members(&a), [0, 1]);
    assert_eq!(members(&b), [0, 1]);
    admit(&mut a, 0, 2);
    tell(&a, &mut b);
    assert_eq!(members(&b), [0, 1, 2]);
}

#[test]
fn members_who_revoke_each_other_are_both_out() {
    let mut a = circle_of(4);
    let mut b = a.clone();
    revoke(&mut a, 1, 2);
    revoke(&mut b, 2, 1);
    exchange(&mut a, &mut b);
    for circle in [&a, &b] {
        assert_eq!(members(circle), [0, 3]);
    }
}

#[test]
fn a_revoked_device_may_be_paired_anew() {
    let mut a = circle_of(3);
    let mut old = a.clone();
    revoke(&mut a, 0, 2);
    admit(&mut a, 1, 2);
    assert_eq!(members(&a), [0, 1, 2]);
    exchange(&mut a, &mut old);
    assert_eq!(members(&old), [0, 1, 2]);
    admit(&mut old, 2, 3);
    tell(&old, &mut a);
    assert_eq!(members(&a), [0, 1, 2, 3]);
}

#[test]
fn a_member_may_leave_even_the_founder() {
    let mut a = circle_of(2);
    revoke(&mut a, 0, 0);
    assert_eq!(members(&a), [1]);
    revoke(&mut a, 1, 1);
    assert_eq!((members(&a), a.member_count()), (vec![], 0));
}

#[test]
fn the_last_name_holds() {
    let mut a = circle_of(2);
    let mut b = a.clone();
    a.rename(&identity(1), &name("kitchen")).expect("renamed");
    assert_eq!(
        a.member(peer(1)).expect("a member").name.as_str(),
        "kitchen"
    );
    revoke(&mut b, 0, 1);
    admit(&mut b, 0, 1);
    exchange(&mut a, &mut b);
    for circle in [&a, &b] {
        let member = circle.member(peer(1)).expect("a member");
        assert_eq!(member.name.as_str(), "device 1");
    }
}

#[test]
fn acts_without_sense_are_refused() {
    let mut a = circle_of(2);
    let again = a.admit(&identity(0), peer(1), &name("x"));
    assert_eq!(again, Err(EntryError::AlreadyMember));
    let stranger = a.revoke(&identity(0), peer(9));
    assert_eq!(stranger, Err(EntryError::NotAMember));
}

fn batch_of(entries: &[Entry]) -> Vec<u8> {
    let mut batch = Vec::new();
    for entry in entries {
        gossip::write_entry(&mut batch, &entry.to_bytes());
    }
    batch
}

#[test]
fn what_is_wrong_in_a_batch_does_not_touch_the_rest() {
    let a = circle_of(4);
    let entries: Vec<_> = a.entries().cloned().collect();
    let mut b = circle_of(1);
    let mut forged = entries[1].to_bytes();
    *forged.last_mut().expect("bytes") ^= 1;
    let mut batch = Vec::new();
    gossip::write_entry(&mut batch, &forged);
    gossip::write_entry(&mut batch, &entries[1].to_bytes()[..100]);
    gossip::write_entry(&mut batch, &vec![1; 3000]);
    batch.extend(batch_of(&entries));
    let merged = b.merge(&batch).expect("a batch");
    let refused = [
        EntryError::Forged,
        EntryError::Malformed,
        EntryError::Oversize,
    ];
    assert_eq!((merged.added, merged.known), (3, 1));
    assert_eq!(merged.refused, refused);
    assert_eq!(members(&b), members(&a));
}

#[test]
fn a_batch_that_is_cut_off_is_refused_whole() {
    let a = circle_of(4);
    let entries: Vec<_> = a.entries().cloned().collect();
    let batch = batch_of(&entries[1..]);
    for len in 1..batch.len() {
        let mut b = circle_of(1);
        if let Ok(merged) = b.merge(&batch[..len]) {
            assert!(merged.added > 0 && merged.refused.is_empty());
        } else {
            assert_eq!(b.entries().len(), 1);
        }
    }
    let mut b = circle_of(1);
    assert_eq!(b.merge(&vec![0; 70_000]), Err(LogError::Oversize));
}

#[test]
fn a_log_is_stored_and_read_and_checked() {
    let mut a = circle_of(5);
    revoke(&mut a, 3, 4);
    let log = a.to_log();
    let read = Circle::from_log(&log).expect("a log");
    assert_eq!((read.id(), members(&read)), (a.id(), members(&a)));
    assert_eq!(read.to_log(), log);
    assert_eq!(log[0], 1);
    for bit in (0..8 * log.len()).step_by(7) {
        let mut damaged = log.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        Circle::from_log(&damaged).expect_err("damaged");
    }
    for bytes in [&[][..], &[1], &[0, 1], &[2, 1]] {
        Circle::from_log(bytes).expect_err("no log");
    }
    // Another circle's founding is not taken in.
    let other = Circle::found(&identity(0), &name("device 0"), [1; 16]);
    let merged = a.merge(&other.to_log()[1..]).expect("a batch");
    assert_eq!(merged.refused, [EntryError::OtherCircle]);
}

#[test]
fn a_circle_and_an_author_have_bounds() {
    let mut a = circle_of(64);
    let full = a.admit(&identity(0), peer(100), &name("x"));
    assert_eq!(full, Err(EntryError::CircleFull));
    let written = |_: &u32| a.rename(&identity(0), &name("x")).is_ok();
    let written = (0..1000).take_while(written).count();
    assert_eq!(written, MAX_NAMES_PER_AUTHOR);
    let full = a.rename(&identity(0), &name("x"));
    assert_eq!(full, Err(EntryError::TooManyNames));
    admit_after_revocation(&mut a);
}

fn admit_after_revocation(a: &mut Circle) {
    revoke(a, 1, 0);
    admit(a, 1, 100);
    assert_eq!(a.member_count(), MAX_MEMBERS);
}

#[test]
fn one_device_pairs_and_forgets_a_hundred_others() {
    let mut a = circle_of(1);
    let mut forgotten = 0;
    for device in 1..=u8::try_from(MAX_ADMISSIONS_PER_AUTHOR).expect("few") {
        admit(&mut a, 0, device);
        revoke(&mut a, 0, device);
        forgotten += 1;
    }
    assert_eq!((forgotten, a.member_count()), (128, 1));
    let full = a.admit(&identity(0), peer(200), &name("x"));
    assert_eq!(full, Err(EntryError::AuthorFull));
    assert!(
        full.expect_err("full")
            .to_string()
            .contains("potluck circle new")
    );
}

#[test]
fn an_expulsion_takes_those_along_whom_the_device_admitted() {
    let mut a = circle_of(3);
    admit(&mut a, 2, 3);
    admit(&mut a, 3, 4);
    admit(&mut a, 1, 5);
    let mut unheard = a.clone();
    a.expel(&identity(0), peer(2)).expect("a member");
    assert_eq!(members(&a), [0, 1, 5]);
    // Nor does anything that they write without knowing, or pretending so.
    admit(&mut unheard, 4, 6);
    unheard.rename(&identity(5), &name("y")).expect("a member");
    exchange(&mut a, &mut unheard);
    assert_eq!([members(&a), members(&unheard)], [[0, 1, 5], [0, 1, 5]]);
    assert_eq!(a.member(peer(5)).expect("a member").name.as_str(), "y");
    // Pairing anew is possible, and holds.
    admit(&mut a, 1, 2);
    admit(&mut a, 2, 3);
    assert_eq!(members(&a), [0, 1, 2, 3, 5]);
    let read = Circle::from_log(&a.to_log()).expect("a log");
    assert_eq!(members(&read), members(&a));
}

#[test]
fn more_branches_than_an_entry_has_parents_come_together() {
    let base = circle_of(8);
    let mut all = base.clone();
    // Some that lie about their sequence, or were often restored from one backup.
    for branch in 0..MAX_PARENTS + 10 {
        let mut fork = base.clone();
        let author = 1 + u8::try_from(branch % 7).expect("small");
        fork.rename(&identity(author), &name(&format!("{branch}")))
            .expect("renamed");
        assert_eq!(tell(&fork, &mut all).added, 1);
    }
    revoke(&mut all, 0, 1);
    assert_eq!(members(&all), [0, 2, 3, 4, 5, 6, 7]);
    admit(&mut all, 0, 1);
    assert_eq!(all.member_count(), 8);
    let mut fresh = base.clone();
    tell(&all, &mut fresh);
    assert_eq!(fresh.member_count(), 8);
}

#[test]
fn gossip_sends_what_lacks_and_little_else() {
    let mut a = circle_of(40);
    let mut b = a.clone();
    for device in 50..60 {
        admit(&mut a, 0, device);
        admit(&mut b, 1, device + 10);
    }
    // Neither knows the other's head; the older entries in the digest show where they part.
    let sent: usize = a.batches_for(&b.digest()).iter().map(Vec::len).sum();
    assert!(a.lacks(&b.digest()) && sent < 20 * 250, "{sent} bytes");
    exchange(&mut a, &mut b);
    assert_eq!(members(&a), members(&b));
    assert!(a.batches_for(&b.digest()).is_empty());
    let other = Circle::found(&identity(0), &name("x"), [1; 16]);
    assert!(a.batches_for(&other.digest()).is_empty() && !a.lacks(&other.digest()));
}

#[test]
fn digests_come_back_and_any_cut_is_refused() {
    let mut a = circle_of(20);
    let mut b = a.clone();
    admit(&mut a, 0, 30);
    admit(&mut b, 1, 31);
    tell(&b, &mut a);
    let digest = a.digest();
    let bytes = digest.to_bytes();
    assert_eq!(Digest::from_bytes(&bytes), Ok(digest));
    for len in 0..bytes.len() {
        assert_eq!(Digest::from_bytes(&bytes[..len]), Err(LogError::Malformed));
    }
    let mut newer = bytes.clone();
    newer[0] = 2;
    assert_eq!(Digest::from_bytes(&newer), Err(LogError::Newer(2)));
    let long = vec![1; Digest::MAX_BYTES + 1];
    assert_eq!(Digest::from_bytes(&long), Err(LogError::Oversize));
}
