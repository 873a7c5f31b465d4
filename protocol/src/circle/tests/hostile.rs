//! Whatever a hostile member writes, with however many devices of its own making, any other member can
//! remove it and them, and all agree.

use std::sync::OnceLock;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// The hostile device; those that it makes up have higher numbers.
const HOSTILE: u8 = 2;
/// Honest devices.
const HONEST: [u8; 3] = [0, 1, 3];

/// What the hostile device does, on a branch of the log of its choice.
#[derive(Debug, Clone)]
enum Deed {
    /// One of its devices admits another that it makes up.
    Phantom(u8, u8),
    Rename(u8),
    /// One of its devices revokes another of them.
    Revoke(u8, u8),
    /// Goes on from what the log was before: two entries with one number.
    Fork(u8),
    /// Tells an honest device all of this branch.
    Tell(u8),
}

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    let deed = prop_oneof![
        4 => (0..60_u8, 0..60_u8).prop_map(|(a, b)| Deed::Phantom(a, b)),
        2 => (0..60_u8).prop_map(Deed::Rename),
        2 => (0..60_u8, 0..60_u8).prop_map(|(a, b)| Deed::Revoke(a, b)),
        1 => (0..8_u8).prop_map(Deed::Fork),
        1 => (0..3_u8).prop_map(Deed::Tell),
    ];
    vec(deed, 0..150)
}

/// The hostile device itself, or one that it makes up.
fn hostile(number: u8) -> u8 {
    if number == 0 { HOSTILE } else { 100 + number }
}

fn is_hostile(device: u8) -> bool {
    device == HOSTILE || device >= 100
}

/// Each honest device's circle after these deeds.
fn suffer(deeds: &[Deed]) -> [Circle; 3] {
    let mut honest = [(); 3].map(|()| circle_of(4));
    let mut branches = vec![circle_of(4)];
    for deed in deeds {
        let last = branches.len() - 1;
        let branch = &mut branches[last];
        // What makes no sense is refused.
        match *deed {
            Deed::Phantom(a, b) => {
                let by = identity(hostile(a));
                let _ = branch.admit(&by, peer(hostile(b)), &name("phantom"));
            }
            Deed::Rename(a) => drop(branch.rename(&identity(hostile(a)), &name("x"))),
            Deed::Revoke(a, b) => {
                let _ = branch.revoke(&identity(hostile(a)), peer(hostile(b)));
            }
            Deed::Fork(back) => {
                let from = last.saturating_sub(usize::from(back));
                let fork = branches[from].clone();
                branches.push(fork);
            }
            Deed::Tell(to) => drop(tell(branch, &mut honest[usize::from(to)])),
        }
    }
    honest
}

/// A log as full as a hostile member can make it: phantoms, renamings, and revocations of each other
/// that all are concurrent.
fn filled() -> &'static Circle {
    static FILLED: OnceLock<Circle> = OnceLock::new();
    FILLED.get_or_init(fill)
}

fn fill() -> Circle {
    let mut full = circle_of(4);
    for phantom in 1..60 {
        let _ = full.admit(&identity(HOSTILE), peer(hostile(phantom)), &name("x"));
    }
    let crowd = full.clone();
    for phantom in 0..60 {
        while full.rename(&identity(hostile(phantom)), &name("z")).is_ok() {}
    }
    for phantom in 0..60 {
        for other in 1..20 {
            let mut branch = crowd.clone();
            let _ = branch.revoke(&identity(hostile(phantom)), peer(hostile(other)));
            tell(&branch, &mut full);
        }
    }
    full
}

#[test]
fn who_leaves_does_not_leave_its_own_behind() {
    let mut circle = circle_of(4);
    for phantom in 1..60 {
        let by = identity(HOSTILE);
        let admitted = circle.admit(&by, peer(hostile(phantom)), &name("x"));
        admitted.expect("room");
    }
    revoke(&mut circle, HOSTILE, HOSTILE);
    assert_eq!(circle.member_count(), 62);
    let mut other = circle.clone();
    circle
        .expel(&identity(0), peer(HOSTILE))
        .expect("it was a member");
    tell(&circle, &mut other);
    assert_eq!([members(&circle), members(&other)], [HONEST, HONEST]);
    let never = circle.expel(&identity(0), peer(99));
    assert_eq!(never, Err(EntryError::NotAMember));
}

#[test]
fn who_filled_the_log_is_removed_with_one_entry_that_all_take() {
    let full = filled();
    let new = full.clone().admit(&identity(0), peer(9), &name("new"));
    assert_eq!(new, Err(EntryError::LogFull));
    assert!(
        new.expect_err("full")
            .to_string()
            .contains("potluck circle new")
    );
    for by in HONEST {
        let mut circle = full.clone();
        circle
            .expel(&identity(by), peer(HOSTILE))
            .expect("room is kept");
        let left = (0..200).filter(|&device| circle.contains(peer(device)));
        let left: Vec<_> = left.filter(|&device| is_hostile(device)).collect();
        assert_eq!(left, [0; 0]);
        // Nobody else needs to have heard anything of what fills it.
        let expulsion = circle.entries().last().expect("entries").clone();
        let mut other = circle_of(4);
        let merged = other.merge(&batch_of(&[expulsion])).expect("a batch");
        assert_eq!((merged.added, members(&other)), (1, HONEST.to_vec()));
        let read = Circle::from_log(&circle.to_log()).expect("a log");
        assert_eq!(members(&read), members(&circle));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_member_removes_a_hostile_one_and_all_agree(deeds in deeds(), by in 0..3_usize) {
        let mut honest = suffer(&deeds);
        let expelled = honest[by].expel(&identity(HONEST[by]), peer(HOSTILE));
        prop_assert!(expelled.is_ok(), "{expelled:?}");
        for _ in 0..2 {
            for (a, b) in [(0, 1), (1, 2), (2, 0)] {
                let from = honest[a].clone();
                tell(&from, &mut honest[b]);
                let from = honest[b].clone();
                tell(&from, &mut honest[a]);
            }
        }
        for circle in &honest {
            prop_assert_eq!(members(circle), HONEST);
        }
    }

}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4))]

    #[test]
    fn a_full_log_and_any_deeds_leave_room_to_remove_who_wrote_them(deeds in deeds(), by in 0..3_usize) {
        let mut honest = suffer(&deeds);
        // Each is filled to the last entry, with the same or what differs, and none can take it all.
        let full = filled();
        for circle in &mut honest {
            tell(full, circle);
        }
        honest[by].expel(&identity(HONEST[by]), peer(HOSTILE)).expect("room is kept");
        let from = honest[by].clone();
        for circle in &mut honest {
            tell(&from, circle);
            prop_assert_eq!(members(circle), HONEST);
        }
    }
}
