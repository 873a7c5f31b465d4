//! Whose silence, and whose lack of progress, is whose failure.

use super::*;

fn peer(byte: u8) -> PeerId {
    PeerId::from_public_key([byte; 32])
}

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn watched() -> Liveness {
    let mut liveness = Liveness::default();
    liveness.watch(ms(1_000), [peer(1), peer(2)].into_iter());
    liveness.await_until(ms(1_000), Some(5));
    liveness
}

#[test]
fn a_silent_stage_is_asked_and_then_has_failed() {
    let mut liveness = watched();
    assert_eq!(liveness.judge(ms(1_299)), Verdict::default());
    assert_eq!(liveness.poll_timeout(), Some(ms(1_300)));
    assert_eq!(liveness.judge(ms(1_300)).ask, [peer(1), peer(2)]);
    liveness.told(ms(1_310), peer(1));
    assert_eq!(liveness.judge(ms(1_610)).ask, [peer(1)]);
    assert!(liveness.answered(peer(1)) && liveness.answered(peer(1)));
    assert!(!liveness.answered(peer(1)), "unasked");
    liveness.told(ms(1_630), peer(1));
    let verdict = liveness.judge(ms(1_750));
    assert_eq!(verdict.failed, Some((peer(2), Cause::Silent(ms(750)))));
}

#[test]
fn who_did_not_run_blames_nobody() {
    let mut liveness = watched();
    let verdict = liveness.judge(ms(60_000));
    assert_eq!((verdict.ask.len(), verdict.failed), (2, None));
    assert_eq!(liveness.judge(ms(60_449)).failed, None);
}

#[test]
fn who_may_be_silent_for_longer_fails_later_and_so_do_rows_between_stages() {
    let mut liveness = watched();
    liveness.allow_silence(peer(2), ms(1_500));
    liveness.judge(ms(1_300));
    liveness.told(ms(1_400), peer(1));
    assert_eq!(liveness.judge(ms(1_700)).ask, [peer(1)]);
    liveness.told(ms(1_710), peer(1));
    liveness.judge(ms(2_010));
    liveness.told(ms(2_020), peer(1));
    liveness.judge(ms(2_320));
    assert_eq!(liveness.poll_timeout(), Some(ms(2_500)));
    let verdict = liveness.judge(ms(2_500));
    assert_eq!(verdict.failed, Some((peer(2), Cause::Silent(ms(1_500)))));

    let mut liveness = watched();
    liveness.allow_silence(peer(1), ms(1_500));
    for now in (1_100..3_750).step_by(50).map(ms) {
        for of in [peer(1), peer(2)] {
            liveness.told(now, of);
        }
        assert_eq!(liveness.judge(now).failed, None);
    }
    let lost = ms(1_000) + LOST_AFTER + ms(750);
    assert_eq!(
        liveness.judge(lost).failed,
        Some((peer(1), Cause::RowsLost))
    );
}

#[test]
fn who_is_heard_otherwise_lives_and_is_asked_once() {
    let mut liveness = watched();
    liveness.told(ms(1_100), peer(2));
    let mut asked = 0;
    for now in (1_100..2_900).step_by(100).map(ms) {
        assert!(liveness.heard(now, peer(1)).is_some_and(|s| s <= ms(100)));
        liveness.told(now, peer(2));
        let verdict = liveness.judge(now);
        assert_eq!(verdict.failed, None);
        asked += verdict.ask.len();
    }
    assert_eq!(asked, 1);
}

#[test]
fn a_silence_counts_while_something_is_due_and_this_node_runs() {
    let mut liveness = watched();
    liveness.judge(ms(1_300));
    assert_eq!(liveness.heard(ms(1_600), peer(1)), Some(ms(600)));
    assert_eq!(liveness.heard(ms(1_601), peer(1)), Some(ms(1)));
    assert_eq!(liveness.heard(ms(1_601), peer(3)), None, "no stage");
    // It was to be woken when the second would have failed.
    assert_eq!(liveness.heard(ms(9_750), peer(1)), Some(ms(149)));
    liveness.await_until(ms(9_750), None);
    assert_eq!(liveness.heard(ms(15_000), peer(1)), None, "nothing was due");
    liveness.await_until(ms(15_500), Some(6));
    assert_eq!(liveness.heard(ms(15_600), peer(1)), Some(ms(100)));
}

#[test]
fn who_did_not_run_blames_nobody_whose_bytes_come_first() {
    let mut liveness = watched();
    assert_eq!(liveness.judge(ms(1_300)).ask.len(), 2);
    // Both are heard, and neither has said that it has the rows.
    for of in [peer(1), peer(2)] {
        let _ = liveness.heard(ms(9_000), of);
    }
    assert_eq!(liveness.judge(ms(9_000)).failed, None);
    assert_eq!(liveness.judge(ms(9_700)).failed, None);
}

#[test]
fn a_stage_that_opens_says_so_or_has_failed_though_its_peer_is_heard() {
    let mut liveness = Liveness::default();
    liveness.watch(ms(1_000), [peer(1), peer(2)].into_iter());
    let mut now = ms(1_000);
    let failed = loop {
        now += ms(100);
        for of in [peer(1), peer(2)] {
            let _ = liveness.heard(now, of);
        }
        liveness.told(now, peer(1));
        if let Some(failed) = liveness.judge(now).failed {
            break failed;
        }
    };
    assert_eq!((failed.0, now), (peer(2), ms(1_000) + STUCK_AFTER));
}

#[test]
fn rows_that_nobody_has_are_lost_before_the_first_stage_that_lacks_them() {
    let mut liveness = watched();
    let (now, verdict) = loop {
        let now = liveness.poll_timeout().expect("something is due");
        let verdict = liveness.judge(now);
        if verdict.failed.is_some() {
            break (now, verdict);
        }
        for asked in verdict.ask {
            liveness.told(now, asked);
            liveness.holds(now, asked, if asked == peer(1) { 5 } else { 4 }, false);
        }
    };
    assert_eq!(verdict.failed, Some((peer(2), Cause::RowsLost)));
    // From when the second was last seen to come further.
    assert_eq!(now, ms(1_300) + LOST_AFTER);
}

#[test]
fn a_stage_that_is_at_it_has_time_but_not_for_ever() {
    let mut liveness = watched();
    let mut now = ms(1_000);
    while liveness.judge(now).failed.is_none() {
        now += ms(100);
        for of in [peer(1), peer(2)] {
            liveness.told(now, of);
            liveness.holds(now, of, 0, true);
        }
    }
    assert_eq!(now, ms(1_000) + STUCK_AFTER);
}

/// Runs stages that say every 100 ms what `says` gives, until one has failed.
fn fails(
    liveness: &mut Liveness,
    says: impl Fn(&mut Liveness, Duration, PeerId),
) -> (Duration, (PeerId, Cause)) {
    let mut now = ms(1_000);
    loop {
        if let Some(failed) = liveness.judge(now).failed {
            return (now, failed);
        }
        now += ms(100);
        assert!(now < Duration::from_secs(100_000), "never");
        for of in [peer(1), peer(2)] {
            liveness.told(now, of);
            says(liveness, now, of);
        }
    }
}

#[test]
fn who_says_now_more_and_now_less_comes_no_further() {
    let mut liveness = watched();
    let (at, (who, cause)) = fails(&mut liveness, |liveness, now, of| {
        let held = u32::from(now.as_millis() % 200 == 0);
        liveness.holds(now, of, held, true);
    });
    assert!(at < ms(1_300) + STUCK_AFTER, "{at:?}");
    assert_eq!(who, peer(1));
    assert!(matches!(cause, Cause::Stuck(_)), "{cause}");
}

#[test]
fn who_counts_up_for_ever_has_a_time_for_the_answer() {
    let mut liveness = watched();
    let (at, (_, cause)) = fails(&mut liveness, |liveness, now, of| {
        liveness.holds(now, of, now.as_secs() as u32, true);
    });
    assert_eq!(at, ms(1_000) + ANSWER_WITHIN);
    assert_eq!(cause, Cause::Stuck(ANSWER_WITHIN));
}

#[test]
fn a_stage_that_only_says_that_it_opens_has_a_time_for_it() {
    let mut liveness = Liveness::default();
    liveness.watch(ms(1_000), [peer(1), peer(2)].into_iter());
    liveness.opened(peer(1));
    let (at, failed) = fails(&mut liveness, |_, _, _| ());
    assert_eq!(failed, (peer(2), Cause::Stuck(LOAD_WITHIN)));
    assert_eq!(at, ms(1_000) + LOAD_WITHIN);

    // What comes of its weights gives it more.
    let mut liveness = Liveness::default();
    liveness.watch(ms(1_000), [peer(1), peer(2)].into_iter());
    liveness.opened(peer(2));
    let (at, failed) = fails(&mut liveness, |liveness, now, of| {
        let second = now.as_millis() % 60_000 == 0;
        if second && now <= ms(600_000) {
            liveness.fetched(now, of, false);
        }
    });
    assert_eq!(failed, (peer(1), Cause::Stuck(FETCH_WITHIN)));
    assert_eq!(at, ms(600_000) + FETCH_WITHIN);
}
