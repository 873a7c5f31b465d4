//! The owner's conversations go first.

use std::time::Duration;

use super::{OWNER, REQUESTER, drain, frame, limits, open, peer, step};
use crate::stage::{Stages, Step};
use crate::{PeerId, PlanEpoch};

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Session 7 of another, session 8 of the owner.
fn stages() -> Stages {
    let mut stages = Stages::new(peer(OWNER), limits());
    for (session, from) in [(7, REQUESTER), (8, OWNER)] {
        stages.open(ms(0), peer(from), open(session, 1));
        stages.loaded(ms(0), super::of(from, session), PlanEpoch(1), Ok(()));
    }
    drain(&mut stages);
    stages
}

/// Rows of a session, from the peer before it.
fn take(stages: &mut Stages, now: Duration, session: u64, at: u32) {
    let before: PeerId = peer(super::BEFORE);
    stages.handle_frame(now, before, frame(session, 1, 0, at, 1));
}

fn of(step: Option<&Step>) -> Vec<u64> {
    let parts = step.into_iter().flat_map(|step| &step.parts);
    parts.map(|part| part.stage.session.0).collect()
}

fn done(stages: &mut Stages, now: Duration, step: Step) {
    let hidden = step.parts.into_iter().map(|part| part.hidden).collect();
    stages.computed(now, step.number, hidden);
}

#[test]
fn others_have_a_fifth_of_the_time_while_the_owner_asks() {
    let mut stages = stages();
    let begin = ms(1_000);
    let (mut now, mut of_others, mut of_owner) = (begin, 0, 0);
    while of_owner < 60 {
        // Both always have a row, the owner's coming a moment after its last.
        take(&mut stages, now, 7, of_others);
        let others = step(&mut stages);
        now += ms(2);
        take(&mut stages, now, 8, of_owner);
        let mut running = others.or_else(|| step(&mut stages));
        assert!(running.is_some(), "the owner's rows wait for nothing");
        while let Some(step_now) = running {
            now += ms(10);
            let sessions = of(Some(&step_now));
            of_others += u32::from(sessions.contains(&7));
            of_owner += u32::from(sessions.contains(&8));
            done(&mut stages, now, step_now);
            running = step(&mut stages);
        }
    }
    let (spent, theirs) = (now - begin, ms(10) * of_others);
    assert!(theirs <= spent / 4, "{theirs:?} of {spent:?}");
    assert!(theirs >= spent / 8, "{theirs:?} of {spent:?}");
}

#[test]
fn others_go_on_when_the_owner_is_done() {
    let mut stages = stages();
    take(&mut stages, ms(1_000), 8, 0);
    let own = step(&mut stages).expect("the owner's");
    take(&mut stages, ms(1_001), 7, 0);
    done(&mut stages, ms(1_010), own);
    let theirs = step(&mut stages).expect("nobody of others had a turn yet");
    done(&mut stages, ms(1_110), theirs);
    take(&mut stages, ms(1_111), 7, 1);
    assert_eq!(step(&mut stages), None, "four times as long as their last");
    assert_eq!(stages.poll_timeout(), Some(ms(1_211)), "a sign of life");
    for at in [1_211, 1_311, 1_411] {
        stages.handle_timeout(ms(at));
        assert_eq!(of(step(&mut stages).as_ref()), []);
    }
    assert_eq!(stages.poll_timeout(), Some(ms(1_510)));
    stages.handle_timeout(ms(1_510));
    assert_eq!(of(step(&mut stages).as_ref()), [7]);
}

#[test]
fn whoever_computes_beside_the_stages_holds_others_up_as_well() {
    let mut stages = stages();
    stages.set_owner_busy(ms(0), true);
    take(&mut stages, ms(1_000), 7, 0);
    let theirs = step(&mut stages).expect("the first is free");
    done(&mut stages, ms(2_000), theirs);
    take(&mut stages, ms(2_000), 7, 1);
    assert_eq!(step(&mut stages), None);
    let mut waited = ms(2_000);
    while step(&mut stages).is_none() {
        waited = stages.poll_timeout().expect("something is due");
        stages.handle_timeout(waited);
    }
    assert_eq!(waited, ms(4_000), "two seconds at most");
    stages.set_owner_busy(ms(4_000), false);
}

#[test]
fn nobody_waits_where_the_owner_does_nothing() {
    let mut stages = stages();
    for at in 0..5 {
        let now = ms(1_000 + 10 * u64::from(at));
        take(&mut stages, now, 7, at);
        let theirs = step(&mut stages).expect("at once");
        done(&mut stages, now + ms(10), theirs);
    }
}
