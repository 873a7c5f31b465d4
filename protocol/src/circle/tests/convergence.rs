//! Members agree in whatever order they hear.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::*;

/// What a device, by its number, does to another on its own copy of the circle; or two copies meet.
#[derive(Debug, Clone)]
enum Deed {
    Admit(u8, u8),
    Revoke(u8, u8),
    Expel(u8, u8),
    Rename(u8),
    Meet(u8, u8),
}

const DEVICES: u8 = 6;

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    let two = || (0..DEVICES, 0..DEVICES);
    let deed = prop_oneof![
        3 => two().prop_map(|(a, b)| Deed::Admit(a, b)),
        3 => two().prop_map(|(a, b)| Deed::Revoke(a, b)),
        1 => two().prop_map(|(a, b)| Deed::Expel(a, b)),
        1 => (0..DEVICES).prop_map(Deed::Rename),
        3 => two().prop_map(|(a, b)| Deed::Meet(a, b)),
    ];
    vec(deed, 0..40)
}

/// Each device on its own copy, honest or not: whoever was revoked goes on with what it knows.
fn live(deeds: &[Deed]) -> Vec<Circle> {
    let mut copies = vec![circle_of(3); usize::from(DEVICES)];
    for (i, deed) in deeds.iter().enumerate() {
        // What makes no sense is refused.
        match *deed {
            Deed::Admit(a, b) => {
                let called = name(&format!("{b} by {a}, {i}"));
                let _ = copies[usize::from(a)].admit(&identity(a), peer(b), &called);
            }
            Deed::Revoke(a, b) => {
                let _ = copies[usize::from(a)].revoke(&identity(a), peer(b));
            }
            Deed::Expel(a, b) => {
                let _ = copies[usize::from(a)].expel(&identity(a), peer(b));
            }
            Deed::Rename(a) => {
                let called = name(&format!("{a}, {i}"));
                let _ = copies[usize::from(a)].rename(&identity(a), &called);
            }
            Deed::Meet(a, b) => {
                let other = copies[usize::from(b)].clone();
                tell(&other, &mut copies[usize::from(a)]);
                let other = copies[usize::from(a)].clone();
                tell(&other, &mut copies[usize::from(b)]);
            }
        }
    }
    copies
}

fn members_and_names(circle: &Circle) -> Vec<Member> {
    circle.members().cloned().collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_order_and_repetition_give_the_same_members(
        deeds in deeds(),
        order in vec(any::<Index>(), 200),
        sizes in vec(1..5_usize, 100),
    ) {
        let copies = live(&deeds);
        let mut expected = copies[0].clone();
        for copy in &copies[1..] {
            prop_assert_eq!(tell(copy, &mut expected).refused, []);
        }

        // Every entry at least once, in an arbitrary order, in batches of arbitrary sizes.
        let mut entries: Vec<_> = expected.entries().cloned().collect();
        let repeated: Vec<_> = order.iter().map(|i| i.get(&entries).clone()).collect();
        entries.extend(repeated);
        for (i, other) in order.iter().enumerate() {
            let other = other.index(entries.len());
            let i = i % entries.len();
            entries.swap(i, other);
        }
        let mut heard = circle_of(1);
        let (mut rest, mut sizes) = (&entries[..], sizes.iter().cycle());
        while !rest.is_empty() {
            let size = sizes.next().map_or(1, |&size| size.min(rest.len()));
            let (batch, later) = rest.split_at(size);
            let merged = heard.merge(&batch_of(batch)).expect("a batch");
            prop_assert_eq!(merged.refused, []);
            rest = later;
        }
        prop_assert_eq!(heard.entries().len(), expected.entries().len());
        prop_assert_eq!(members_and_names(&heard), members_and_names(&expected));
        prop_assert!(!heard.lacks(&expected.digest()) && !expected.lacks(&heard.digest()));
        prop_assert!(heard.batches_for(&expected.digest()).is_empty());
        let again = heard.merge_log(&expected.to_log()).expect("a log");
        prop_assert_eq!((again.added, again.joined, again.left), (0, vec![], vec![]));
        let stored = Circle::from_log(&heard.to_log()).expect("a log");
        prop_assert_eq!(members_and_names(&stored), members_and_names(&expected));
    }

    #[test]
    fn merging_commutes_and_associates(deeds in deeds()) {
        let copies = live(&deeds);
        let merged = |order: [usize; 3]| {
            let mut circle = copies[order[0]].clone();
            order[1..].iter().for_each(|&i| { tell(&copies[i], &mut circle); });
            members_and_names(&circle)
        };
        prop_assert_eq!(merged([0, 1, 2]), merged([2, 1, 0]));
        prop_assert_eq!(merged([0, 1, 2]), merged([1, 0, 2]));
    }

    #[test]
    fn a_revocation_holds_whatever_others_wrote_meanwhile(deeds in deeds(), by in 0..3_u8, out in 0..DEVICES) {
        let copies = live(&deeds);
        let mut all = copies[0].clone();
        for copy in &copies[1..] {
            tell(copy, &mut all);
        }
        // Removal wins: whatever the others wrote without knowing of it.
        let mut revoker = copies[usize::from(by)].clone();
        if revoker.revoke(&identity(by), peer(out)).is_ok() {
            tell(&revoker, &mut all);
            prop_assert!(!all.contains(peer(out)));
        }
    }

    #[test]
    fn any_bytes_are_refused_or_change_nothing(bytes in vec(any::<u8>(), 0..400)) {
        let mut circle = circle_of(2);
        if let Ok(merged) = circle.merge(&bytes) {
            prop_assert_eq!(merged.added, 0);
        }
        prop_assert!(Circle::from_log(&bytes).is_err());
        if let Ok(digest) = Digest::from_bytes(&bytes) {
            prop_assert_eq!(digest.to_bytes(), bytes);
        }
    }
}
