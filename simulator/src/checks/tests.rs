use super::*;
use crate::record::Ending;

fn checks() -> Checks {
    Checks::new(Bounds::default(), vec![0, 0, 1])
}

/// The checkers that find something in what is seen.
fn found(seen: &[Seen]) -> Vec<String> {
    let mut checks = checks();
    seen.iter().for_each(|seen| checks.see(5, seen));
    checks.finish().into_iter().map(|v| v.checker).collect()
}

fn token(at: u32, right: bool) -> Seen {
    let session = 3;
    Seen::Token { session, at, right }
}

fn held(bytes: u64) -> Seen {
    Seen::Held {
        host: 0,
        bytes,
        budget: 100,
    }
}

#[test]
fn what_is_well_is_not_found() {
    let well = [
        token(0, true),
        token(1, true),
        held(100),
        Seen::Delivered { from: 0, to: 1 },
        Seen::Queued {
            host: 0,
            bytes: 48 << 20,
        },
    ];
    assert_eq!(found(&well), Vec::<String>::new());
}

#[test]
fn every_checker_finds_what_it_is_for() {
    let lost = [token(0, true), token(2, true)];
    let repeated = [token(0, true), token(0, true)];
    for tokens in [&lost[..], &repeated, &[token(0, false)]] {
        assert_eq!(found(tokens), ["tokens"]);
    }
    let (session, came, due) = (3, 4, 5);
    assert_eq!(
        found(&[Seen::WrongAnswer { session, came, due }]),
        ["tokens"]
    );
    assert_eq!(found(&[held(101)]), ["memory"]);
    assert_eq!(found(&[Seen::Delivered { from: 0, to: 2 }]), ["privacy"]);
    assert_eq!(found(&[Seen::SentToStranger { host: 0 }]), ["privacy"]);
    let (host, bytes) = (0, (48 << 20) + 1);
    assert_eq!(found(&[Seen::Queued { host, bytes }]), ["queues"]);
    assert_eq!(found(&[Seen::WokenForNothing { host }]), ["timers"]);
    for (asked, again, finds) in [(true, false, 0), (false, false, 1), (true, true, 1)] {
        let of = CameOf { asked, again };
        let found = found(&[Seen::PieceCame { host, of }]);
        assert_eq!(found, vec!["weights"; finds]);
    }
    let others = |waited, took| Seen::OthersGoOn { host, waited, took };
    assert_eq!(found(&[others(399, 100)]), ["owner"]);
    assert!(found(&[others(400, 100), others(2_000_000, 9_000_000)]).is_empty());
    let lacks = [
        Seen::FetchedTooLittle { host },
        Seen::StageLacksWeights { host },
        Seen::WrongPieces { host, wrong: 90 },
    ];
    assert_eq!(found(&lacks), ["weights"; 3]);
    assert_eq!(found(&[Seen::StageWhileLeaving { host }]), ["owner"]);
    let computed = |fault| Seen::Computed {
        host: 0,
        session: Some(3),
        fault,
    };
    let (made_for, in_force) = (1, 2);
    let stale = computed(Fault::Stale { made_for, in_force });
    assert_eq!(
        found(&[stale, computed(Fault::Gap { held: 7 })]),
        ["epochs"; 2]
    );
}

#[test]
fn who_stands_still_undisturbed_is_found_once() {
    let peer = potluck_protocol::PeerId::from_public_key([1; 32]);
    let circle = [(peer, 1)];
    let standing = |whole| Standing {
        session: 3,
        progress_at: 10_000_000,
        circle: &circle,
        whole,
    };
    let mut checks = checks();
    checks.disturbed(30_000_000, 1);
    checks.stands(90_000_000, &standing(true));
    checks.stands(91_000_000, &standing(false));
    assert!(checks.violations.is_empty());
    checks.stands(91_000_000, &standing(true));
    checks.stands(99_000_000, &standing(true));
    assert_eq!(checks.finish().len(), 1);
}

#[test]
fn what_is_held_for_nobody_is_found_once() {
    let leftover = Leftover {
        host: 0,
        session: 3,
        requester: 1,
        since: 10_000_000,
    };
    let mut checks = checks();
    checks.disturbed(20_000_000, 1);
    checks.leftover(80_000_000, &leftover);
    assert!(checks.violations.is_empty());
    checks.leftover(81_000_000, &leftover);
    checks.leftover(99_000_000, &leftover);
    assert_eq!(checks.finish().len(), 1);
}

#[test]
fn every_session_ends_or_is_kept_for_a_reason() {
    let check = |ending: &Ending, tokens, all_complete| {
        let ended = Ended {
            session: 3,
            ending,
            tokens,
            wanted: 5,
        };
        endings::check(&ended, all_complete).is_some()
    };
    let kept = Ending::Kept("no room".to_owned());
    assert!(!check(&Ending::Complete, 5, true) && check(&Ending::Complete, 4, false));
    assert!(!check(&kept, 2, false) && check(&kept, 2, true));
    assert!(check(&Ending::Kept(String::new()), 2, false));
    assert!(!check(&Ending::Running, 2, false) && check(&Ending::Running, 2, true));
    assert!(!check(&Ending::RequesterGone("ended".to_owned()), 2, true));
}
